// Package process reads what a process has used of its machine: time on the processors and resident memory. It knows
// Linux only; elsewhere Read answers ErrUnknown.
package process

import (
	"errors"
	"time"
)

// Usage is what a process has used.
type Usage struct {
	CPU      time.Duration // of all threads, in user and kernel mode, since its start; in steps of 10 ms
	Resident int64         // bytes in memory now
	Peak     int64         // the most there ever were, bytes
	Written  int64         // bytes that it made the system write to disks
}

// ErrUnknown: the system does not tell.
var ErrUnknown = errors.New("process: this system does not tell what a process uses")

// Read tells what the process with this id has used so far.
func Read(pid int) (Usage, error) { return read(pid) }
