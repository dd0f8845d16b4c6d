package edge

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	imv1 "github.com/catena-im/catena/proto/im/v1"
)

func TestCadence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cadence{busy: 4}
		s := &session{ended: true} // so that it is let go without writing
		held := func(n int) (held int) {
			for range n {
				if c.count(s, true) {
					held++
				}
			}
			return held
		}
		waiting := func() int {
			c.mu.Lock()
			defer c.mu.Unlock()
			return len(c.waiting)
		}
		for i, step := range []struct {
			come, wait int
			length     time.Duration
		}{
			{3, 0, stroke},
			{4, 1, stroke},       // busy from the fourth on
			{8, 8, stroke},       // busy from the first on
			{12, 12, longStroke}, // after twice as many as make it busy
			{1, 1, stroke},       // after as many as make it busy
		} {
			if got := held(step.come); got != step.wait {
				t.Errorf("stroke %d: %d sessions wait, want %d", i, got, step.wait)
			}
			time.Sleep(step.length - time.Nanosecond)
			synctest.Wait()
			if got := waiting(); got != step.wait {
				t.Errorf("stroke %d: %d sessions wait before its end, want %d", i, got, step.wait)
			}
			time.Sleep(time.Nanosecond)
			synctest.Wait()
			if got := waiting(); got > 0 {
				t.Errorf("stroke %d: %d sessions wait after its end", i, got)
			}
		}
		time.Sleep(stroke)
		if held(1) != 0 {
			t.Error("a session waits although the stroke before had none")
		}
	})
}

// waits reports whether sessions wait for the end of a stroke.
func (c *cadence) waits() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.waiting) > 0
}

// A stroke in which deliveries came ends when no more follow, and at its time if they do not end.
func TestALullEndsAStroke(t *testing.T) {
	for name, tt := range map[string]struct {
		every time.Duration // that deliveries come
		times int
		ends  time.Duration
	}{
		"one":          {time.Hour, 1, lull},
		"a few":        {lull / 2, 4, 3*lull/2 + lull},
		"without end":  {lull / 2, 100, stroke},
		"only answers": {time.Hour, 0, stroke},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &cadence{busy: 1, began: time.Now(), length: stroke}
				c.count(&session{ended: true}, true)
				done := make(chan struct{})
				go func() {
					defer close(done)
					for i := range tt.times {
						if i > 0 {
							time.Sleep(tt.every)
						}
						c.delivered()
					}
				}()
				time.Sleep(tt.ends - time.Nanosecond)
				synctest.Wait()
				if !c.waits() {
					t.Errorf("the stroke ended before %v", tt.ends)
				}
				time.Sleep(time.Nanosecond)
				synctest.Wait()
				if c.waits() {
					t.Errorf("the stroke has not ended after %v", tt.ends)
				}
				<-done
			})
		})
	}
}

// A timer that fires while the end is being put off ends nothing.
func TestALateTimerEndsNoStroke(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cadence{busy: 1, began: time.Now(), length: stroke}
		c.count(&session{ended: true}, true)
		c.expire()
		if !c.waits() {
			t.Error("the stroke ended at its beginning")
		}
		time.Sleep(stroke)
		synctest.Wait()
		if c.waits() {
			t.Error("the stroke has not ended at its time")
		}
	})
}

// Deliveries that keep coming, each after a lull, make few more strokes than there would be without lulls.
func TestSparseDeliveriesDoNotMultiplyTheWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cadence{busy: 10, length: stroke}
		strokes := 0
		for began := time.Now(); time.Since(began) < time.Second; time.Sleep(lull + time.Millisecond) {
			for range 100 {
				if held := c.waits(); c.count(&session{ended: true}, true) && !held {
					strokes++
				}
			}
			c.delivered()
		}
		if most := int(time.Second/c.least()) + 5; strokes > most {
			t.Errorf("%d strokes in a second, want %d at most", strokes, most)
		}
		time.Sleep(time.Second)
	})
}

// Deliveries come at the pace of the lanes, every tenth of them late. Those after it are not: the first of them by no more
// than what is beyond half a stroke.
func TestALateStrokeMakesNoOtherLate(t *testing.T) {
	for _, late := range []time.Duration{12 * time.Millisecond, 20 * time.Millisecond} {
		t.Run(late.String(), func(t *testing.T) { comeLate(t, late) })
	}
}

func comeLate(t *testing.T, late time.Duration) {
	const calm = 5 // deliveries until the edge is known to be busy
	synctest.Test(t, func(t *testing.T) {
		c := &cadence{busy: 10, length: stroke}
		for i, began := 0, time.Now(); i < 40; i++ {
			due := began.Add(time.Duration(i) * fullPace)
			if i%10 == 9 {
				due = due.Add(late)
			}
			time.Sleep(time.Until(due))
			for range 100 {
				c.count(&session{ended: true}, true)
			}
			c.delivered()
			for synctest.Wait(); c.waits(); synctest.Wait() {
				time.Sleep(time.Millisecond)
			}
			most := lull
			if i%10 == 0 {
				most = max(lull, late-longStroke/2)
			}
			if took := time.Since(due); i > calm && took > most {
				t.Errorf("delivery %d waits for %v, want %v at most", i, took, most)
			}
		}
		time.Sleep(time.Second)
	})
}

// TestABusyEdgeWritesTogether tells two clients of a busy edge much before it ends the stroke. A page does not wait for that.
func TestABusyEdgeWritesTogether(t *testing.T) {
	w := newWorld(t)
	w.history = pages
	s := serve(t, w, Config{})
	alice, bob, carol := s.login(t, "alice", "d"), s.login(t, "bob", "d"), s.login(t, "carol", "d")
	c := s.endlessStroke(t)
	if f := carol.ask(pullUser()); f.GetUserPage() == nil {
		t.Errorf("got %v, want a page", f)
	}
	const pushes = 300
	for i := range uint64(pushes) {
		s.push(i+1, i+1, "x", "alice", "bob")
	}
	c.mu.Lock()
	held := len(c.waiting)
	c.mu.Unlock()
	if held != 2 {
		t.Errorf("%d sessions wait, want 2", held)
	}
	c.release()
	for _, p := range []*peer{alice, bob} {
		writes := 0
		for ; len(p.got) < pushes; writes++ {
			if err := p.more(); err != nil {
				t.Fatal(err)
			}
		}
		for i, f := range p.got {
			if got := f.GetPush().GetEntry().GetUserIndex(); got != uint64(i+1) {
				t.Fatalf("push %d comes as number %d", got, i+1)
			}
		}
		if writes != 1 {
			t.Errorf("%d writes for %d pushes, want 1", writes, pushes)
		}
	}
}

// What is urgent does not wait for the end of a stroke.
func TestWhatIsUrgentEndsTheWaiting(t *testing.T) {
	w := newWorld(t)
	w.history = pages
	s := serve(t, w, Config{})
	p, q, r := s.login(t, "alice", "d"), s.login(t, "bob", "d"), s.login(t, "carol", "d")
	s.endlessStroke(t)
	s.push(1, 1, "x", "alice", "bob", "carol")

	id := p.send(pullUser()) // a page
	if f := p.next(); f.GetPush() == nil {
		t.Errorf("got %v, want the push", f)
	}
	if f := p.await(id); f.GetUserPage() == nil {
		t.Errorf("got %v, want a page", f)
	}
	for i := uint64(2); i < 14; i += 3 { // as much as one WebSocket message takes, and 360 KiB in all
		for n := range uint64(3) {
			s.push(i+n, i+n, strings.Repeat("x", 30<<10), "bob")
		}
		for range 3 { // the first of all lies before them
			if f := q.next(); f.GetPush() == nil {
				t.Fatalf("got %v, want a push", f)
			}
		}
		s.awaitRest(t, 2) // or it might take one of the next three, and two are not enough
	}
	s.edge.session(3).close(closeStale, nil) // the end of the connection
	if r.wantClosed(closeStale); len(r.got) != 1 {
		t.Errorf("carol got %v, want one push", r.got)
	}
}

// What waits for the end of a stroke goes before the error and the close frame, here for a message that is too large.
func TestWhatWaitsGoesBeforeTheClose(t *testing.T) {
	for _, protocol := range []string{protocolBinary, protocolJSON} {
		s := serve(t, newWorld(t), Config{})
		p := s.dial(t, protocol)
		p.connect("alice", "d")
		s.endlessStroke(t)
		for i := range uint64(3) {
			s.push(i+1, i+1, "x", "alice")
		}
		p.raw(p.json, bytes.Repeat([]byte("x"), 300<<10))
		p.wantClosed(closeTooLarge, imv1.ErrorCode_ERROR_CODE_FRAME_TOO_LARGE)
		if len(p.got) != 4 || p.got[2].GetPush().GetEntry().GetUserIndex() != 3 {
			t.Errorf("%s: got %v, want three pushes before the error", protocol, p.got)
		}
	}
}

// endlessStroke makes the edge busy, in a stroke that does not end by itself.
func (s *server) endlessStroke(t *testing.T) *cadence {
	t.Helper()
	s.awaitCalm(t)
	c := &s.edge.cadence
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy, c.began, c.ended, c.length = 0, time.Now().Add(time.Hour), time.Now(), time.Hour
	return c
}

// awaitRest waits until the session with number does not write.
func (s *server) awaitRest(t *testing.T, number uint64) {
	t.Helper()
	eventually(t, "what was taken is written", func() bool {
		s := s.edge.session(number)
		s.mu.Lock()
		defer s.mu.Unlock()
		return !s.flushing
	})
}

// awaitCalm waits until no session writes.
func (s *server) awaitCalm(t *testing.T) {
	t.Helper()
	eventually(t, "nothing is written", func() bool {
		calm := true
		s.edge.each(func(s *session) {
			s.mu.Lock()
			defer s.mu.Unlock()
			calm = calm && !s.flushing && !s.held
		})
		return calm
	})
}
