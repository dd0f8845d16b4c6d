package partition

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/catena-im/catena/pkg/bus"
)

// holders are the workers that hold the leases of the partitions now.
func (w *world) holders() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := make(map[string]int)
	for _, p := range w.parts {
		if l, ok := w.leases.get(p.String()); ok {
			out[heldBy(l.Lease)]++
		}
	}
	return out
}

func (w *world) rounds(n int) {
	time.Sleep(time.Duration(n) * 1100 * time.Millisecond)
	synctest.Wait()
}

func TestSecondProcessUnderOneNameEndsTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1, 2)
		first := w.boot("anna")
		w.rounds(5)
		second := w.boot("anna")
		w.rounds(5)
		if !first.halted() || !errors.Is(first.err, ErrNameTaken) {
			t.Errorf("the first process: ended %v with %v, want %v", first.halted(), first.err, ErrNameTaken)
		}
		if second.halted() {
			t.Errorf("the second process ended with %v", second.err)
		}
		if got := w.holders(); got["anna"] != 2 {
			t.Errorf("holders are %v", got)
		}
		first.err = nil
		w.retire()
		for _, s := range w.wrong {
			t.Error(s)
		}
	})
}

// An outage of the leases, of any length, ends no worker: they have the same partitions afterwards, and an answer that
// was lost is not taken for another process.
func TestWorkerOutlivesFaultsOfItsLeases(t *testing.T) {
	for _, outage := range []time.Duration{0, 3 * time.Second, 12 * time.Second, time.Minute} {
		t.Run(outage.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(uint64(outage), 3)
				h := w.boot("anna")
				w.rounds(3)
				w.set(func() {
					w.leases.away = outage > 0
					w.faults.lease = 400
				})
				time.Sleep(outage)
				w.set(func() {
					w.leases.away = false
				})
				time.Sleep(3 * time.Minute)
				w.heal()
				time.Sleep(30 * time.Second)
				if h.halted() {
					t.Errorf("the worker ended with %v", h.err)
				}
				if got := w.holders(); got["anna"] != 3 {
					t.Errorf("holders are %v", got)
				}
				w.retire()
				for _, s := range w.wrong {
					t.Error(s)
				}
			})
		})
	}
}

// A worker that stood still for longer than its leases lasted comes back without a fight.
func TestPausedWorkerGivesWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1, 4)
		anna := w.boot("anna")
		w.rounds(3)
		w.set(func() {
			anna.resume = time.Now().Add(time.Minute)
		})
		ben := w.boot("ben")
		w.rounds(40)
		if got := w.holders(); got["ben"] != 4 {
			t.Fatalf("holders are %v while anna stands still", got)
		}
		epochs := func() (sum uint64) {
			for _, p := range w.parts {
				sum += w.checkpoint(p).GetEpoch()
			}
			return sum
		}
		before := epochs()
		for range 60 {
			for _, p := range w.parts {
				w.streams[p].append([]byte("x"))
			}
			w.rounds(1)
		}
		if got := w.holders(); got["anna"] == 0 || got["anna"]+got["ben"] != 4 {
			t.Errorf("holders are %v after anna came back", got)
		}
		if got := epochs() - before; got > 4 {
			t.Errorf("%d take-overs for 4 partitions", got)
		}
		if missing := w.settle(time.Minute); missing != "" || anna.halted() || ben.halted() {
			t.Errorf("anna ended %v, ben ended %v, missing %q", anna.halted(), ben.halted(), missing)
		}
		w.retire()
		for _, s := range w.wrong {
			t.Error(s)
		}
	})
}

func TestWorkersShareAndHandBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1, 16)
		w.boot("anna")
		w.rounds(2)
		if got := w.holders(); got["anna"] != 16 {
			t.Errorf("one worker: %v", got)
		}
		ben := w.boot("ben")
		w.rounds(4)
		if got := w.holders(); got["anna"] < 4 || got["ben"] < 4 || got["anna"]+got["ben"] != 16 {
			t.Errorf("two workers: %v", got)
		}
		ben.cancel()
		<-ben.done
		w.rounds(2)
		if got := w.holders(); got["anna"] != 16 {
			t.Errorf("after one stopped: %v", got)
		}
		w.retire()
		for _, s := range w.wrong {
			t.Error(s)
		}
	})
}

func TestShareMovesOnlyWhatItMust(t *testing.T) {
	workers := []string{"a", "b", "c", "d", "e"}
	count := make(map[string]int)
	for n := range 1000 {
		p := bus.Partition{Kind: bus.Conv, Number: n}
		before := share(p, workers)
		count[before]++
		for i, gone := range workers {
			left := append(append([]string(nil), workers[i+1:]...), workers[:i]...) // in another order, too
			if after := share(p, left); before != gone && after != before {
				t.Fatalf("%s moves from %s to %s when %s goes", p, before, after, gone)
			}
		}
	}
	for w, n := range count {
		if n < 120 || n > 280 {
			t.Errorf("%s has %d of 1000 partitions among 5", w, n)
		}
	}
}

func TestNewRefusesNamesThatNoLeaseTakes(t *testing.T) {
	for _, c := range []struct {
		name, boot string
		ok         bool
	}{
		{"anna-1_B", "x", true}, {"", "x", false}, {"a.b", "x", false}, {"a b", "x", false}, {"ä", "x", false},
		{"a@b", "x", false}, {fmt.Sprintf("%065d", 1), "x", false}, {"anna", "", false},
	} {
		if _, err := New(Config{Worker: c.name, Boot: c.boot}, Deps{}); (err == nil) != c.ok {
			t.Errorf("worker %q, boot %q: %v", c.name, c.boot, err)
		}
	}
}

// One that stops tells the others first, and hands over each partition as soon as it is done with it: nobody waits for
// longer than it takes to look at the leases.
func TestCleanStopHandsOverWithinAPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1, 16)
		anna := w.boot("anna")
		w.boot("ben")
		w.rounds(5)
		anna.cancel()
		time.Sleep(time.Second)
		synctest.Wait()
		if got := w.holders(); got["ben"] != 16 {
			t.Errorf("holders are %v a second after anna was told to stop", got)
		}
		for _, p := range w.parts {
			if got := w.checkpoint(p).GetWorker(); got != "ben" {
				t.Errorf("%s is run by %q", p, got)
			}
		}
		w.retire()
		for _, s := range w.wrong {
			t.Error(s)
		}
	})
}

// While a stream has no leader its partition tries again and again, and goes on within a second after there is one.
func TestPartitionGoesOnSoonAfterItsStreamIsBack(t *testing.T) {
	for outage := 20 * time.Second; outage < 22*time.Second; outage += 250 * time.Millisecond {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(uint64(outage), 1)
			w.feed(1)
			w.boot("anna")
			w.rounds(3)
			w.set(func() {
				w.faults.stream = 1000
				w.streams[w.parts[0]].interrupt()
			})
			time.Sleep(outage)
			w.feed(1)
			w.heal()
			time.Sleep(1100 * time.Millisecond)
			synctest.Wait()
			if missing := w.missing(); missing != "" {
				t.Errorf("after %s without a leader: %s", outage, missing)
			}
			w.retire()
			for _, s := range w.wrong {
				t.Error(s)
			}
		})
	}
}

// A replica that lags shows less than there is. A lease is not lost before the list shows who else has it.
func TestLeaseThatIsNotListedIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1, 1)
		h, _ := w.process("anna")
		o, err := New(Config{Worker: "anna", Boot: "1", Partitions: w.parts}, Deps{Leases: &hostLeases{h}})
		if err != nil {
			t.Fatal(err)
		}
		ctx := t.Context()
		keep := func(h held, listed ...bus.Lease) (held, error) {
			leases := make(map[string]bus.Lease)
			for _, l := range listed {
				leases[l.Key] = l
			}
			return o.keep(ctx, h, "conv.000", leases)
		}
		first, err := keep(held{})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(o.cfg.TTL / 2)
		second, err := keep(first) // due, and the list does not show it
		if err != nil || second.lease.Revision != first.lease.Revision+1 {
			t.Errorf("got revision %d and error %v, want one more than %d", second.lease.Revision, err, first.lease.Revision)
		}
		time.Sleep(2 * o.cfg.TTL) // it ends
		third, err := keep(second)
		if err != nil || third.lease.Revision != second.lease.Revision+1 {
			t.Errorf("after it ended: got revision %d and error %v, want one more than %d", third.lease.Revision, err, second.lease.Revision)
		}
		time.Sleep(o.cfg.TTL / 2)
		for _, listed := range [][]bus.Lease{nil, {first.lease}} { // and the third was written without an answer
			if got, err := keep(second, listed...); err != nil || got.lease.Revision != second.lease.Revision {
				t.Errorf("the list is %v: got %+v and error %v, want %+v", listed, got, err, second)
			}
		}
		other := bus.Lease{Key: "conv.000", Value: []byte(`{"worker":"ben"}`), Revision: third.lease.Revision + 1}
		if _, err := keep(third, other); !errors.Is(err, bus.ErrLost) {
			t.Errorf("the list shows another: got error %v, want %v", err, bus.ErrLost)
		}
	})
}

func TestRareLinesAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRare(time.Minute)
		for _, want := range []struct {
			after time.Duration
			kept  int
			ok    bool
		}{{0, 0, true}, {0, 0, false}, {59 * time.Second, 0, false}, {time.Second, 2, true}, {time.Second, 0, false}} {
			time.Sleep(want.after)
			if kept, ok := r.pass(); kept != want.kept || ok != want.ok {
				t.Errorf("got %d kept back and %v, want %d and %v", kept, ok, want.kept, want.ok)
			}
		}
	})
}
