package edge

import (
	"sync"
	"time"
)

const (
	busyFrames = 50 // frames for clients in a short stroke, for each place of goroutines, that make an edge busy
	stroke     = 10 * time.Millisecond
	longStroke = 30 * time.Millisecond // with twice as many frames, or more
	lull       = 3 * time.Millisecond  // without deliveries, that ends a stroke in which some came
)

// A cadence says when sessions write. In a calm edge each writes as soon as there is something. A busy one lets them
// write together, stroke by stroke: what comes for a client in between, answers and pushes, leaves with one write, and a
// write is most of what a push costs an edge. Deliveries come in bursts, at the pace of the lanes, and nobody waits
// longer when one is through.
type cadence struct {
	busy    int // frames in a short stroke that make the edge busy
	writers int // that a crew begins with

	mu      sync.Mutex    // guards the fields below; a session's lock may be held, and is not taken under it
	began   time.Time     // when counting began
	length  time.Duration // of a stroke
	frames  int           // counted
	steady  bool          // the count before was that of a busy edge
	waiting []*session    // write when the stroke ends
	ends    time.Time     // the stroke, at the latest
	due     time.Time     // when timer should fire; deliveries move it
	ended   time.Time     // when the stroke before should have, half a stroke before it did at the most
	timer   *time.Timer   // ends it; one for all strokes, or those of earlier ones would end later ones
}

// newCadence makes the cadence of an edge with so many places for goroutines.
func newCadence(places int) cadence {
	return cadence{busy: busyFrames * places, writers: crewOf(places)}
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
		c.ends = now.Add(c.length)
		c.endIn(c.length)
	}
	return true
}

// delivered notes that deliveries came: when no others follow soon, the stroke ends.
func (c *cadence) delivered() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.waiting) > 0 {
		rest := time.Until(c.ended.Add(c.least())) // of what keeps a session to one write in that time, on average
		c.endIn(min(max(lull, rest), time.Until(c.ends)))
	}
}

// least is how long strokes take at least, on average: one that came late makes those that follow shorter. It is less than
// the pace of the deliveries, or all of them would be as late as the latest one.
func (c *cadence) least() time.Duration { return c.length * 9 / 10 }

// endIn sets when the stroke ends. The lock is held.
func (c *cadence) endIn(d time.Duration) {
	c.due = time.Now().Add(d)
	if c.timer == nil {
		c.timer = time.AfterFunc(d, c.expire)
		return
	}
	c.timer.Reset(d)
}

// expire ends the stroke, unless the end was put off, or the stroke is another one, since the timer fired.
func (c *cadence) expire() {
	c.mu.Lock()
	early := time.Now().Before(c.due)
	c.mu.Unlock()
	if !early {
		c.release()
	}
}

// release ends a stroke.
func (c *cadence) release() {
	c.mu.Lock()
	all := c.waiting
	if len(all) > 0 {
		now := time.Now()
		late := min(max(0, now.Sub(c.ended)-c.least()), c.length/2)
		c.waiting, c.ended = nil, now.Add(-late)
	}
	c.mu.Unlock()
	crew := crew{sessions: all}
	crew.start(c.writers)
}
