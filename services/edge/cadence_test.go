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
		for i, want := range []int{0, 1, 5} { // calm; busy from the fourth on; busy from the first on
			if got := held([]int{3, 4, 5}[i]); got != want {
				t.Errorf("stroke %d: %d sessions wait, want %d", i, got, want)
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

// TestABusyEdgeWritesTogether tells two clients of a busy edge much, one at a time and a while apart.
func TestABusyEdgeWritesTogether(t *testing.T) {
	s := serve(t, newWorld(t), Config{})
	alice, bob := s.login(t, "alice", "d"), s.login(t, "bob", "d")
	s.edge.cadence.mu.Lock()
	s.edge.cadence.busy = 0
	s.edge.cadence.mu.Unlock()
	const pushes = 300
	go func() {
		for i := range uint64(pushes) {
			s.push(i+1, i+1, "x", "alice", "bob")
			time.Sleep(100 * time.Microsecond)
		}
	}()
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
		if writes > pushes/4 {
			t.Errorf("%d writes for %d pushes", writes, pushes)
		}
	}
}
