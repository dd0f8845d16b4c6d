package edge

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestCadence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cadence{busy: 4}
		s := &session{ended: true} // so that it is let go without writing
		held := func(n int) (held int) {
			for range n {
				if c.count(); c.hold(s) {
					held++
				}
			}
			return held
		}
		for i, step := range []struct{ come, wait int }{{3, 0}, {4, 1}, {5, 5}} { // calm; busy from the fourth on; busy from the first on
			if got := held(step.come); got != step.wait {
				t.Errorf("stroke %d: %d sessions wait, want %d", i, got, step.wait)
			}
			time.Sleep(stroke)
			synctest.Wait()
			if len(c.waiting) > 0 {
				t.Errorf("stroke %d: %d sessions wait after its end", i, len(c.waiting))
			}
		}
		time.Sleep(stroke)
		if held(1) != 0 {
			t.Error("a session waits although the stroke before had none")
		}
	})
}

// TestABusyEdgeWritesTogether tells two clients of a busy edge much before it ends the stroke. A page does not wait for that.
func TestABusyEdgeWritesTogether(t *testing.T) {
	w := newWorld(t)
	w.history = pages
	s := serve(t, w, Config{})
	alice, bob, carol := s.login(t, "alice", "d"), s.login(t, "bob", "d"), s.login(t, "carol", "d")
	s.awaitCalm(t)
	c := &s.edge.cadence
	c.mu.Lock()
	c.busy, c.began = 0, time.Now().Add(time.Hour) // so that the stroke does not end by itself
	c.mu.Unlock()
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

// awaitCalm waits until no session writes.
func (s *server) awaitCalm(t *testing.T) {
	t.Helper()
	eventually(t, "nothing is written", func() bool {
		calm := true
		s.edge.each(func(s *session) {
			s.mu.Lock()
			defer s.mu.Unlock()
			calm = calm && !s.flushing
		})
		return calm
	})
}
