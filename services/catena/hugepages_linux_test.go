package main

import (
	"bytes"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
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

// TestHugePagesTakeNoMemory asks for them where a part of the heap was used before, which Go clears when it is used again.
func TestHugePagesTakeNoMemory(t *testing.T) {
	if !elsewhere(t) {
		return
	}
	for i, used := 0, make([]byte, 48<<20); i < len(used); i += 4 << 10 {
		used[i] = 1
	}
	debug.FreeOSMemory()
	before := peak(t)
	hugePages(192 << 20)
	if grown := peak(t) - before; grown > 64<<20 {
		t.Errorf("asking for 192 MiB of huge pages took %d bytes", grown)
	}
}

// peak is the most memory that the process had so far, in bytes.
func peak(t *testing.T) int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return u.Maxrss << 10
}
