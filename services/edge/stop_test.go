package edge

import (
	"context"
	"net"
	"sync"
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

// slowHandshakes calls answering before a connection's first byte is written.
type slowHandshakes struct {
	net.Listener
	answering func()
}

func (l slowHandshakes) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return &slowHandshake{conn, sync.OnceFunc(l.answering)}, err
}

type slowHandshake struct {
	net.Conn
	answering func()
}

func (c *slowHandshake) Write(p []byte) (int, error) {
	c.answering()
	return c.Conn.Write(p)
}

// TestStopTellsWhoJustConnected stops an edge between the answer to a handshake and the session that it opens.
func TestStopTellsWhoJustConnected(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var s *server
	stopped := make(chan struct{})
	s = serveOn(t, slowHandshakes{listener, func() {
		go func() { s.stop(); close(stopped) }()
		eventually(t, "the edge takes no more sessions", func() bool {
			s.edge.mu.RLock()
			defer s.edge.mu.RUnlock()
			return s.edge.stopped
		})
	}}, newWorld(t), Config{})
	p := s.dial(t, protocolBinary)
	if f := p.next(); f.GetGoAway().GetReconnectWithinMs() != 5000 {
		t.Errorf("got %v, want go_away", f)
	}
	p.wantClosed(closeGoingAway)
	<-stopped
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
