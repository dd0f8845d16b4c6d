package pebble

import (
	"os"
	"runtime"
	"syscall"
)

// behind is how much nicer than the rest of the process a flush or compaction is, in nice levels: others who want a
// processor get three times as much of it.
const behind = 5

// stepBack lets the rest of the process have the processors before the calling goroutine, until that ends. It keeps its
// thread, which dies with it: a thread that was made nicer may not be allowed to become what it was. The first thread
// never ends, and stays as it is.
func stepBack() {
	runtime.LockOSThread()
	process, thread := os.Getpid(), syscall.Gettid()
	if thread == process {
		runtime.UnlockOSThread()
		return
	}
	if prio, err := syscall.Getpriority(syscall.PRIO_PROCESS, process); err == nil {
		_ = syscall.Setpriority(syscall.PRIO_PROCESS, thread, min(20-prio+behind, 19)) // Getpriority gives 20 less the nice level
	}
}
