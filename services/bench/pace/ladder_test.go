package pace

import "testing"

func TestLadderEndsBesideTheLimit(t *testing.T) {
	const rung, most = 1.08, 30_000
	for _, limit := range []float64{9_000, 14_000, 16_001, 17_279, 17_281, 20_000, 29_999, 50_000} {
		l := Ladder{Most: most, Rung: rung}
		best, steps := 0.0, 0
		for rate, more := 16_000.0, true; more; steps++ {
			if rate > most || steps > 20 {
				t.Fatalf("limit %v: at %v after %d steps", limit, rate, steps)
			}
			if rate <= limit {
				best = max(best, rate)
			}
			rate, more = l.Next(rate, rate <= limit, rate > 1.3*limit)
		}
		if want := min(limit, most); best > want || best < want/rung/rung {
			t.Errorf("limit %v: found %v in %d steps", limit, best, steps)
		}
	}
}
