package edge

import (
	"context"
	"net"
	"testing"

	imv1 "github.com/catena-im/catena/proto/im/v1"
)

func TestStopAnswersWhatIsInHand(t *testing.T) {
	w := newWorld(t)
	inFlight, release := make(chan struct{}), make(chan struct{})
	w.append = func(_ context.Context, a appended) error {
		close(inFlight)
		<-release
		w.sends(a)
		return nil
	}
	s := serve(t, w, Config{})
	p := s.login(t, "alice", "d")
	idle := s.login(t, "bob", "d")
	half, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer half.Close()
	id := p.send(sendFrame("m1", "bob", "x"))
	<-inFlight
	stopped := make(chan struct{})
	go func() { s.stop(); close(stopped) }()
	if f := p.next(); f.GetGoAway().GetReconnectWithinMs() != 5000 {
		t.Fatalf("got %v, want go_away", f)
	}
	if f := p.ask(sendFrame("m2", "bob", "x")); f.GetError().GetCode() != imv1.ErrorCode_ERROR_CODE_GOING_AWAY {
		t.Errorf("got %v", f)
	}
	close(release)
	if f := p.await(id); f.GetSent() == nil {
		t.Errorf("got %v", f)
	}
	p.wantClosed(closeGoingAway)
	idle.wantClosed(closeGoingAway)
	<-stopped
	if _, err := net.Dial("tcp", s.addr); err == nil {
		t.Error("the edge still accepts connections")
	}
}

func TestStopTellsTheOwnersWhoLeft(t *testing.T) {
	w := newWorld(t)
	owner := newOwner(w)
	s := serve(t, w, Config{})
	p := s.login(t, "alice", "d")
	go func() {
		for p.more() == nil {
		}
	}()
	eventually(t, "alice is registered", func() bool { return owner.has("alice") })
	s.stop()
	if owner.has("alice") {
		t.Error("alice is registered after the stop")
	}
}
