package pace

// Ladder goes from a rate down until one is kept, and up until one is not: one that was not may have met a pause of the
// machine, and is measured once more when the rate below it was kept.
type Ladder struct {
	Most float64 // nothing above is measured
	Rung float64 // from a rate to the next one, such as 1.08

	kept   float64 // the highest; 0: none
	broken float64 // the lowest above kept that was not; 0: none
}

// Next is the rate to measure after one that was kept or not, perhaps by far, which takes two rungs; false: the end is found.
func (l *Ladder) Next(rate float64, kept, far bool) (float64, bool) {
	rung, again := l.Rung, l.broken > 0 && rate >= l.broken
	if far {
		rung *= l.Rung
	}
	if kept {
		l.kept = max(l.kept, rate)
		if again || l.broken == 0 {
			l.broken = 0
			return min(rate*rung, l.Most), rate < l.Most
		}
		return min(rate*rung, l.broken), true
	}
	l.broken = rate
	if l.kept > 0 {
		return min(rate, l.kept*l.Rung), !again
	}
	return rate / rung, true
}
