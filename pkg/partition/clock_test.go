package partition

import (
	"testing"
	"testing/synctest"
	"time"
	"unsafe"
)

// set is t as a clock would show it that somebody has set by d: another time of day, the same monotonic reading.
func set(t time.Time, d time.Duration) time.Time {
	if d%time.Second != 0 {
		panic("whole seconds only")
	}
	const nanoseconds = 30 // bits of the wall word below the seconds
	wall := (*uint64)(unsafe.Pointer(&t))
	*wall += uint64(d/time.Second) << nanoseconds
	return t
}

func TestSetMovesTheTimeOfDayOnly(t *testing.T) {
	now := time.Now()
	later := set(now, time.Hour)
	if got := later.Sub(now); got != 0 {
		t.Errorf("the monotonic reading moved by %s", got)
	}
	if got := later.Round(0).Sub(now.Round(0)); got != time.Hour {
		t.Errorf("the time of day moved by %s, want an hour", got)
	}
}

// Whoever sets the clock of a worker's machine changes nothing about its leases: they are renewed as often as ever, and
// nobody takes them.
func TestLeasesDoNotDependOnTheTimeOfDay(t *testing.T) {
	renewals := func(jump time.Duration) (n uint64) {
		base := time.Now() // the fake clock has no monotonic reading
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(1, 2)
			began, readings := time.Now(), 0
			w.clock = func() time.Time {
				w.mu.Lock()
				defer w.mu.Unlock()
				now := base.Add(time.Since(began))
				if readings++; readings%3 == 0 {
					return set(now, jump)
				}
				return now
			}
			w.boot("anna")
			w.boot("ben")
			w.rounds(10)
			w.set(func() {
				n -= w.leases.rev
			})
			time.Sleep(5 * time.Minute)
			w.set(func() {
				n += w.leases.rev
			})
			for _, p := range w.parts {
				if got := w.checkpoint(p).GetEpoch(); got > 2 {
					t.Errorf("jumps of %s: %s was taken over %d times", jump, p, got)
				}
			}
			w.retire()
			for _, s := range w.wrong {
				t.Error(s)
			}
		})
		return n
	}
	want := renewals(0)
	for _, jump := range []time.Duration{time.Hour, -time.Hour} {
		if got := renewals(jump); got < want*9/10 || got > want*11/10 {
			t.Errorf("jumps of %s: %d renewals in 5 minutes, want about %d", jump, got, want)
		}
	}
}

// The NATS servers end leases by a clock of their own. Set back, they would keep those of a dead worker for an hour
// more; set forward, they end all at once, though everybody lives.
func TestPartitionsAreOwnedWhateverTheServersClockShows(t *testing.T) {
	for name, jump := range map[string]time.Duration{"back": -time.Hour, "forward": time.Hour} {
		for _, dies := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(1, 6)
					w.boot("anna")
					ben := w.boot("ben")
					w.rounds(5)
					w.set(func() {
						w.leases.ahead += jump
					})
					want := 0
					if dies {
						ben.halt()
						want = 6
					}
					for range 30 {
						for _, p := range w.parts {
							w.streams[p].append([]byte("x"))
						}
						w.rounds(1)
					}
					if missing := w.settle(time.Second); missing != "" {
						t.Errorf("half a minute later: %s", missing)
					}
					if got := w.holders(); got["anna"]+got["ben"] != 6 || want > 0 && got["anna"] != want {
						t.Errorf("holders are %v", got)
					}
					w.set(func() {
						w.leases.ahead += max(-jump, 0) // what the dead one left behind ends
					})
					w.retire()
					for _, s := range w.wrong {
						t.Error(s)
					}
				})
			})
		}
	}
}
