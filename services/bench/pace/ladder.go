package pace

// Ladder goes from a rate down until one is kept, or up until one is not.
type Ladder struct {
	Most float64 // nothing above is measured
	Rung float64 // from a rate to the next one, such as 1.08

	kept, broken bool // a rate was, or was not
}

// Next is the rate to measure after one that was kept or not, perhaps missed by far; false: the end is found.
func (l *Ladder) Next(rate float64, kept, far bool) (float64, bool) {
	l.kept, l.broken = l.kept || kept, l.broken || !kept
	switch {
	case l.kept && (l.broken || rate >= l.Most):
		return 0, false
	case kept:
		return min(rate*l.Rung, l.Most), true
	case far:
		return rate / (l.Rung * l.Rung), true
	}
	return rate / l.Rung, true
}
