package socket

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Conn is a TCP connection that a poller watches. It is a net.Conn that cannot be read, see Poller.Receive. Its methods
// may be called at the same time.
type Conn struct {
	file          *os.File // keeps the descriptor while a call uses it
	fd            int32
	poller        *Poller
	local, remote net.Addr

	writable atomic.Pointer[chan struct{}] // gets a token when more can be written, perhaps; nil until a write found no room
	writeBy  atomic.Int64                  // the deadline of writes, by the poller's clock; 0: none
	ending   atomic.Bool                   // the other side has ended, or the connection is broken
	due      bool                          // it is to be read; of Poller.Run and its readers

	receiving sync.Mutex // guards the fields below, and is held while the receiver is called
	receiver  Receiver
	over      bool // the receiver is told the end, or will be

	writing sync.Mutex // one writes at a time
}

var _ net.Conn = (*Conn)(nil)

// begin tells r what comes from now on.
func (c *Conn) begin(r Receiver) {
	c.receiving.Lock()
	defer c.receiving.Unlock()
	c.receiver = r
	if c.over || c.watch() != nil {
		c.over = true
		go r.Ended()
	}
}

// receive hands on what has come, as much as there is room for. It reports whether there may be more.
func (c *Conn) receive(buf []byte) (more bool) {
	c.receiving.Lock()
	defer c.receiving.Unlock()
	if c.over || c.receiver == nil {
		return false
	}
	n, err := c.file.Read(buf)
	switch {
	case n > 0:
		c.receiver.Received(buf[:n])
		// A read that finds less than it has room for has taken all there was, but for the end.
		return n == len(buf) || c.ending.Load()
	case !errors.Is(err, syscall.EAGAIN):
		c.end()
	}
	return false
}

// end tells the receiver that nothing more comes. The lock is held.
func (c *Conn) end() {
	if c.over {
		return
	}
	c.over = true
	if c.receiver != nil {
		go c.receiver.Ended()
	}
}

// Read is not supported.
func (c *Conn) Read([]byte) (int, error) { return 0, errors.ErrUnsupported }

// Write writes all of p, or returns why not.
func (c *Conn) Write(p []byte) (written int, err error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	for {
		if c.poller.past(c.writeBy.Load()) {
			return written, os.ErrDeadlineExceeded
		}
		n, err := c.file.Write(p[written:])
		written += n
		if !errors.Is(err, syscall.EAGAIN) {
			return written, plain(err)
		}
		if err := c.awaitRoom(); err != nil {
			return written, err
		}
	}
}

// awaitRoom waits until more can be written, perhaps, or until the deadline. A deadline that is set meanwhile ends it, too.
func (c *Conn) awaitRoom() error {
	writable := c.writable.Load()
	if writable == nil {
		writable = new(make(chan struct{}, 1))
		c.writable.Store(writable)
		if err := c.watch(); err != nil {
			return err
		}
	}
	by := c.writeBy.Load() // not earlier: who sets it from here on wakes the writer
	if by == 0 {
		<-*writable
		return nil
	}
	t := time.NewTimer(time.Duration(by - c.poller.now()))
	defer t.Stop()
	select {
	case <-*writable:
	case <-t.C:
	}
	return nil
}

// watch has the poller tell what comes, and also when there is room to write once a write has found none. What there is
// already is told at once.
func (c *Conn) watch() error { return control(c.file, func(int) error { return c.poller.watch(c) }) }

func (c *Conn) wakeWriter() {
	if writable := c.writable.Load(); writable != nil {
		select {
		case *writable <- struct{}{}:
		default:
		}
	}
}

// Close closes the connection. A write that waits returns net.ErrClosed.
func (c *Conn) Close() error {
	c.poller.forget(c)
	err := c.file.Close()
	c.wakeWriter()
	go func() { // the caller may be the receiver
		c.receiving.Lock()
		defer c.receiving.Unlock()
		c.end()
	}()
	return plain(err)
}

// CloseWrite ends this side of the connection.
func (c *Conn) CloseWrite() error {
	return control(c.file, func(fd int) error { return unix.Shutdown(fd, unix.SHUT_WR) })
}

// SetWriteBuffer sets how many bytes the kernel keeps that were written and that the other side has not taken.
func (c *Conn) SetWriteBuffer(bytes int) error {
	return control(c.file, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, bytes) })
}

// control calls f with the descriptor of c, which stays open meanwhile.
func control(c syscall.Conn, f func(fd int) error) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return plain(err)
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = f(int(fd)) }); err != nil {
		return plain(err)
	}
	return failed
}

// SetReadDeadline is not supported.
func (c *Conn) SetReadDeadline(time.Time) error { return errors.ErrUnsupported }

// SetDeadline sets the one that there is.
func (c *Conn) SetDeadline(t time.Time) error { return c.SetWriteDeadline(t) }

// SetWriteDeadline sets when writes end with os.ErrDeadlineExceeded, those under way included; zero: never.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.writeBy.Store(c.poller.at(t))
	c.wakeWriter()
	return nil
}

// LocalAddr is the address of this side.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr is the address of the other side.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// plain is an error of a file as one of a connection.
func plain(err error) error {
	if err == nil {
		return nil // the usual case; errors.As would make path escape to the heap
	}
	var path *os.PathError
	switch {
	case errors.Is(err, os.ErrClosed):
		return net.ErrClosed
	case errors.As(err, &path):
		return path.Err
	}
	return err
}
