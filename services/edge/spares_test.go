package edge

import (
	"fmt"
	"net"
	"testing"
)

func TestSparesAreBounded(t *testing.T) {
	s := new(spares)
	if b := s.get(); b == nil || len(b) != 0 {
		t.Errorf("got %v, want an empty buffer", b)
	}
	s.put(nil)
	s.put(make([]byte, 0, keepSpare+1))
	if len(s.free) != 0 {
		t.Errorf("%d buffers are kept, want none", len(s.free))
	}
	const most = maxSpares / keepSpare
	for range most + 1 {
		s.put(make([]byte, keepSpare))
	}
	if len(s.free) != most {
		t.Errorf("%d buffers are kept, want %d", len(s.free), most)
	}
	if b := s.get(); len(b) != 0 || cap(b) != keepSpare || len(s.free) != most-1 || s.bytes != (most-1)*keepSpare {
		t.Errorf("got %d of %d bytes and %d left", len(b), cap(b), len(s.free))
	}
}

// scribbling writes over all spare buffers before each write to a client.
type scribbling struct {
	net.Listener
	spares func() *spares
}

func (l scribbling) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return scribblingConn{conn, l.spares}, err
}

type scribblingConn struct {
	net.Conn
	spares func() *spares
}

func (c scribblingConn) Write(p []byte) (int, error) {
	s := c.spares()
	s.mu.Lock()
	for _, b := range s.free {
		clear(b[:cap(b)])
	}
	s.mu.Unlock()
	return c.Conn.Write(p)
}

// What is being written is not spare yet, and is when it is written.
func TestBuffersAreUsedAgain(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var s *server
	s = serveOn(t, scribbling{listener, func() *spares { return &s.edge.spares }}, newWorld(t), Config{})
	const rounds = 20
	peers := []*peer{s.dial(t, protocolBinary), s.dial(t, protocolJSON)}
	peers[0].connect("alice", "d")
	peers[1].connect("bob", "d") // a WebSocket message for each frame
	stroke := s.endlessStroke(t)
	for i := range uint64(rounds) {
		s.push(2*i+1, i+1, fmt.Sprintf("alice %050d", i), "alice")
		s.push(2*i+2, i+1, fmt.Sprintf("bob %060d", i), "bob")
		if i%5 == 4 {
			stroke.release()
			s.awaitCalm(t)
		}
	}
	for n, p := range peers {
		for i := range rounds {
			want := []string{fmt.Sprintf("alice %050d", i), fmt.Sprintf("bob %060d", i)}[n]
			if got := p.next().GetPush().GetEntry().GetMessage().GetBody().GetText().GetText(); got != want {
				t.Fatalf("push %d: got %q, want %q", i, got, want)
			}
		}
	}
	s.edge.each(func(s *session) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.out.waiting != nil {
			t.Errorf("session %d holds %d bytes at rest", s.number, cap(s.out.waiting))
		}
	})
	if n := len(s.edge.spares.free); n < 1 || n > 4 {
		t.Errorf("%d buffers are left, want one or two for each client", n)
	}
}
