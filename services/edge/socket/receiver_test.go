package socket

import (
	"bytes"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait; no test depends on how much of it is used.
const patience = 20 * time.Second

// inbox is a receiver that keeps what it is told.
type inbox struct {
	each   func() // called for each piece
	forget bool   // what came is not kept
	ended  chan struct{}

	mu    sync.Mutex // guards the fields below
	got   []byte
	seen  int // bytes of got
	calls int // under way
	over  bool
	wrong string
}

func newInbox() *inbox { return &inbox{ended: make(chan struct{})} }

func (in *inbox) Received(data []byte) {
	in.enter()
	defer in.leave()
	if !in.forget {
		in.mu.Lock()
		in.got = append(in.got, data...)
		in.mu.Unlock()
	}
	clear(data) // as a receiver may
	if in.each != nil {
		in.each()
	}
}

func (in *inbox) Ended() {
	in.enter()
	in.mu.Lock()
	in.over = true
	in.mu.Unlock()
	in.leave()
	close(in.ended)
}

func (in *inbox) enter() {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.calls++; in.calls > 1 {
		in.wrong = "two calls at a time"
	}
	if in.over {
		in.wrong = "a call after the end"
	}
}

func (in *inbox) leave() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.calls--
}

func (in *inbox) has() int {
	in.mu.Lock()
	defer in.mu.Unlock()
	return len(in.got) - in.seen
}

func (in *inbox) wantBytes(t *testing.T, n int) {
	t.Helper()
	eventually(t, "bytes come", func() bool { return in.has() >= n })
}

// wantMore waits for something that was not waited for before.
func (in *inbox) wantMore(t *testing.T) {
	t.Helper()
	in.wantBytes(t, 1)
	in.mu.Lock()
	defer in.mu.Unlock()
	in.seen = len(in.got)
}

// wantEnd waits for the end, and wants all that came to be want.
func (in *inbox) wantEnd(t *testing.T, want []byte) {
	t.Helper()
	select {
	case <-in.ended:
	case <-time.After(patience):
		t.Fatal("the end is not told")
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if !bytes.Equal(in.got, want) {
		t.Fatalf("got %d bytes, want %d", len(in.got), len(want))
	}
	if in.wrong != "" {
		t.Fatal(in.wrong)
	}
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(100 * time.Microsecond) {
		if time.Now().After(end) {
			t.Fatalf("it does not come about that %s", what)
		}
	}
}

// dial returns both sides of a connection.
func dial() (server, client *net.TCPConn, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = l.Close() }()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return nil, nil, err
	}
	s, err := l.Accept()
	if err != nil {
		_ = c.Close()
		return nil, nil, err
	}
	return s.(*net.TCPConn), c.(*net.TCPConn), nil
}

// A connection without a poller keeps the same promises.
func TestOneAloneIsReceived(t *testing.T) {
	s, c, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	in := newInbox()
	sent := bytes.Repeat([]byte("0123456789"), 100_000)
	new(Poller).Receive(s, in)
	if _, err := c.Write(sent); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	in.wantEnd(t, sent)
}
