package pace

import "testing"

const rung, most = 1.08, 30_000

func TestLadderEndsBesideTheLimit(t *testing.T) {
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
			rate, more = l.Next(rate, rate <= limit, rate > 1.3*limit || rate < 0.8*limit)
		}
		if want := min(limit, most); best > want || best < want/rung/rung {
			t.Errorf("limit %v: found %v in %d steps", limit, best, steps)
		}
	}
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

func TestLadderMeasuresNoRateThreeTimes(t *testing.T) {
	l := Ladder{Most: most, Rung: rung}
	times := map[int]int{}
	for rate, more := 16_000.0, true; more; rate, more = l.Next(rate, rate < 15_000, false) {
		if times[int(rate)]++; times[int(rate)] > 2 {
			t.Fatalf("%v a third time", rate)
		}
	}
}
