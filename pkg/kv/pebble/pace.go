package pebble

import "time"

const (
	stint        = 500 * time.Microsecond // that work in the background goes on before it rests
	restStints   = 4                      // that it rests then
	comparesEach = 1024                   // of a sort, and
	entriesEach  = 64                     // of what is written, before the clock is looked at
)

// pace is that of a goroutine in the background. A flush or compaction works for a tenth of a second at a time. Where no
// more goroutines run at once than there are processors, it would keep the place of one that answers clients as long, and
// longer where its thread, which has stepped back, waits for a processor meanwhile.
type pace struct {
	hurried func() bool // somebody waits for the work
	began   time.Time   // of the stint
}

func newPace(hurried func() bool) *pace { return &pace{hurried, time.Now()} }

// rest rests when a stint is over. It is called between pieces of work, each much shorter than a stint.
func (p *pace) rest() {
	worked := time.Since(p.began)
	if worked < stint {
		return
	}
	if !p.hurried() {
		time.Sleep(restStints * min(worked, 2*stint))
	}
	p.began = time.Now()
}
