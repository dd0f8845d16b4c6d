package pace

import "math"

// Search finds the highest rate that is kept: it goes up or down until it has a rate that is kept and one that is not,
// and then halves the ratio between them. A rate that was kept once counts as kept. The zero value is not usable.
type Search struct {
	next      float64
	kept      float64 // highest rate that was kept; 0: none yet
	broken    float64 // lowest rate above kept that was not; 0: none yet
	most      float64
	precision float64
}

// NewSearch begins at first, and goes no higher than most. It is done when the rate not kept is at most precision times
// the rate kept, such as 1.1.
func NewSearch(first, most, precision float64) *Search {
	return &Search{next: min(first, most), most: most, precision: precision}
}

// least is the rate below which nothing is tried, in messages per second.
const least = 1

// Next is the rate to try; false: the search is over.
func (s *Search) Next() (float64, bool) {
	switch {
	case s.kept >= s.most, s.broken > 0 && s.broken <= least:
		return 0, false
	case s.kept > 0 && s.broken > 0 && s.broken/s.kept <= s.precision:
		return 0, false
	}
	return s.next, true
}

// Tell says whether the rate that Next gave was kept. Up to reached, which may be 0, the server is known to have carried
// messages while it failed; it spares some steps.
func (s *Search) Tell(rate float64, kept bool, reached float64) {
	if kept {
		s.kept = max(s.kept, rate)
	} else if s.broken == 0 || rate < s.broken {
		s.broken = rate
	}
	switch {
	case s.broken == 0:
		s.next = min(upTo*rate, s.most)
	case s.kept == 0:
		s.next = max(least, min(s.broken/2, max(reached*downTo, s.broken/8)))
	default:
		s.next = math.Sqrt(s.kept * s.broken)
	}
}

// upTo is how much more is tried while every rate was kept. Twice as much, where a search begins near its end, would be
// a try for nothing, and one that leaves a server with work in hand.
const upTo = 1.5

// downTo is the part of what an overloaded server carried that is tried next: overload makes large batches, so what it
// carries then is more than what it carries in time.
const downTo = 0.7

// Best is the highest rate that was kept, 0 when none was.
func (s *Search) Best() float64 { return s.kept }
