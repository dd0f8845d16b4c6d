package edge

import (
	"runtime"
	"sync/atomic"
	"time"
)

const (
	inTurn = 8                    // sessions that a writer writes for before it lets others go first
	slow   = 5 * time.Millisecond // that a crew writes until there are twice as many writers
)

// A crew writes for the sessions of a stroke: few writers, each for one session after the other. With a goroutine for
// each session all of them are ready to run at once, and who is wanted next, such as a worker whose commit is through,
// waits behind them. A client that does not read keeps a writer, so the crew doubles each time that slow passes with
// sessions left: after ten times even a thousand such clients keep nobody else waiting. Nobody joins a crew: a session
// waits for the write that is made for it, and a writer does nothing for one that has ended.
type crew struct {
	sessions []*session
	next     atomic.Int64 // place of the session to write for
	writers  int
}

// crewOf is how many goroutines write, or read, for all sessions where there are so many places for goroutines: half of
// them, rounded up, since one alone is kept from its work too often.
func crewOf(places int) int { return (places + 1) / 2 }

// start sends so many writers.
func (c *crew) start(writers int) {
	writers = min(writers, c.left())
	if writers <= 0 {
		return
	}
	c.writers += writers
	for range writers {
		go c.write()
	}
	time.AfterFunc(slow, func() { c.start(c.writers) })
}

// left is for how many sessions nobody writes yet.
func (c *crew) left() int { return len(c.sessions) - int(c.next.Load()) }

func (c *crew) write() {
	for done := 1; ; done++ {
		at := int(c.next.Add(1)) - 1
		if at >= len(c.sessions) {
			return
		}
		c.sessions[at].endStroke()
		if done%inTurn == 0 {
			runtime.Gosched()
		}
	}
}
