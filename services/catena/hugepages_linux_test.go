package main

import (
	"bytes"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
)

// alone makes a run of the test binary the process whose heap is looked at: other tests advise the kernel too.
const alone = "RUN_ALONE"

func TestTheHeapGrowsIntoHugePages(t *testing.T) {
	if _, err := os.Stat("/sys/kernel/mm/transparent_hugepage"); err != nil {
		t.Skip("this kernel gives no huge pages on advice:", err)
	}
	if os.Getenv(alone) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
		cmd.Env = append(os.Environ(), alone+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	hugePages(64 << 20)
	var m runtime.MemStats
	if runtime.ReadMemStats(&m); m.HeapInuse > 48<<20 {
		t.Errorf("%d bytes of the heap are in use; the advised ones should be free", m.HeapInuse)
	}
	maps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(maps) {
		if flags, ok := strings.CutPrefix(string(line), "VmFlags:"); ok && strings.Contains(flags, " hg ") {
			return
		}
	}
	t.Error("no part of the address space is advised to have huge pages")
}
