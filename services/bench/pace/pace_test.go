package pace

import (
	"context"
	"math"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

func TestMessagesAreDueAtEvenIntervals(t *testing.T) {
	tests := []struct {
		k    int
		rate float64
		want time.Duration
	}{{0, 10, 0}, {1, 10, 100 * time.Millisecond}, {25_000, 50_000, 500 * time.Millisecond}}
	for _, tt := range tests {
		if got := Due(tt.k, tt.rate); got != tt.want {
			t.Errorf("Due(%d, %v): got %v, want %v", tt.k, tt.rate, got, tt.want)
		}
	}
	if got := Count(1500*time.Millisecond, 10); got != 15 {
		t.Errorf("Count: got %d, want 15", got)
	}
}

// sent is a message as it left.
type sent struct {
	k       int
	due, at time.Duration
}

func follow(p Plan, slow func(k int) time.Duration) []sent {
	var all []sent
	start := time.Now()
	p.Follow(context.Background(), start, func(k int, due time.Duration) bool {
		all = append(all, sent{k, due, time.Since(start)})
		time.Sleep(slow(k))
		return true
	})
	return all
}

func TestAnIdleSenderSendsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := follow(Plan{Rate: 100, Duration: time.Second, Lanes: 1}, func(int) time.Duration { return 0 })
		if len(all) != 100 {
			t.Fatalf("%d messages, want 100", len(all))
		}
		for k, s := range all {
			if s.k != k || s.at != s.due || s.due != Due(k, 100) {
				t.Fatalf("message %d: %+v", k, s)
			}
		}
	})
}

// TestAStallIsCounted: what should have been sent during a stall is sent at once after it, with its intended time.
func TestAStallIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := follow(Plan{Rate: 100, Duration: time.Second, Lanes: 1}, func(k int) time.Duration {
			if k == 10 {
				return 500 * time.Millisecond
			}
			return 0
		})
		if len(all) != 100 {
			t.Fatalf("%d messages, want all 100 of the plan", len(all))
		}
		if s := all[11]; s.due != 110*time.Millisecond || s.at != 600*time.Millisecond {
			t.Errorf("the message behind the stall: %+v", s)
		}
		if s := all[99]; s.at != s.due {
			t.Errorf("the last message: %+v, want it in time again", s)
		}
	})
}

func TestLanesShareAPlan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var all []int
		var lanes sync.WaitGroup
		for lane := range 3 {
			lanes.Go(func() {
				for _, s := range follow(Plan{Rate: 1000, Duration: time.Second, Lane: lane, Lanes: 3}, func(int) time.Duration { return 0 }) {
					mu.Lock()
					all = append(all, s.k)
					mu.Unlock()
				}
			})
		}
		lanes.Wait()
		slices.Sort(all)
		for k, got := range all {
			if got != k {
				t.Fatalf("message %d is missing or doubled", k)
			}
		}
		if len(all) != 1000 {
			t.Errorf("%d messages, want 1000", len(all))
		}
	})
}

func TestAPlanEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		n := 0
		Plan{Rate: 1000, Duration: time.Hour, Lanes: 1}.Follow(ctx, time.Now(), func(int, time.Duration) bool { n++; return true })
		if n < 90 || n > 200 {
			t.Errorf("%d messages within the tenth of a second", n)
		}
	})
}

func newSearch(first, most float64) *Search {
	return &Search{First: first, Most: most, Up: 1.5, Precision: 1.1}
}

func TestSearchFindsTheLimit(t *testing.T) {
	for _, limit := range []float64{40, 900, 5_000, 17_300, 19_999, 20_000, 33_000, 150_000} {
		for _, first := range []float64{2_000, 10_000, 100_000} {
			s, steps := newSearch(first, 200_000), 0
			for {
				rate, ok := s.Next()
				if !ok {
					break
				}
				if steps++; steps > 20 {
					t.Fatalf("limit %v from %v: not found in %d steps", limit, first, steps)
				}
				s.Tell(rate, rate <= limit, min(rate/2, limit/2))
			}
			if best := s.kept; best > limit || best < limit/1.1 {
				t.Errorf("limit %v from %v: found %v in %d steps", limit, first, best, steps)
			}
		}
	}
}

// However a search goes, what it finds is that close to the limit, and no rate is tried three times.
func TestSearchEndsBesideTheLimit(t *testing.T) {
	const most, precision = 30_000, 1.08
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.Float64Range(200, 50_000).Draw(t, "limit")
		s := Search{First: rapid.Float64Range(100, 50_000).Draw(t, "first"), Most: most, Up: 1.4, Precision: precision}
		tried, steps := map[int]int{}, 0
		for rate, ok := s.Next(); ok; rate, ok = s.Next() {
			tried[int(math.Round(100*math.Log(rate)/math.Log(precision)))]++
			if steps++; rate > most || steps > 60 {
				t.Fatalf("at %v after %d steps", rate, steps)
			}
			s.Tell(rate, rate <= limit, rapid.Float64Range(0, 0.9).Draw(t, "likely")*rate)
		}
		for rate, n := range tried {
			if n > 2 {
				t.Errorf("%v was tried %d times", math.Pow(precision, float64(rate)/100), n)
			}
		}
		if want := min(limit, most); s.kept > want || s.kept < want/precision/(1+1e-9) {
			t.Errorf("found %v", s.kept)
		}
	})
}

func TestSearchGoesOnPastAPause(t *testing.T) {
	const limit = 15_000
	for pause := range 8 { // the try that meets it
		s, steps := newSearch(8_000, 200_000), 0
		for rate, ok := s.Next(); ok; rate, ok = s.Next() {
			kept := rate <= limit && steps != pause
			s.Tell(rate, kept, rate/1.25)
			if steps++; steps > 30 {
				t.Fatalf("a pause during try %d: the search does not end", pause)
			}
		}
		if best := s.kept; best > limit || best < limit/1.1 {
			t.Errorf("a pause during try %d: found %v in %d steps, want the limit of %d", pause, best, steps, limit)
		}
	}
}

func TestSearchEndsWhereNothingIsKept(t *testing.T) {
	s, steps := newSearch(10_000, 100_000), 0
	for rate, ok := s.Next(); ok; rate, ok = s.Next() {
		if steps++; steps > 30 {
			t.Fatal("the search does not end")
		}
		s.Tell(rate, false, 0)
	}
	if s.kept != 0 {
		t.Errorf("found %v where nothing is kept", s.kept)
	}
}

func TestSearchStopsAtTheMost(t *testing.T) {
	s := newSearch(1000, 3000)
	for rate, ok := s.Next(); ok; rate, ok = s.Next() {
		if rate > 3000 {
			t.Fatalf("tries %v, above the most", rate)
		}
		s.Tell(rate, true, rate)
	}
	if s.kept != 3000 {
		t.Errorf("found %v, want 3000", s.kept)
	}
}
