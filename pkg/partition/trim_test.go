package partition

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// A stream that fills up within seconds is trimmed within seconds: no message is turned away.
func TestStreamThatFillsUpFastIsTrimmedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1, 1)
		s := w.streams[w.parts[0]]
		s.max = 100_000
		w.boot("anna")
		w.rounds(2)
		for n := range 2000 { // 220 kB/s
			if !s.append(make([]byte, 1000)) {
				t.Errorf("message %d was turned away", n)
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
		if missing := w.settle(time.Minute); missing != "" {
			t.Error(missing)
		}
		w.retire()
		for _, bad := range w.wrong {
			t.Error(bad)
		}
	})
}

// Messages go on while the store syncs for a trim, which is made afterwards, unless the stream is another one by then.
func TestMessagesGoOnWhileTheStoreSyncsForATrim(t *testing.T) {
	for name, replaced := range map[string]bool{"the same stream": false, "another stream": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(1, 1)
				s := w.streams[w.parts[0]]
				s.max = 3000
				h, ctx := w.process("anna")
				end := make(chan error, 1)
				go func() { end <- h.own(ctx, w.parts[0]) }() // joined below
				w.feed(10)
				if missing := w.settle(time.Minute); missing != "" {
					t.Fatal(missing)
				}
				w.set(func() { h.stopAt = "sync" })
				time.Sleep(trimEvery)
				w.feed(10)
				select {
				case <-h.stopped: // the store begins to sync
				case <-time.After(time.Minute):
					t.Fatal("the store is not synced for a trim")
				}
				w.feed(1)
				if missing := w.settle(time.Minute); missing != "" {
					t.Errorf("the store syncs: %s", missing)
				}
				w.set(func() {
					if s.first != 1 {
						t.Error("trimmed before the store has synced")
					}
					if replaced {
						s.created = time.Now()
					}
				})
				<-h.stopped // and goes on
				time.Sleep(time.Second)
				w.set(func() {
					if trimmed := s.first > 1; trimmed == replaced {
						t.Errorf("trimmed: %v", trimmed)
					}
				})
				h.cancel()
				<-end
				for _, bad := range w.wrong {
					t.Error(bad)
				}
			})
		})
	}
}

// What is handled is kept for as long as is asked for, and what is not handled however old it gets.
func TestStreamKeepsWhatIsNotHandledHoweverOldItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1, 1)
		w.keep = 3 * time.Hour
		s := w.streams[w.parts[0]]
		w.feed(5)
		time.Sleep(5 * time.Hour) // nobody works
		anna := w.boot("anna")
		if missing := w.settle(time.Minute); missing != "" {
			t.Error(missing)
		}
		for range 50 {
			w.feed(1)
			time.Sleep(6 * time.Minute)
		}
		anna.cancel()
		<-anna.done
		w.feed(3)
		time.Sleep(5 * time.Hour)
		oldest, step := time.Since(s.msgs[0].Time)-5*time.Hour, 6*time.Minute
		if oldest < w.keep-step || oldest > w.keep*9/8+2*step {
			t.Errorf("the oldest message was %s old when the worker stopped, want about %s", oldest, w.keep)
		}
		if s.last() != 58 {
			t.Errorf("the stream ends at %d", s.last())
		}
		w.boot("ben")
		if missing := w.settle(time.Minute); missing != "" {
			t.Error(missing)
		}
		w.retire()
		for _, bad := range w.wrong {
			t.Error(bad)
		}
	})
}

// Messages that are met again after a crash were counted when they were applied.
func TestMeterCountsWhatIsAppliedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1, 1)
		reg := prometheus.NewRegistry()
		m := newMeter(reg)
		w.faults.hang = 1000 // everything is applied, and nothing emitted
		w.feed(1)
		h, ctx := w.process("anna")
		h.meter = m
		time.AfterFunc(30*time.Second, h.cancel)
		_ = h.own(ctx, w.parts[0])
		w.heal()
		w.silent = time.Time{}
		again, cancel := context.WithCancel(t.Context())
		time.AfterFunc(30*time.Second, cancel)
		h, _ = w.process("ben")
		h.meter = m
		_ = h.own(again, w.parts[0])
		if got := testutil.ToFloat64(m.messages.WithLabelValues(w.parts[0].String())); got != 1 {
			t.Errorf("%v messages are counted, want 1", got)
		}
		if missing := w.missing(); missing != "" {
			t.Error(missing)
		}
	})
}
