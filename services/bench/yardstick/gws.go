package yardstick

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/lxzan/gws"
)

// The settings are those of the edge; the buffers matter for the memory of an idle connection.
const (
	socketBuffer     = 1 << 10
	handshakeTimeout = 5 * time.Second
)

// serveGWS serves until in ends or ctx does.
func serveGWS(ctx context.Context, in io.Reader, out io.Writer) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	upgrader := gws.NewUpgrader(echo{}, &gws.ServerOption{
		ParallelGolimit: 1, ReadBufferSize: socketBuffer, WriteBufferSize: socketBuffer, HandshakeTimeout: handshakeTimeout,
		NewSession: func() gws.SessionStorage { return nil }, Logger: silent{},
	})
	var loops sync.WaitGroup
	defer loops.Wait()
	var open connections
	s := &http.Server{ReadHeaderTimeout: handshakeTimeout, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, err := upgrader.Upgrade(w, r); err == nil && open.add(c) {
			loops.Go(c.ReadLoop)
		}
	})}
	ended := make(chan struct{})
	go func() { // ends with in, which the parent holds
		_, _ = io.Copy(io.Discard, in)
		close(ended)
	}()
	var served error
	loops.Go(func() { served = s.Serve(l) })
	if err := json.NewEncoder(out).Encode(Server{URL: "ws://" + l.Addr().String() + "/", PID: os.Getpid()}); err != nil {
		return errors.Join(err, s.Close())
	}
	select {
	case <-ended:
	case <-ctx.Done():
	}
	err = s.Close()
	open.close()
	loops.Wait()
	if !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// connections are those to close at the end.
type connections struct {
	mu   sync.Mutex // guards the fields below
	all  []*gws.Conn
	over bool
}

func (o *connections) add(c *gws.Conn) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.over {
		_ = c.NetConn().Close()
		return false
	}
	o.all = append(o.all, c)
	return true
}

func (o *connections) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.over = true
	for _, c := range o.all {
		_ = c.NetConn().Close()
	}
}

// echo sends every message back.
type echo struct{ gws.BuiltinEventHandler }

func (echo) OnMessage(c *gws.Conn, m *gws.Message) {
	_ = c.WriteMessage(m.Opcode, m.Bytes())
	_ = m.Close()
}

type silent struct{}

func (silent) Error(...any) {}
