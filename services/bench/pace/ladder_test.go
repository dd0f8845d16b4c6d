package pace

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

const rung, most = 1.08, 30_000

// However a search goes, the best rate is less than a rung below the limit, and no rate is measured three times.
func TestLadderEndsBesideTheLimit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.Float64Range(2_000, 50_000).Draw(t, "limit")
		rate := rapid.Float64Range(1_000, most).Draw(t, "start")
		l := Ladder{Most: most, Rung: rung}
		best, steps := 0.0, 0
		var measured []float64
		for more := true; more; steps++ {
			if rate > most || steps > 60 {
				t.Fatalf("at %v after %d steps", rate, steps)
			}
			if rate <= limit {
				best = max(best, rate)
			}
			times := 0
			for _, before := range measured {
				if math.Abs(before/rate-1) < 1e-6 {
					times++
				}
			}
			if times == 2 {
				t.Fatalf("%v a third time", rate)
			}
			measured = append(measured, rate)
			rate, more = l.Next(rate, rate <= limit, rate > 1.3*limit || rate < 0.8*limit)
		}
		if want := min(limit, most); best > want || best < want/rung/(1+1e-6) {
			t.Errorf("found %v in %d steps", best, steps)
		}
	})
}

func TestLadderGoesOnPastAPause(t *testing.T) {
	const limit = 20_000
	for pause := range 6 { // the step that meets it
		l := Ladder{Most: most, Rung: rung}
		best, steps := 0.0, 0
		for rate, more := 16_000.0, true; more; steps++ {
			if steps > 20 {
				t.Fatalf("a pause in step %d: no end", pause)
			}
			kept := rate <= limit && steps != pause
			if kept {
				best = max(best, rate)
			}
			rate, more = l.Next(rate, kept, false)
		}
		if best > limit || best < limit/rung {
			t.Errorf("a pause in step %d: found %v in %d steps", pause, best, steps)
		}
	}
}
