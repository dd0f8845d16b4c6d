package main

import (
	"bytes"
	"os"
	"runtime"
	"strings"
	"testing"
)

func TestTheHeapGrowsIntoHugePages(t *testing.T) {
	if _, err := os.Stat("/sys/kernel/mm/transparent_hugepage"); err != nil {
		t.Skip("this kernel gives no huge pages on advice:", err)
	}
	if !elsewhere(t) { // other tests advise the kernel too
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
