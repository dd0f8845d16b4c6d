package edge

import (
	"net"
	"sync/atomic"
	"time"
)

// lingerTime is how long a client may take to read what was said at the end and to close its side.
const lingerTime = 2 * time.Second

// link is the network connection of a session; gws only shakes hands on it. It gives every write a deadline, and closes in
// two steps: what is on its way from the client when the server closes would otherwise make the kernel reset the
// connection and throw the server's last words away unread.
type link struct {
	net.Conn
	timeout time.Duration
	renewed time.Time // when a write last set its deadline; writes come one after the other

	hurried atomic.Bool                // writes get lingerTime at most
	broken  atomic.Bool                // a write failed; the stream may end in half a frame
	linger  atomic.Pointer[time.Timer] // closes the connection; nil until the server's side is closed
}

// Write writes WebSocket frames, or the answer to the handshake.
func (l *link) Write(p []byte) (int, error) {
	if l.broken.Load() {
		return 0, net.ErrClosed
	}
	err := l.renewDeadline()
	if err == nil {
		_, err = l.Conn.Write(p)
	}
	if err != nil {
		l.broken.Store(true)
		return 0, err
	}
	return len(p), nil
}

// renewDeadline gives a write at least three quarters of its time: setting a deadline costs a tenth of a write, so one
// that is hardly used serves again.
func (l *link) renewDeadline() error {
	now, timeout := time.Now(), l.timeout
	if l.hurried.Load() {
		timeout = min(timeout, lingerTime)
	} else if now.Sub(l.renewed) < timeout/4 {
		return nil
	}
	l.renewed = now
	return l.Conn.SetWriteDeadline(now.Add(timeout))
}

// Close ends the server's side and gives the client lingerTime to end its own.
func (l *link) Close() error {
	side, ok := l.Conn.(interface{ CloseWrite() error })
	if !ok || l.broken.Load() {
		return l.Conn.Close()
	}
	t := time.AfterFunc(lingerTime, func() { _ = l.Conn.Close() })
	if !l.linger.CompareAndSwap(nil, t) {
		t.Stop()
		return nil
	}
	return side.CloseWrite()
}

// hurry shortens the time that the client has to take what is written, now and later, to lingerTime.
func (l *link) hurry() {
	if !l.hurried.Swap(true) {
		_ = l.Conn.SetWriteDeadline(time.Now().Add(lingerTime))
	}
}

// abort closes the connection at once; what was not written is lost.
func (l *link) abort() {
	l.broken.Store(true)
	if t := l.linger.Load(); t != nil {
		t.Stop() // it would hold the session as long
	}
	_ = l.Conn.Close()
}
