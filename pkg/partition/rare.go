package partition

import (
	"sync"
	"time"
)

// rare lets one log line pass in a while and counts those that it keeps back. Safe for concurrent use.
type rare struct {
	every time.Duration

	mu   sync.Mutex // guards the fields below
	last time.Time
	kept int
}

func newRare(every time.Duration) *rare { return &rare{every: every} }

// pass reports whether a line may be written now, and how many were kept back before it.
func (r *rare) pass() (kept int, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := time.Now(); r.last.IsZero() || now.Sub(r.last) >= r.every {
		kept, r.kept, r.last = r.kept, 0, now
		return kept, true
	}
	r.kept++
	return 0, false
}
