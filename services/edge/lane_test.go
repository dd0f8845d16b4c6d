package edge

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/catena-im/catena/pkg/bus"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

func TestCommandsGatherWhileABatchIsInFlight(t *testing.T) {
	w := newWorld(t)
	release := make(chan struct{})
	var flying, most atomic.Int32
	w.append = func(_ context.Context, a appended) error {
		most.Store(max(most.Load(), flying.Add(1)))
		<-release
		flying.Add(-1)
		w.sends(a)
		return nil
	}
	s := serve(t, w, Config{})
	p := s.login(t, "alice", "d")
	ids := []uint64{p.send(sendFrame("m0", "bob", "x"))}
	eventually(t, "the first is in flight", func() bool { return len(w.taken()) == 1 })
	for i := range 20 {
		ids = append(ids, p.send(sendFrame(fmt.Sprintf("m%d", i+1), "bob", "x")))
	}
	p.ping() // everything was read
	close(release)
	for _, id := range ids {
		if f := p.await(id); f.GetSent() == nil {
			t.Fatalf("got %v", f)
		}
	}
	got := w.taken()
	if len(got) != 2 || len(got[1].commands(t).GetCommands()) != 20 || most.Load() != 1 {
		t.Errorf("got %d batches, %d at once; want the later 20 commands in one", len(got), most.Load())
	}
	for i, c := range got[1].commands(t).GetCommands() {
		if c.GetSend().GetClientMessageId() != fmt.Sprintf("m%d", i+1) {
			t.Errorf("command %d is %s", i, c.GetSend().GetClientMessageId())
		}
	}
	if got[0].id == got[1].id {
		t.Errorf("both batches have the id %s", got[0].id)
	}
}

func TestFailedAppendIsToldAsUnavailable(t *testing.T) {
	w := newWorld(t)
	inFlight, release := make(chan struct{}, 1), make(chan struct{})
	w.append = func(context.Context, appended) error {
		inFlight <- struct{}{}
		<-release
		return errors.New("stream is full")
	}
	s := serve(t, w, Config{})
	p := s.login(t, "alice", "d")
	ids := []uint64{p.send(sendFrame("m0", "bob", "x"))}
	<-inFlight
	ids = append(ids, p.send(sendFrame("m1", "bob", "x")))
	p.ping()
	close(release)
	for _, id := range ids {
		f := p.await(id)
		wantRefused(t, f, imv1.ErrorCode_ERROR_CODE_UNAVAILABLE)
		if !f.GetError().GetRetryable() || f.GetError().GetRetryAfterMs() == 0 {
			t.Errorf("got %v, want it retryable after a while", f)
		}
	}
	if n := len(w.taken()); n != 1 {
		t.Errorf("%d batches were appended, want what waited to be refused too", n)
	}
	w.mu.Lock()
	w.append = func(_ context.Context, a appended) error { w.sends(a); return nil }
	w.mu.Unlock()
	if f := p.ask(sendFrame("m0", "bob", "x")); f.GetSent() == nil {
		t.Errorf("got %v after the stream came back", f)
	}
}

func TestRefusalsSayWhetherTheRequestWasTaken(t *testing.T) {
	markRead := func(int) *imv1.ClientFrame {
		return &imv1.ClientFrame{Body: &imv1.ClientFrame_MarkRead{MarkRead: &imv1.MarkRead{ConversationId: "s:alice:bob", ReadIndex: 1}}}
	}
	send := func(n int) *imv1.ClientFrame { return sendFrame(fmt.Sprint("m", n), "bob", "x") }
	for name, tc := range map[string]struct {
		err   error
		frame func(n int) *imv1.ClientFrame
		code  imv1.ErrorCode
		says  string
	}{
		"full, send":                         {fmt.Errorf("append: %w", bus.ErrFull), send, imv1.ErrorCode_ERROR_CODE_OVERLOADED, "has not taken it"},
		"full after a try without an answer": {errors.Join(bus.ErrUnclear, bus.ErrFull), send, imv1.ErrorCode_ERROR_CODE_UNAVAILABLE, "may or may not"},
		"full, mark read":                    {fmt.Errorf("append: %w", bus.ErrFull), markRead, imv1.ErrorCode_ERROR_CODE_OVERLOADED, "has not taken it"},
		"unclear, send":                      {bus.ErrUnclear, send, imv1.ErrorCode_ERROR_CODE_UNAVAILABLE, "may or may not be carried out"},
		"unclear, markread":                  {bus.ErrUnclear, markRead, imv1.ErrorCode_ERROR_CODE_UNAVAILABLE, "may or may not be carried out"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			inFlight, release := make(chan struct{}), make(chan struct{})
			w.append = func(context.Context, appended) error {
				close(inFlight)
				<-release
				return tc.err
			}
			s := serve(t, w, Config{})
			p := s.login(t, "alice", "d")
			first := p.send(tc.frame(1))
			<-inFlight
			behind := p.send(tc.frame(2))
			p.ping()
			close(release)
			for _, c := range []struct {
				id   uint64
				code imv1.ErrorCode
				says string
			}{{first, tc.code, tc.says}, {behind, imv1.ErrorCode_ERROR_CODE_UNAVAILABLE, "has not taken this one"}} {
				f := p.await(c.id)
				wantRefused(t, f, c.code)
				e := f.GetError()
				if !strings.Contains(e.GetText(), c.says) || !e.GetRetryable() || e.GetRetryAfterMs() == 0 {
					t.Errorf("got %v, want it to say %q and to be retryable after a while", e, c.says)
				}
				if strings.Contains(e.GetText(), "client_message_id") {
					t.Errorf("%q speaks of what not every request has", e.GetText())
				}
			}
		})
	}
}

func TestAppendIsGivenUpAfterItsTimeout(t *testing.T) {
	w := newWorld(t)
	w.append = func(ctx context.Context, _ appended) error { <-ctx.Done(); return ctx.Err() }
	s := serve(t, w, Config{AppendTimeout: time.Millisecond})
	p := s.login(t, "alice", "d")
	wantRefused(t, p.ask(sendFrame("m0", "bob", "x")), imv1.ErrorCode_ERROR_CODE_UNAVAILABLE)
}

func TestFullLaneIsOverloaded(t *testing.T) {
	for name, cfg := range map[string]Config{"commands": {LaneCommands: 1}, "bytes": {LaneBytes: 250}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			release := make(chan struct{})
			w.append = func(_ context.Context, a appended) error { <-release; w.sends(a); return nil }
			s := serve(t, w, cfg)
			p := s.login(t, "alice", "d")
			first := p.send(sendFrame("m0", "bob", "x"))
			eventually(t, "the first is in flight", func() bool { return len(w.taken()) == 1 })
			text := fmt.Sprintf("%0150d", 0)
			second := p.send(sendFrame("m1", "bob", text))
			f := p.ask(sendFrame("m2", "bob", text))
			wantRefused(t, f, imv1.ErrorCode_ERROR_CODE_OVERLOADED)
			if !f.GetError().GetRetryable() {
				t.Errorf("got %v, want it retryable", f)
			}
			close(release)
			p.await(first)
			p.await(second)
		})
	}
}

func TestBatchesAreCut(t *testing.T) {
	for name, tc := range map[string]struct {
		command waiting
		count   int
		want    []int
	}{
		"commands":  {waiting{weight: 1, data: make([]byte, 10)}, maxBatchCommands + 1, []int{maxBatchCommands, 1}},
		"weight":    {waiting{weight: 501, data: make([]byte, 10)}, 10, []int{7, 3}},
		"bytes":     {waiting{weight: 1, data: make([]byte, 100<<10)}, 11, []int{5, 5, 1}},
		"one alone": {waiting{weight: 9999, data: make([]byte, maxBatchBytes+1)}, 2, []int{1, 1}},
	} {
		l := newLane(&Edge{cfg: Config{}.withDefaults()}, "conv.000", wrapCommands, nil)
		for range tc.count {
			if err := l.put(tc.command); err != nil {
				t.Fatal(err)
			}
		}
		var got []int
		for batch, _ := l.take(nil); len(batch) > 0; batch, _ = l.take(batch) {
			got = append(got, len(batch))
		}
		if fmt.Sprint(got) != fmt.Sprint(tc.want) || l.bytes != 0 || !l.idle() {
			t.Errorf("%s: got batches of %v, want %v; %d bytes left", name, got, tc.want, l.bytes)
		}
	}
}

// What comes while a batch is published, in the slice of the batch before it, leaves it as it is.
func TestBatchesDoNotOverlap(t *testing.T) {
	l := newLane(&Edge{cfg: Config{LaneCommands: 1 << 20, LaneBytes: 1 << 20}}, "conv.000", wrapCommands, nil)
	put, taken := uint64(0), uint64(0)
	var batch []waiting
	come := func(n int) {
		for range n {
			put++
			if err := l.put(waiting{request: put, weight: 1}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct{ before, while int }{{50, 50}, {50, 0}, {1500, 0}, {0, 1500}, {0, 0}, {0, 9}} {
		come(c.before)
		batch, _ = l.take(batch)
		come(c.while)
		for _, w := range batch {
			if taken++; w.request != taken {
				t.Fatalf("command %d is taken in place of %d", w.request, taken)
			}
		}
	}
	for batch, _ = l.take(batch); len(batch) > 0; batch, _ = l.take(batch) {
		taken += uint64(len(batch))
	}
	if taken != put {
		t.Errorf("%d commands were taken of %d", taken, put)
	}
}

func TestCommandsOfOnePartitionDoNotWaitForAnother(t *testing.T) {
	w := newWorld(t)
	release := make(chan struct{})
	w.append = func(_ context.Context, a appended) error {
		if a.stream != "conv.0" {
			<-release
		}
		w.sends(a)
		return nil
	}
	s := serve(t, w, Config{ConvPartitions: 2})
	defer close(release)
	p := s.login(t, "alice", "d")
	var slow, quick string
	for i := 0; slow == "" || quick == ""; i++ {
		to := fmt.Sprintf("u%d", i)
		if singlePartition("alice", to, 2) == 0 {
			quick = to
		} else {
			slow = to
		}
	}
	p.send(sendFrame("m0", slow, "x"))
	if f := p.ask(sendFrame("m1", quick, "x")); f.GetSent() == nil {
		t.Errorf("got %v", f)
	}
}

// A lane takes commands at once, one by one, as long as few come; the more come the slower is the pace at which it takes them.
func TestBusyLaneKeepsAPace(t *testing.T) {
	for name, c := range map[string]struct {
		every  time.Duration // a command comes
		append time.Duration // of a batch
		most   int           // batches of 1,000 commands; the first ones leave before the lane is busy
		wait   time.Duration // of a command, at most
	}{
		"few":       {3 * time.Millisecond, time.Millisecond, 1000, 2 * time.Millisecond},
		"many":      {500 * time.Microsecond, 5 * time.Millisecond, 53, busyPace + 6*time.Millisecond},
		"very many": {100 * time.Microsecond, time.Millisecond, 8, fullPace + 2*time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, err := newMetrics(nil)
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				var mu sync.Mutex // guards what follows
				batches, longest, taken := 0, time.Duration(0), 0
				var came []time.Time
				l := newLane(&Edge{metrics: m, started: time.Now(), cfg: Config{LaneCommands: 5000, LaneBytes: 1 << 20, AppendTimeout: time.Second}}, "lane", wrapCommands,
					func(_ context.Context, _ string, payload []byte) error {
						time.Sleep(c.append)
						b := new(imv1.CommandBatch)
						if err := proto.Unmarshal(payload, b); err != nil {
							return err
						}
						mu.Lock()
						defer mu.Unlock()
						batches++
						longest = max(longest, time.Since(came[taken]))
						taken += len(b.GetCommands())
						return nil
					})
				done := make(chan struct{})
				go func() { defer close(done); l.run(ctx) }()
				for range 1000 {
					time.Sleep(c.every)
					mu.Lock()
					came = append(came, time.Now())
					mu.Unlock()
					if err := l.put(waiting{weight: 1}); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(time.Second)
				cancel()
				<-done
				if taken != 1000 || batches > c.most || longest > c.wait {
					t.Errorf("%d commands in %d batches, at most %d; one waited %v, at most %v", taken, batches, c.most, longest, c.wait)
				}
			})
		})
	}
}

// The lanes of an edge keep the same time, whenever each became busy.
func TestBusyLanesKeepTheSameTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, err := newMetrics(nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		e := &Edge{metrics: m, started: time.Now(), cfg: Config{LaneCommands: 5000, LaneBytes: 1 << 20, AppendTimeout: time.Second}}
		var lanes sync.WaitGroup
		var left [2][]time.Duration // when batches left, by lane
		for i := range left {
			l := newLane(e, "lane", wrapCommands, func(context.Context, string, []byte) error {
				left[i] = append(left[i], e.now())
				time.Sleep(time.Duration(1+2*i) * time.Millisecond)
				return nil
			})
			lanes.Go(func() { l.run(ctx) })
			lanes.Go(func() {
				for time.Sleep(time.Duration(i) * 7 * time.Millisecond); e.now() < 200*time.Millisecond; time.Sleep(100 * time.Microsecond) {
					if err := l.put(waiting{weight: 1}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		time.Sleep(time.Second)
		cancel()
		lanes.Wait()
		first, second := left[0][len(left[0])-4:], left[1][len(left[1])-4:]
		if !slices.Equal(first, second) || second[3]-second[0] != 3*fullPace {
			t.Errorf("the last batches of one lane left at %v, of the other at %v; want the same times, %v apart", first, second, fullPace)
		}
	})
}

// A lane whose batches are as large as they may be does not rest: after a stall it would never work off what waits.
func TestLaneRecoversFromAStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, err := newMetrics(nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		batches := 0
		l := newLane(&Edge{metrics: m, started: time.Now(), cfg: Config{LaneCommands: 8192, LaneBytes: 8 << 20, AppendTimeout: time.Second}}, "lane", wrapCommands,
			func(context.Context, string, []byte) error {
				if batches++; batches == 40 {
					time.Sleep(50 * time.Millisecond)
				}
				time.Sleep(3 * time.Millisecond)
				return nil
			})
		done := make(chan struct{})
		go func() { defer close(done); l.run(ctx) }()
		data := make([]byte, 8000) // 65 fill a batch
		for i := range 15_000 {
			if err := l.put(waiting{session: &session{}, weight: 1, data: data}); err != nil {
				t.Fatalf("command %d: %v", i, err)
			}
			time.Sleep(200 * time.Microsecond)
		}
		time.Sleep(time.Second)
		cancel()
		<-done
	})
}
