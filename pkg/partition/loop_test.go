package partition

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/catena-im/catena/pkg/bus"
	"github.com/catena-im/catena/pkg/kv"
)

// process makes a host that runs loops by hand.
func (w *world) process(name string) (*host, context.Context) {
	ctx, cancel := context.WithCancel(context.Background())
	return &host{w: w, name: name, cancel: cancel, stopped: make(chan bool)}, ctx
}

// own runs one ownership of p until it ends.
func (h *host) own(ctx context.Context, p bus.Partition) error {
	stream := h.open(p)
	defer stream.Close()
	l := &loop{
		part: p, worker: h.name, store: &hostStore{h}, stream: stream, log: slog.New(h), meter: cmp.Or(h.meter, newMeter(nil)),
		start: func(context.Context, bus.Partition, uint64) (Processor, error) { return &folder{h: h, part: p}, nil },
	}
	return l.run(ctx, fenceKey(p))
}

// complete has a fresh process finish the work, and stop.
func (w *world) complete(t *testing.T) {
	t.Helper()
	h, ctx := w.process("heir")
	end := make(chan error, 1)
	go func() { end <- h.own(ctx, w.parts[0]) }() // joined below
	if missing := w.settle(time.Minute); missing != "" {
		t.Errorf("not finished: %s", missing)
	}
	h.cancel()
	if err := <-end; !errors.Is(err, context.Canceled) {
		t.Errorf("stopped with %v, want %v", err, context.Canceled)
	}
	for _, s := range w.wrong {
		t.Error(s)
	}
}

func (w *world) feed(n int) {
	for i := range n {
		w.streams[w.parts[0]].append(fmt.Appendf(nil, "message %d", i))
	}
}

// A process that dies at any of its operations, before or after its effect, leaves what the next one can finish.
func TestCrashAtEveryOperation(t *testing.T) {
	for _, after := range []bool{false, true} {
		for at, reached := 1, true; reached; at++ {
			t.Run(fmt.Sprintf("at=%d,after=%v", at, after), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(uint64(at), 1)
					h, ctx := w.process("anna")
					h.dieAt, h.after = at, after
					fed := make(chan struct{})
					go func() { // joined below
						defer close(fed)
						w.feed(6)
						time.Sleep(time.Second)
						w.feed(6)
					}()
					time.AfterFunc(12*time.Second, h.cancel)
					err := h.own(ctx, w.parts[0])
					if err == nil {
						t.Error("an ownership ended without an error")
					}
					reached = h.dead
					<-fed
					w.complete(t)
				})
			})
			if at > 1000 {
				t.Fatal("the run does not end")
			}
		}
	}
}

// L7, forced: a former owner stands still right before an operation, another owner takes over and goes on, and then the
// former one wakes up.
func TestFormerOwnerWakesUp(t *testing.T) {
	for _, at := range []string{"commit", "emit", "ack", "next", "seek", "state"} {
		t.Run(at, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(1, 1)
				w.feed(3)
				former, ctx := w.process("former")
				end := make(chan error, 1)
				go func() { end <- former.own(ctx, w.parts[0]) }() // joined below
				if missing := w.settle(time.Minute); missing != "" {
					t.Fatal(missing)
				}
				w.set(func() {
					former.stopAt = at
					if at == "seek" || at == "state" {
						w.streams[w.parts[0]].interrupt()
					}
				})
				w.feed(5)
				<-former.stopped

				heir, heirCtx := w.process("heir")
				heirEnd := make(chan error, 1)
				go func() { heirEnd <- heir.own(heirCtx, w.parts[0]) }() // joined below
				w.feed(5)
				if missing := w.settle(time.Minute); missing != "" {
					t.Errorf("the heir does not finish: %s", missing)
				}
				epoch := w.checkpoint(w.parts[0]).GetEpoch()
				<-former.stopped
				w.feed(5) // both read now
				if missing := w.settle(time.Minute); missing != "" {
					t.Errorf("the heir does not go on: %s", missing)
				}
				if got := w.checkpoint(w.parts[0]).GetEpoch(); got != epoch {
					t.Errorf("epoch went from %d to %d", epoch, got)
				}
				heir.cancel()
				<-heirEnd
				w.feed(1) // whatever the former owner was up to, now it learns
				w.set(func() {
					w.streams[w.parts[0]].interrupt()
				})
				if err := <-end; !errors.Is(err, kv.ErrFenced) && !errors.Is(err, errStolen) {
					t.Errorf("the former owner ended with %v, want %v or %v", err, kv.ErrFenced, errStolen)
				}
				if got := w.checkpoint(w.parts[0]).GetWorker(); got != "heir" {
					t.Errorf("the fence is the work of %q", got)
				}
				w.complete(t)
			})
		})
	}
}

// A failed emission is repeated though no further message comes.
func TestEmissionThatFailsIsRepeatedWithoutAnotherMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1, 1)
		w.faults.emit = 1000
		w.feed(1)
		h, ctx := w.process("anna")
		if err := h.own(ctx, w.parts[0]); !errors.Is(err, errEmit) {
			t.Fatalf("ended with %v, want %v", err, errEmit)
		}
		w.faults.emit = 0
		w.complete(t)
	})
}

func TestStopDoesNotWaitForAnEmissionThatGetsNowhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1, 1)
		w.faults.hang = 1000
		h, ctx := w.process("anna")
		go func() { // joined by own: it ends a minute before
			for range 20 {
				w.feed(1)
				time.Sleep(time.Second)
			}
			h.cancel()
		}()
		began := time.Now()
		if err := h.own(ctx, w.parts[0]); !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v, want %v", err, context.Canceled)
		}
		if took := time.Since(began) - 20*time.Second; took > 2*grace {
			t.Errorf("took %s to stop", took)
		}
		w.heal()
		w.silent = time.Time{}
		w.complete(t)
	})
}

// Nothing that is emitted is asked for again after a long pause, whoever removed it.
func TestCrashAfterAQuietWeek(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1, 1)
		w.feed(5)
		h, ctx := w.process("anna")
		end := make(chan error, 1)
		go func() { end <- h.own(ctx, w.parts[0]) }() // joined below
		time.Sleep(time.Minute)
		w.set(func() {
			w.streams[w.parts[0]].purge(6)
			h.kill()
		})
		<-end
		w.feed(2)
		w.complete(t)
	})
}

func TestDamagedStreamStopsThePartition(t *testing.T) {
	for name, damage := range map[string]func(s *simStream){
		"replaced by an empty one":             func(s *simStream) { s.replace() },
		"shortened":                            func(s *simStream) { s.shorten(s.last() - 3) },
		"shortened to nothing":                 func(s *simStream) { s.shorten(1) },
		"shortened and unnoticed":              func(s *simStream) { gen := s.gen; s.shorten(s.last() - 3); s.gen = gen },
		"trimmed beyond what is applied":       func(s *simStream) { s.purge(s.last() + 1); s.first += 3; s.cursor = s.first; s.interrupt() },
		"replaced by one that begins later on": func(s *simStream) { s.replace(); s.first, s.cursor = 5, 5 },
	} {
		for _, running := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s,running=%v", name, running), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(1, 1)
					s := w.streams[w.parts[0]]
					w.feed(10)
					if !running {
						w.complete(t)
					}
					h, ctx := w.process("anna")
					end := make(chan error, 1)
					go func() { // joined below
						if !running {
							time.Sleep(time.Hour)
						}
						end <- h.own(ctx, w.parts[0])
					}()
					if missing := w.settle(time.Minute); missing != "" {
						t.Fatal(missing)
					}
					w.set(func() {
						damage(s)
					})
					for range 30 { // until it has counted beyond the checkpoint again
						w.feed(1)
						time.Sleep(time.Second)
					}
					var broken *StreamError
					if err := <-end; !errors.As(err, &broken) {
						t.Errorf("ended with %v, want a StreamError", err)
					}
					if got := w.checkpoint(w.parts[0]).GetApplied(); got != 10 {
						t.Errorf("applied is %d, want 10", got)
					}
					for _, bad := range w.wrong {
						t.Error(bad)
					}
				})
			})
		}
	}
}

// A check that the store has no checkpoint for a stream that does not begin with its first message.
func TestStreamWithoutABeginningNeedsACheckpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1, 1)
		w.feed(10)
		w.streams[w.parts[0]].purge(4)
		h, ctx := w.process("anna")
		var broken *StreamError
		if err := h.own(ctx, w.parts[0]); !errors.As(err, &broken) {
			t.Fatalf("ended with %v, want a StreamError", err)
		}
		if w.checkpoint(w.parts[0]).GetEpoch() != 0 {
			t.Error("the epoch was raised all the same")
		}
	})
}

func TestContiguous(t *testing.T) {
	seqs := func(in ...uint64) (msgs []bus.Msg) {
		for _, s := range in {
			msgs = append(msgs, bus.Msg{Seq: s})
		}
		return msgs
	}
	for _, c := range []struct {
		in   []bus.Msg
		want int
	}{
		{nil, 0}, {seqs(5), 1}, {seqs(5, 6, 7), 3}, {seqs(4), 0}, {seqs(6), 0}, {seqs(3, 4, 5, 6), 2}, {seqs(5, 7), 1}, {seqs(5, 6, 5), 2},
	} {
		got := contiguous(c.in, 5)
		if len(got) != c.want || len(got) > 0 && got[0].Seq != 5 {
			t.Errorf("contiguous(%v, 5): got %v", c.in, got)
		}
	}
}

// The checks of the damaged streams would tell if a partition went on.
func TestSimulationReportsMessagesThatAreSkipped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1, 1)
		w.mutation = identityFaked
		w.feed(10)
		w.complete(t)
		w.streams[w.parts[0]].shorten(5)
		w.feed(10)
		h, ctx := w.process("anna")
		time.AfterFunc(time.Minute, h.cancel)
		if err := h.own(ctx, w.parts[0]); !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
		if len(w.wrong) == 0 {
			t.Error("messages 5 to 10 of the new count were skipped, and nothing is reported")
		}
	})
}
