package pace

// Ladder goes from a rate down until one is kept, and up until one is not: one that was not may have met a pause of the
// machine, and is measured once more when the rate below it was kept.
type Ladder struct {
	Most float64 // nothing above is measured
	Rung float64 // from a rate to the next one, such as 1.08

	kept    float64 // the highest; 0: none
	broken  float64 // the lowest above kept that was not; 0: none
	doubted bool    // broken is being measured once more
}

// Next is the rate to measure after one that was kept or not, perhaps by far, which takes two rungs; false: the end is found.
func (l *Ladder) Next(rate float64, kept, far bool) (float64, bool) {
	rung := l.Rung
	if far {
		rung *= l.Rung
	}
	if kept {
		l.kept = max(l.kept, rate)
		if l.doubted {
			l.broken, l.doubted = 0, false
		}
		if l.broken == 0 {
			return min(rate*rung, l.Most), rate < l.Most
		}
		return l.upTo(rate * rung), true
	}
	if l.doubted {
		return rate, false
	}
	l.broken = rate
	if l.kept == 0 {
		return rate / rung, true
	}
	return l.upTo(l.kept * l.Rung), true
}

// upTo is rate, or what was not kept, once more, where rate is not below it. Both may come from the same rate by other ways,
// and differ in the last digits.
func (l *Ladder) upTo(rate float64) float64 {
	const same = 1 - 1e-9
	if l.doubted = rate > same*l.broken; l.doubted {
		return l.broken
	}
	return rate
}
