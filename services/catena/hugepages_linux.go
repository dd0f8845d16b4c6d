package main

import (
	"runtime"
	"runtime/debug"
	"syscall"
)

// hugePages asks for huge pages for the next n bytes that the heap grows by. Go's runtime leaves that to the machine, most
// machines leave it to the process, and a first touch of a page is expensive where a hypervisor shadows page tables. The
// bytes take no memory before they are used. A kernel without huge pages refuses, and so may one with pages of more than
// 8 KiB, at a multiple of which a large span begins; that does no harm.
func hugePages(n int) {
	if !room(2 * n) { // as much again for everything else
		return
	}
	// Piece by piece: Go writes zeros to all of a span of which any part was used before.
	pieces := make([][]byte, n/piece)
	for i := range pieces {
		pieces[i] = make([]byte, piece)
		_ = syscall.Madvise(pieces[i], syscall.MADV_HUGEPAGE)
	}
	runtime.KeepAlive(pieces)
	debug.FreeOSMemory() // the addresses are the heap's from now on, and keep the advice
}

// piece is how many bytes of the heap are asked for at a time; n is a multiple of it.
const piece = 4 << 20

// room reports whether the process may have n bytes more of addresses, for Go's heap ends it where it may not.
func room(n int) bool {
	b, err := syscall.Mmap(-1, 0, n, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	if err != nil {
		return false
	}
	return syscall.Munmap(b) == nil
}
