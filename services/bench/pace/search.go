package pace

import "math"

// Search finds the highest rate that is kept: it goes up or down until it has a rate that is kept and one that is not,
// and then halves the ratio between them. A rate that was kept once counts as kept. One that was not may have met a pause
// of the machine, so when the two are close, what is just above the best is tried once more. The zero value is not
// usable.
type Search struct {
	next      float64
	kept      float64 // highest rate that was kept; 0: none yet
	broken    float64 // lowest rate above kept that was not; 0: none yet, or it is doubted
	up        float64 // how much more is tried while every rate was kept
	doubted   bool    // broken was doubted since a rate was kept
	most      float64
	precision float64
}

// NewSearch begins at first, and goes no higher than most. It is done when a rate that is at most precision times the best,
// such as 1.1, was not kept, nor precision times the best in another try, or when most was kept.
func NewSearch(first, most, precision float64) *Search {
	return &Search{next: min(first, most), up: upTo, most: most, precision: precision}
}

// least is the rate below which nothing is tried, in messages per second.
const least = 1

// Next is the rate to try; false: the search is over.
func (s *Search) Next() (float64, bool) {
	if s.kept >= s.most || s.broken > 0 && s.broken <= least || s.close() {
		return 0, false
	}
	return s.next, true
}

// close reports whether the best rate and one that is not kept are known well enough.
func (s *Search) close() bool { return s.kept > 0 && s.broken > 0 && s.broken <= s.precision*s.kept }

// Tell says whether the rate that Next gave was kept, and otherwise what the server would keep by the looks of it; 0 when
// nothing can be said.
func (s *Search) Tell(rate float64, kept bool, likely float64) {
	if kept {
		s.kept, s.doubted = max(s.kept, rate), false
	} else if s.broken == 0 || rate < s.broken {
		s.broken = rate
	}
	switch {
	case s.close() && !s.doubted:
		s.doubted = true
		s.broken, s.up = 0, upAgain
		s.next = min(s.precision*s.kept, s.most)
	case s.broken == 0:
		s.next = min(s.up*s.kept, s.most)
	case s.kept == 0:
		s.next = max(least, min(max(likely, s.broken/8), s.broken/s.precision))
	default:
		s.next = s.Between()
	}
}

// upTo is how much more is tried while every rate was kept. Twice as much, where a search begins near its end, would be
// a try for nothing, and one that leaves a server with work in hand.
const upTo = 1.5

// upAgain is how much more is tried when a rate is kept that was not before: the end is near.
const upAgain = 1.2

// Between is a rate between the best and what was not kept, the best where nothing is known to be too much.
func (s *Search) Between() float64 {
	if s.broken > 0 {
		return math.Sqrt(s.kept * s.broken)
	}
	return s.kept
}

// Best is the highest rate that was kept, 0 when none was.
func (s *Search) Best() float64 { return s.kept }
