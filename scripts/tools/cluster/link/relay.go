package link

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	piece    = 64 << 10 // read at a time
	maxConns = 1024     // of a link; a further connection is reset
	dialTime = 5 * time.Second
)

// relay is one link at work.
type relay struct {
	Link
	listener *net.TCPListener
	now      atomic.Pointer[condition]

	mu    sync.Mutex               // guards the field below, and changes of now
	conns map[*connection]struct{} // those that a cut resets
}

// condition is what is done to a link, until it is over.
type condition struct {
	Fault
	over chan struct{}
}

// A way is one direction of a link.
type way bool

const (
	forth way = false // what From sends
	back  way = true  // what To sends
)

func (c *condition) open(w way) bool {
	if w == forth {
		return !c.LoseTo
	}
	return !c.LoseFrom
}

func newRelay(l Link) (*relay, error) {
	listener, err := net.Listen("tcp", l.Listen)
	if err != nil {
		return nil, err
	}
	l.Listen = listener.Addr().String()
	r := &relay{Link: l, listener: listener.(*net.TCPListener), conns: map[*connection]struct{}{}}
	r.now.Store(&condition{over: make(chan struct{})})
	return r, nil
}

func (r *relay) state() State { return State{r.Link, r.now.Load().Fault} }

// set puts f into effect. When it returns from a cut, no connection is left.
func (r *relay) set(f Fault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.now.Swap(&condition{Fault: f, over: make(chan struct{})}).over)
	if f.Cut {
		for c := range r.conns {
			c.reset()
		}
	}
}

// run takes connections until ctx ends, and then resets them all.
func (r *relay) run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = r.listener.Close() })
	defer stop()
	var all sync.WaitGroup
	defer all.Wait()
	for {
		conn, err := r.listener.AcceptTCP()
		if ctx.Err() != nil {
			return nil
		} else if err != nil {
			return err
		}
		all.Go(func() { r.carry(ctx, conn) })
	}
}

// enter admits a connection to those that a cut resets. It fails, and resets it, where the link is cut or full.
func (r *relay) enter(ctx context.Context, from *net.TCPConn) (*connection, bool) {
	c := &connection{from: from}
	c.ctx, c.end = context.WithCancel(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.now.Load().Cut || len(r.conns) >= maxConns {
		c.reset()
		return nil, false
	}
	r.conns[c] = struct{}{}
	return c, true
}

// carry brings one connection through the link to its end.
func (r *relay) carry(ctx context.Context, from *net.TCPConn) {
	c, ok := r.enter(ctx, from)
	if !ok {
		return
	}
	defer func() {
		r.mu.Lock()
		delete(r.conns, c)
		r.mu.Unlock()
		c.end()
	}()
	stop := context.AfterFunc(c.ctx, c.reset)
	defer stop()
	// A handshake needs both directions.
	if !r.pass(c.ctx, forth) || !r.pass(c.ctx, back) {
		return
	}
	dialer := net.Dialer{Timeout: dialTime}
	to, err := dialer.DialContext(c.ctx, "tcp", r.Target)
	if err != nil || !c.reached(to.(*net.TCPConn)) {
		c.reset()
		return
	}
	var both sync.WaitGroup
	both.Go(func() { r.pump(c.ctx, c.from, c.to, forth) })
	both.Go(func() { r.pump(c.ctx, c.to, c.from, back) })
	both.Wait()
	_, _ = c.from.Close(), c.to.Close()
}

// pass waits until the way is open, and the delay; it reports false when ctx ended before.
func (r *relay) pass(ctx context.Context, w way) bool {
	for {
		now := r.now.Load()
		var late <-chan time.Time
		switch {
		case now.open(w) && now.Delay == 0:
			return ctx.Err() == nil
		case now.open(w):
			late = time.After(now.Delay)
		}
		select {
		case <-late:
			return true
		case <-now.over:
		case <-ctx.Done():
			return false
		}
	}
}

// pump carries what src sends to dst, and its end. An end, too, is only heard of where the way is open.
func (r *relay) pump(ctx context.Context, src, dst *net.TCPConn, w way) {
	buf := make([]byte, piece)
	for {
		n, err := src.Read(buf)
		if !r.pass(ctx, w) {
			return
		}
		if n > 0 {
			if _, lost := dst.Write(buf[:n]); lost != nil {
				if r.pass(ctx, !w) {
					reset(src)
				}
				return
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			_ = dst.CloseWrite()
			return
		case err != nil:
			reset(dst)
			return
		}
	}
}

// connection is one that is carried.
type connection struct {
	ctx context.Context
	end context.CancelFunc

	mu       sync.Mutex // guards the fields below
	from, to *net.TCPConn
	broken   bool
}

// reached completes the connection, unless it was reset meanwhile.
func (c *connection) reached(to *net.TCPConn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken {
		reset(to)
		return false
	}
	c.to = to
	return true
}

// reset breaks both ends.
func (c *connection) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.broken = true
	c.end()
	reset(c.from)
	if c.to != nil {
		reset(c.to)
	}
}

// reset closes without a goodbye: the other end reads an error, not an end.
func reset(c *net.TCPConn) {
	_ = c.SetLinger(0)
	_ = c.Close()
}
