// Package socket is a WebSocket client for load generators: binary messages over one TCP or TLS connection, few
// allocations, no compression, no goroutines. It does what RFC 6455 asks of a client (masking, pongs, fragments) and
// nothing that makes a client comfortable.
package socket

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

const (
	firstBuffer = 2 << 10  // bytes of a connection's read buffer, until a message needs more
	maxMessage  = 32 << 20 // bytes of a message from the server
	maxHeader   = 14       // bytes before the payload of a frame
)

// Config says where to connect.
type Config struct {
	URL         string // ws:// or wss://host:port/path
	Subprotocol string // empty: none is asked for
	// WriteTimeout is how long the server may take to accept one message, and up to half as long again; 0: 10 s.
	WriteTimeout time.Duration
	// From is the address to connect from; nil leaves it to the system. One address has some 28,000 ports.
	From net.Addr
}

// Conn is a connection. One goroutine may read while others write.
type Conn struct {
	conn    net.Conn
	timeout time.Duration

	buf        []byte // what was read and not given out is buf[start:end]
	start, end int
	joined     []byte // fragments of a message that has not ended

	mu    sync.Mutex // guards the fields below, and the order of writes
	out   []byte
	until time.Time // the deadline of writes
}

// ErrClosed wraps the reason that the server gave for closing.
var ErrClosed = errors.New("the server closed the connection")

// Dial connects and upgrades. The context bounds both.
func Dial(ctx context.Context, c Config) (*Conn, error) {
	u, err := url.Parse(c.URL)
	if err != nil {
		return nil, fmt.Errorf("address of the server: %w", err)
	}
	conn, err := connect(ctx, c, u)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	s := &Conn{conn: conn, timeout: c.WriteTimeout, buf: make([]byte, firstBuffer)}
	if s.timeout == 0 {
		s.timeout = 10 * time.Second
	}
	err = s.upgrade(u, c.Subprotocol)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("upgrade at %s: %w", c.URL, err)
	}
	return s, nil
}

func connect(ctx context.Context, c Config, u *url.URL) (net.Conn, error) {
	dialer := &net.Dialer{LocalAddr: c.From}
	port := u.Port()
	switch {
	case port == "" && u.Scheme == "wss":
		port = "443"
	case port == "":
		port = "80"
	}
	address := net.JoinHostPort(u.Hostname(), port)
	if u.Scheme == "wss" {
		return (&tls.Dialer{NetDialer: dialer, Config: &tls.Config{ServerName: u.Hostname()}}).DialContext(ctx, "tcp", address)
	}
	return dialer.DialContext(ctx, "tcp", address)
}

// upgrade sends the handshake and reads its answer; what came behind the answer stays in the buffer.
func (c *Conn) upgrade(u *url.URL, subprotocol string) error {
	var key [16]byte
	if _, err := rand.Read(key[:]); err != nil {
		return err
	}
	r := &http.Request{Method: http.MethodGet, URL: u, Host: u.Host, Header: http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"},
		"Sec-Websocket-Key": {base64.StdEncoding.EncodeToString(key[:])},
	}}
	if subprotocol != "" {
		r.Header.Set("Sec-Websocket-Protocol", subprotocol)
	}
	if err := r.Write(c.conn); err != nil {
		return err
	}
	reader := bufio.NewReaderSize(c.conn, 1<<10)
	answer, err := http.ReadResponse(reader, r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusSwitchingProtocols {
		reason, _ := io.ReadAll(io.LimitReader(answer.Body, 256))
		return fmt.Errorf("the server answers %s: %s", answer.Status, reason)
	}
	early, _ := reader.Peek(reader.Buffered())
	c.end = copy(c.buf, early)
	return nil
}

// Write sends payload as one binary message. It is not kept.
func (c *Conn) Write(payload []byte) error { return c.write(opBinary, payload) }

func (c *Conn) write(opcode byte, payload []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out = appendFrame(c.out[:0], opcode, mathrand.Uint32(), payload)
	if now := time.Now(); c.until.Sub(now) < c.timeout { // not for each message: it moves a timer
		c.until = now.Add(c.timeout + c.timeout/2)
		if err := c.conn.SetWriteDeadline(c.until); err != nil {
			return err
		}
	}
	_, err := c.conn.Write(c.out)
	return err
}

// Read returns the payload of the next message, which is valid until the next Read. The error is ErrClosed with the
// reason when the server closed.
func (c *Conn) Read() ([]byte, error) {
	for {
		f, err := c.frame()
		if err != nil {
			return nil, err
		}
		switch f.opcode {
		case opPing:
			if err := c.write(opPong, f.payload); err != nil {
				return nil, err
			}
		case opPong:
		case opClose:
			return nil, closed(f.payload)
		case opText, opBinary:
			if f.last {
				return f.payload, nil
			}
			c.joined = append(c.joined[:0], f.payload...)
		case opContinue:
			if len(c.joined)+len(f.payload) > maxMessage {
				return nil, errTooLarge
			}
			if c.joined = append(c.joined, f.payload...); f.last {
				return c.joined, nil
			}
		default:
			return nil, fmt.Errorf("a frame with opcode %d", f.opcode)
		}
	}
}

func closed(payload []byte) error {
	if len(payload) < 2 {
		return ErrClosed
	}
	return fmt.Errorf("%w: %d %s", ErrClosed, binary.BigEndian.Uint16(payload), payload[2:])
}

func (c *Conn) frame() (frame, error) {
	for {
		f, size, err := parse(c.buf[c.start:c.end])
		switch {
		case err != nil:
			return f, err
		case size > 0 && size <= c.end-c.start:
			c.start += size
			return f, nil
		}
		if err := c.fill(size); err != nil {
			return f, err
		}
	}
}

// fill reads more, making room for size bytes, or for a header when size is 0.
func (c *Conn) fill(size int) error {
	if size == 0 {
		size = maxHeader
	}
	if c.start == c.end {
		c.start, c.end = 0, 0
	}
	if c.start+size > len(c.buf) {
		if size > len(c.buf) {
			c.buf = append(make([]byte, 0, size), c.buf[c.start:c.end]...)[:size]
		} else {
			copy(c.buf, c.buf[c.start:c.end])
		}
		c.start, c.end = 0, c.end-c.start
	}
	n, err := c.conn.Read(c.buf[c.end:])
	c.end += n
	if n > 0 {
		return nil
	}
	return err
}

// Close ends the connection without a closing handshake; reads and writes that wait return.
func (c *Conn) Close() error { return c.conn.Close() }

// Cut resets the connection, as a network that fails does.
func (c *Conn) Cut() {
	if tcp, ok := c.conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.conn.Close()
}
