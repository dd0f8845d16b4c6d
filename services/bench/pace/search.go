package pace

import "math"

// Search finds the highest rate that is kept: it goes up or down until it has a rate that is kept and one that is not,
// and then halves the ratio between them. A rate that was kept once counts as kept. One that was not may have met a pause
// of the machine, so when the two are close, what is just above the best is tried once more.
type Search struct {
	First     float64 // the rate to begin with
	Most      float64 // nothing above is tried
	Up        float64 // how much more is tried while every rate was kept, such as 1.5
	Precision float64 // how close the best rate and one that is not kept are in the end, such as 1.1

	next    float64 // 0: it has not begun
	up      float64 // how much more is tried next
	kept    float64 // highest rate that was kept; 0: none yet
	broken  float64 // lowest rate above kept that was not; 0: none yet, or it is doubted
	doubted bool    // broken was doubted since a rate was kept
}

// least is the rate below which nothing is tried, in messages per second.
const least = 1

// Next is the rate to try; false: the search is over.
func (s *Search) Next() (float64, bool) {
	if s.next == 0 {
		s.next, s.up = min(s.First, s.Most), s.Up
	}
	if s.kept >= s.Most || s.broken > 0 && s.broken <= least || s.close() {
		return 0, false
	}
	return s.next, true
}

// close reports whether the best rate and one that is not kept are known well enough.
func (s *Search) close() bool { return s.kept > 0 && s.broken > 0 && s.broken <= s.Precision*s.kept }

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
		s.broken, s.up = 0, min(s.Up, upAgain)
		s.next = min(s.Precision*s.kept, s.Most)
	case s.broken == 0:
		s.next = min(s.up*s.kept, s.Most)
	case s.kept == 0:
		s.next = max(least, min(max(likely, s.broken/8), s.broken/s.Precision))
	default:
		s.next = math.Sqrt(s.kept * s.broken)
	}
}

// upAgain is how much more is tried when a rate is kept that was not before: the end is near.
const upAgain = 1.2
