package partition

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// apart cuts hosts off from the store for d.
func (w *world) apart(d time.Duration, hosts ...*host) {
	w.set(func() {
		for _, h := range hosts {
			h.cut = time.Now().Add(d)
		}
	})
}

// epochs is how often all partitions together were taken over.
func (w *world) epochs() (sum uint64) {
	for _, p := range w.parts {
		sum += w.checkpoint(p).GetEpoch()
	}
	return sum
}

// busy brings a message to each partition every second for d.
func (w *world) busy(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Second) {
		for _, p := range w.parts {
			w.streams[p].append([]byte("x"))
		}
	}
}

func (w *world) finish(t *testing.T) {
	w.retire()
	for _, s := range w.wrong {
		t.Error(s)
	}
}

// One that the store does not answer leaves its partitions to one that it answers, and takes its share again later.
func TestWorkerWithoutTheStoreStepsAside(t *testing.T) {
	for _, lasts := range []time.Duration{20 * time.Second, 50 * time.Second} {
		t.Run(lasts.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(uint64(lasts), 8)
				anna := w.boot("anna")
				w.boot("ben")
				w.rounds(5)
				share, before := w.holders()["anna"], w.epochs()
				w.apart(lasts, anna)
				w.busy(9 * time.Second)
				if missing := w.settle(2 * time.Second); missing != "" {
					t.Errorf("11 s after the cut: %s", missing)
				}
				if got := w.holders(); got["ben"] != 8 {
					t.Errorf("holders are %v while anna does not reach the store", got)
				}
				w.busy(lasts - 11*time.Second)
				w.busy(5 * time.Second)
				if got := w.holders(); got["anna"] != share || got["ben"] != 8-share {
					t.Errorf("holders are %v 5 s after the cut, want %d with anna", got, share)
				}
				if missing := w.settle(2 * time.Second); missing != "" {
					t.Errorf("after the cut: %s", missing)
				}
				if got := w.epochs() - before; got != uint64(2*share) {
					t.Errorf("%d take-overs, want %d: there and back", got, 2*share)
				}
				w.finish(t)
			})
		})
	}
}

// When the store is away from all of them there is nobody to leave the partitions to. Whoever goes all the same, because
// another one was there still, makes no storm of take-overs.
func TestStoreThatIsAwayFromAllMovesLittle(t *testing.T) {
	for workers := 2; workers <= 5; workers++ {
		t.Run(fmt.Sprint(workers), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const parts = 12
				w := newWorld(uint64(workers), parts)
				for n := range workers {
					w.boot(fmt.Sprintf("worker-%d", n))
				}
				w.rounds(8)
				before, written, holding := w.epochs(), uint64(0), len(w.holders())
				w.set(func() {
					written = w.leases.rev
				})
				w.apart(5*time.Minute, w.hosts...)
				w.busy(5 * time.Minute)
				w.set(func() {
					written = w.leases.rev - written
				})
				if most := uint64(60*parts + 60*workers + 5*parts); written > most { // 60 renewals each
					t.Errorf("%d writes to the leases, want at most %d", written, most)
				}
				time.Sleep(5 * time.Second)
				if missing := w.settle(2 * time.Second); missing != "" {
					t.Errorf("7 s after the store is back: %s", missing)
				}
				if got := len(w.holders()); got != holding {
					t.Errorf("%d workers hold something, before it were %d", got, holding)
				}
				if got := w.epochs() - before; got > 3*parts {
					t.Errorf("%d take-overs of %d partitions", got, parts)
				}
				w.finish(t)
			})
		})
	}
}

// Without others a worker keeps what it has, whatever its store does.
func TestWorkerThatIsAloneStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1, 4)
		anna := w.boot("anna")
		w.rounds(3)
		w.apart(time.Minute, anna)
		for range 55 {
			w.busy(time.Second)
			if got := w.holders(); got["anna"] != 4 {
				t.Fatalf("holders are %v", got)
			}
		}
		time.Sleep(5 * time.Second)
		if missing := w.settle(3 * time.Second); missing != "" {
			t.Errorf("after the cut: %s", missing)
		}
		w.finish(t)
	})
}

// A process that stood still has asked nothing meanwhile.
func TestWorkerThatSleptDoesNotStepAside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1, 4)
		anna := w.boot("anna")
		w.boot("ben")
		w.rounds(5)
		before := w.epochs()
		for range 10 {
			w.set(func() {
				anna.resume = time.Now().Add(8 * time.Second)
			})
			time.Sleep(12 * time.Second)
		}
		if got := w.epochs() - before; got != 0 {
			t.Errorf("%d take-overs", got)
		}
		w.finish(t)
	})
}

// A link to the store that comes and goes makes a worker stay away for longer each time.
func TestWorkerThatStepsAsideOftenStaysAwayLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1, 8)
		anna := w.boot("anna")
		w.boot("ben")
		w.rounds(5)
		before := w.epochs()
		for range 60 { // 20 minutes
			w.apart(10*time.Second, anna)
			w.busy(20 * time.Second)
		}
		if got := w.epochs() - before; got > 8*2*25 {
			t.Errorf("%d take-overs", got)
		}
		w.finish(t)
	})
}
