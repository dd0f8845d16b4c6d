package edge

import (
	"sync"
	"time"
)

const (
	busyFrames = 50 // frames for clients in a short stroke, for each place of goroutines, that make an edge busy
	stroke     = 10 * time.Millisecond
	longStroke = 30 * time.Millisecond // with twice as many frames, or more
)

// A cadence says when sessions write. In a calm edge each writes as soon as there is something. A busy one lets them
// write together, stroke by stroke: what comes for a client in between, answers and pushes, leaves with one write, and a
// write is most of what a push costs an edge.
type cadence struct {
	busy int // frames in a short stroke that make the edge busy

	mu      sync.Mutex    // guards the fields below; a session's lock may be held, and is not taken under it
	began   time.Time     // of the stroke
	length  time.Duration // of it
	frames  int           // in it
	steady  bool          // the stroke before was busy
	waiting []*session    // write when the stroke ends
}

// count notes a frame for s. It reports whether s, if it can wait, writes later, with others.
func (c *cadence) count(s *session, canWait bool) (held bool) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if past := now.Sub(c.began); past >= max(c.length, stroke) {
		came := c.frames * int(stroke) / int(past)
		c.steady, c.length = came >= c.busy, stroke
		if came >= 2*c.busy {
			c.length = longStroke
		}
		c.began, c.frames = now, 0
	}
	c.frames++
	if !canWait || !c.steady && c.frames < c.busy {
		return false
	}
	if c.waiting = append(c.waiting, s); len(c.waiting) == 1 {
		time.AfterFunc(c.length-now.Sub(c.began), c.release)
	}
	return true
}

// release ends a stroke.
func (c *cadence) release() {
	c.mu.Lock()
	all := c.waiting
	c.waiting = nil
	c.mu.Unlock()
	for _, s := range all {
		s.mu.Lock()
		s.endStroke()
		s.mu.Unlock()
	}
}
