package partition

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// storm is everything at once.
var storm = faults{unavailable: 15, unknown: 40, emit: 15, hang: 3, stream: 60, lease: 60, crash: 2, pause: 2}

// live runs two or three workers through a few minutes of faults, then lets them recover and stop.
func live(seed uint64, m mutation, f faults) *world {
	w := newWorld(seed, 2)
	w.mutation, w.faults = m, f
	w.streams[w.parts[0]].max = 40_000 // less than what comes
	const messages = 60
	fed := make(chan struct{})
	go func() { // joined below
		defer close(fed)
		for n := range messages {
			for _, p := range w.parts {
				data := make([]byte, 16+w.draw(1500))
				copy(data, fmt.Sprintf("%d", n))
				for tries := 0; !w.streams[p].append(data) && tries < 600; tries++ {
					time.Sleep(time.Second)
				}
			}
			time.Sleep(w.pick(2 * time.Second))
		}
	}()
	names := []string{"anna", "ben", "cleo"}[:2+w.draw(2)]
	running := make(map[string]*host)
	for _, name := range names {
		running[name] = w.boot(name)
	}
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(w.pick(3 * time.Second)) {
		w.disturb(names, running)
	}
	w.heal()
	time.Sleep(time.Minute) // until those that are about to end have ended
	for _, name := range names {
		if h := running[name]; h.halted() {
			running[name] = w.boot(name)
		}
	}
	<-fed
	missing := w.settle(3 * time.Minute)
	if n := w.last(w.parts[0]); n != messages {
		missing += fmt.Sprintf("; the stream was not trimmed and took %d of %d messages", n, messages)
	}
	if missing != "" {
		w.set(func() {
			w.violate("not recovered 3 minutes after the last fault: %s", missing)
		})
	}
	time.Sleep(20 * time.Second) // a lease that a fault kept from being known to its holder ends by itself
	w.retire()
	return w
}

// disturb does to the workers what an operator or a bad day does.
func (w *world) disturb(names []string, running map[string]*host) {
	name := names[w.draw(len(names))]
	if h := running[name]; h.halted() {
		running[name] = w.boot(name)
		return
	}
	switch w.draw(8) {
	case 0: // kill -9
		running[name].halt()
	case 1: // a clean stop
		running[name].cancel()
	case 2: // the power fails: all die, and the store loses what was not synced
		for _, h := range running {
			h.halt()
		}
		w.set(func() {
			w.store.lose()
		})
	case 3: // stands still, for longer or shorter than its leases last
		w.set(func() {
			running[name].resume = time.Now().Add(w.upTo(40 * time.Second))
		})
	case 4:
		w.set(func() {
			w.leases.away = !w.leases.away
		})
	case 6: // cut off from the store alone
		w.set(func() {
			running[name].cut = time.Now().Add(w.upTo(40 * time.Second))
		})
	case 5:
		w.set(func() {
			w.streams[w.parts[w.rng.IntN(len(w.parts))]].interrupt()
		})
	}
}

func TestOwnersKeepTheirPromisesThroughFaults(t *testing.T) {
	seeds(t, func(seed uint64) *world { return live(seed, sound, storm) })
}

// A simulation that cannot fail proves nothing.
func TestSimulationReportsWhatIsBuiltWrong(t *testing.T) {
	for name, m := range map[string]mutation{
		"a store that does not compare the fence":     fenceIgnored,
		"an emission before its commit":               emittedEarly,
		"no emission of what was applied in a crash":  notRepeated,
		"applying again what was applied in a crash ": appliedTwice,
	} {
		t.Run(name, func(t *testing.T) {
			for seed := uint64(1); seed <= 40; seed++ {
				var found []string
				synctest.Test(t, func(*testing.T) { found = live(seed, m, storm).wrong })
				if len(found) > 0 {
					t.Logf("seed %d: %s", seed, found[0])
					return
				}
			}
			t.Error("not reported in 40 runs")
		})
	}
}

// A damaged stream stops its own partition, says so, and goes on when the operator has brought the stream back.
func TestDamagedStreamStopsItsPartitionOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1, 2)
		bad, good := w.parts[0], w.parts[1]
		w.boot("anna")
		for range 10 {
			w.streams[bad].append([]byte("x"))
		}
		if missing := w.settle(time.Minute); missing != "" {
			t.Fatal(missing)
		}
		var kept simStream
		w.set(func() {
			kept = *w.streams[bad]
			kept.msgs = slices.Clone(kept.msgs)
			w.streams[bad].shorten(5)
		})
		for range 30 {
			w.streams[bad].append([]byte("y"))
			w.streams[good].append([]byte("y"))
			time.Sleep(time.Second)
		}
		if got := w.checkpoint(bad).GetApplied(); got != 10 {
			t.Errorf("%s: applied is %d, want 10", bad, got)
		}
		if got := w.checkpoint(good).GetApplied(); got != 30 {
			t.Errorf("%s: applied is %d, want 30", good, got)
		}
		w.set(func() {
			if w.broken[bad] == nil || w.broken[good] != nil {
				t.Errorf("reported as broken: %v", w.broken)
			}
			s := w.streams[bad]
			s.msgs, s.damaged, s.folds = kept.msgs, false, kept.folds
			s.interrupt()
		})
		w.streams[bad].append([]byte("z"))
		if missing := w.settle(time.Minute); missing != "" {
			t.Errorf("after the stream was brought back: %s", missing)
		}
		clear(w.broken)
		w.retire()
		for _, s := range w.wrong {
			t.Error(s)
		}
	})
}
