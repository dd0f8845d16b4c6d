package pebble

import "time"

const (
	stint   = 500 * time.Microsecond // of work, after which a goroutine in the background rests
	restFor = 4                      // times as long as it worked, and as two stints at the most

	slotsEach    = 4096     // of a table, between two looks at the clock
	comparesEach = 512      // of a sort
	entriesEach  = 64       // that are written
	bytesEach    = 64 << 10 // of these entries
)

// pace is that of a goroutine in the background. A flush or compaction works for a tenth of a second at a time. Where no
// more goroutines run at once than there are processors, it would keep the place of one that answers clients as long, and
// longer where its thread, which has stepped back, waits for a processor meanwhile.
type pace struct {
	hurried func() bool // somebody waits for the work
	began   time.Time   // of the stint
}

func newPace(hurried func() bool) *pace { return &pace{hurried, time.Now()} }

// rest rests when a stint is over. It is called between pieces of work, each shorter than a stint.
func (p *pace) rest() {
	worked := time.Since(p.began)
	if worked < stint {
		return
	}
	if !p.hurried() {
		time.Sleep(restFor * min(worked, 2*stint))
	}
	p.began = time.Now()
}
