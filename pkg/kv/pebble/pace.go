package pebble

import "time"

const (
	stint    = 500 * time.Microsecond // of work, after which a goroutine in the background rests
	mostEase = 4                      // times as long as it worked, where nothing presses, and as two stints at the most

	slotsEach    = 4096     // of a table, between two looks at the clock
	comparesEach = 512      // of a sort
	entriesEach  = 64       // that are written
	bytesEach    = 64 << 10 // of these entries
)

// pace is that of a goroutine in the background. A flush or compaction works for a tenth of a second at a time. Where no
// more goroutines run at once than there are processors, it would keep the place of one that answers clients as long, and
// longer where its thread, which has stepped back, waits for a processor meanwhile.
type pace struct {
	ease  func() int // how many times as long as it worked it may rest; 0: somebody waits for the work
	began time.Time  // of the stint
}

func newPace(ease func() int) *pace { return &pace{ease, time.Now()} }

// rest rests when a stint is over. It is called between pieces of work, each shorter than a stint.
func (p *pace) rest() {
	worked := time.Since(p.began)
	if worked < stint {
		return
	}
	time.Sleep(time.Duration(p.ease()) * min(worked, 2*stint))
	p.began = time.Now()
}

// easeAt is the ease of work that presses the more the closer at is to end; less than start does not press at all.
func easeAt(at, start, end int) int {
	return min(max(mostEase*(end-at)/(end-start), 0), mostEase)
}
