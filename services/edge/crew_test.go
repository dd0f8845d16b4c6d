package edge

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// jamming makes connections that can be made to take nothing more.
type jamming struct {
	net.Listener

	mu   sync.Mutex // guards the field below
	made []*jammed
}

func (l *jamming) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &jammed{Conn: conn, over: make(chan struct{})}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.made = append(l.made, c)
	return c, nil
}

// jam makes all connections take nothing more, until they are closed.
func (l *jamming) jam() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.made {
		c.full.Store(true)
	}
}

type jammed struct {
	net.Conn
	full atomic.Bool
	once sync.Once
	over chan struct{} // closed with the connection
}

func (c *jammed) Write(p []byte) (int, error) {
	if c.full.Load() {
		<-c.over
		return 0, net.ErrClosed
	}
	return c.Conn.Write(p)
}

func (c *jammed) Close() error {
	c.once.Do(func() { close(c.over) })
	return c.Conn.Close()
}

// Many clients that read nothing, whose writers wait as long as the test takes, come before one who reads.
func TestClientsThatDoNotReadKeepNobodyWaiting(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &jamming{Listener: listener}
	s := serveOn(t, l, newWorld(t), Config{WriteTimeout: time.Hour, DrainTimeout: 10 * time.Millisecond})
	var users []string
	for i := range 40 {
		users = append(users, fmt.Sprint("deaf-", i))
		s.login(t, users[i], "d")
	}
	l.jam()
	p := s.login(t, "alice", "d")
	c := s.endlessStroke(t)
	s.push(1, 1, "x", append(users, "alice")...)
	c.release()
	if f := p.next(); f.GetPush().GetEntry().GetUserIndex() != 1 {
		t.Errorf("got %v, want push 1", f)
	}
}
