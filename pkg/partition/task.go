package partition

import "context"

// task is work beside the loop, which joins it.
type task struct {
	over context.Context // done once the work has returned
	err  error           // what it returned, to be read after that
}

// begin starts work; nil is over at once.
func begin(work func() error) *task {
	over, end := context.WithCancel(context.Background())
	t := &task{over: over}
	if work == nil {
		end()
		return t
	}
	go func() { // joined by whoever waits for over
		defer end()
		t.err = work()
	}()
	return t
}
