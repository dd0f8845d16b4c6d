package check

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"
)

// socket is the network of one device: it dials, and it can do to the open connection what networks do.
type socket struct {
	edges *edges // where to dial; nil: where the client wants to

	mu   sync.Mutex // guards the fields below
	conn *brittle   // the newest; nil before the first
}

// dial is a client.Config.Dial.
func (s *socket) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if s.edges != nil {
		addr = s.edges.addr(addr)
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetReadBuffer(smallBuffer) // lets a stalled reader be felt; the kernel's size does as well
	}
	b := &brittle{Conn: conn, closed: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn = b
	return b, nil
}

const smallBuffer = 8 << 10 // bytes

// current is the newest connection; nil when there was none.
func (s *socket) current() *brittle {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn
}

// brittle is a connection that can be made to fail.
type brittle struct {
	net.Conn
	closed chan struct{}
	once   sync.Once

	mu    sync.Mutex // guards the fields below
	torn  bool       // the next write stops in its middle
	until time.Time  // reads stall until then
}

var errTorn = errors.New("the connection was torn on purpose")

// cut resets the connection.
func (b *brittle) cut() {
	if tcp, ok := b.Conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = b.Close()
}

// tear makes the next write stop in its middle and cuts the connection there.
func (b *brittle) tear() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.torn = true
}

// stall makes reads wait for d.
func (b *brittle) stall(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.until = time.Now().Add(d)
}

func (b *brittle) Read(p []byte) (int, error) {
	n, err := b.Conn.Read(p)
	b.wait()
	return n, err
}

// wait returns when there is no stall, or it is over, or the connection closed.
func (b *brittle) wait() {
	b.mu.Lock()
	left := time.Until(b.until)
	b.mu.Unlock()
	if left <= 0 {
		return
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-b.closed:
	}
}

func (b *brittle) Write(p []byte) (int, error) {
	b.mu.Lock()
	torn := b.torn
	b.mu.Unlock()
	if !torn {
		return b.Conn.Write(p)
	}
	n, err := b.Conn.Write(p[:len(p)/2])
	b.cut()
	return n, errors.Join(errTorn, err)
}

func (b *brittle) Close() error {
	err := net.ErrClosed
	b.once.Do(func() {
		close(b.closed)
		err = b.Conn.Close()
	})
	return err
}
