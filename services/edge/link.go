package edge

import (
	"encoding/binary"
	"io"
	"net"
	"sync/atomic"
	"time"
)

const (
	// opClose is the first byte of an unfragmented close frame of a server.
	opClose = 0x88
	// lingerTime is how long a client may take to read what was said at the end and to close its side.
	lingerTime = 2 * time.Second
)

// link is the network connection below gws. It gives every write a deadline, puts the error that a client is told
// in front of a close frame whoever wrote that, and closes in two steps: what is on its way from the client when the
// server closes would otherwise make the kernel reset the connection and throw the error away unread.
type link struct {
	net.Conn
	session *session
	early   []byte // what the HTTP server read beyond the handshake
	timeout time.Duration
	renewed time.Time // when a write last set its deadline; writes come one after the other

	hurried atomic.Bool // writes get lingerTime at most
	broken  atomic.Bool // a write failed; the stream may end in half a frame
	half    atomic.Bool // the server's side is closed
}

func (l *link) Read(p []byte) (int, error) {
	if len(l.early) > 0 {
		n := copy(p, l.early)
		if l.early = l.early[n:]; len(l.early) == 0 {
			l.early = nil
		}
		return n, nil
	}
	return l.Conn.Read(p)
}

// Write writes one WebSocket frame, or the answer to the handshake.
func (l *link) Write(p []byte) (int, error) {
	if l.broken.Load() {
		return 0, net.ErrClosed
	}
	frame := p
	if len(p) >= 4 && p[0] == opClose {
		frame = append(l.session.lastWords(binary.BigEndian.Uint16(p[2:])), p...)
	}
	err := l.renewDeadline()
	if err == nil {
		_, err = l.Conn.Write(frame)
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

// Close ends the server's side and gives the client lingerTime to end its own. The read loop must go on, and call
// hangUp in the end.
func (l *link) Close() error {
	side, ok := l.Conn.(interface{ CloseWrite() error })
	if !ok || l.broken.Load() {
		return l.Conn.Close()
	}
	if l.half.Swap(true) {
		return nil
	}
	if err := l.Conn.SetReadDeadline(time.Now().Add(lingerTime)); err != nil {
		return l.Conn.Close()
	}
	return side.CloseWrite()
}

// hangUp closes the connection for good; when the server closed first, after the client is done.
func (l *link) hangUp() {
	if l.half.Load() {
		_, _ = io.Copy(io.Discard, l.Conn) // ends with the client, or by Close's deadline
	}
	_ = l.Conn.Close()
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
	_ = l.Conn.Close()
}

// webSocketFrame is an unfragmented data frame as a server writes it; payload has less than 64 KiB.
func webSocketFrame(text bool, payload []byte) []byte {
	frame := []byte{0x82, byte(len(payload))}
	if text {
		frame[0] = 0x81
	}
	if len(payload) > 125 {
		frame[1] = 126
		frame = binary.BigEndian.AppendUint16(frame, uint16(len(payload)))
	}
	return append(frame, payload...)
}
