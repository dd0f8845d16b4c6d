package edge

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http/httptest"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/lxzan/gws"

	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// A connection with TLS has a goroutine of its own that reads it, and ends like all others.
func TestConnectionsWithTLS(t *testing.T) {
	donor := httptest.NewTLSServer(nil) // of a certificate, and of a client that trusts it
	defer donor.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := serveOn(t, tls.NewListener(l, &tls.Config{Certificates: donor.TLS.Certificates}), newWorld(t), Config{})
	for name, end := range map[string]func(p *peer){
		"a breach": func(p *peer) {
			p.raw(true, []byte("x"))
			p.wantClosed(closeMalformed, imv1.ErrorCode_ERROR_CODE_MALFORMED_FRAME)
		},
		"a message too large": func(p *peer) {
			p.raw(false, make([]byte, 300<<10))
			p.wantClosed(closeTooLarge, imv1.ErrorCode_ERROR_CODE_FRAME_TOO_LARGE)
		},
		"a goodbye": func(p *peer) {
			if err := p.conn.Close(closeNormal, ""); err != nil {
				t.Error(err)
			}
		},
		"a break": func(p *peer) { _ = p.conn.CloseNow() },
	} {
		t.Run(name, func(t *testing.T) {
			conn, _, err := websocket.Dial(t.Context(), "wss://"+s.addr+"/ws",
				&websocket.DialOptions{Subprotocols: []string{protocolBinary}, HTTPClient: donor.Client()})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.CloseNow() }()
			p := &peer{t: t, conn: conn}
			p.connect("alice", "d")
			p.ping()
			end(p)
		})
	}
	s.awaitNobody(t)
}

// awaitNobody waits until no session is left.
func (s *server) awaitNobody(t *testing.T) {
	t.Helper()
	eventually(t, "no session is left", func() bool {
		s.edge.mu.RLock()
		defer s.edge.mu.RUnlock()
		return len(s.edge.sessions) == 0 && s.edge.connections == 0
	})
}

// However clients begin and end, while they are pushed to, nothing of them is left.
func TestEndsLeaveNothing(t *testing.T) {
	const clients, each = 12, 60
	w := newWorld(t)
	s := serve(t, w, Config{ConnectTimeout: time.Second, WriteTimeout: time.Second})
	_ = s.login(t, "first", "d").conn.CloseNow()
	s.awaitNobody(t)
	files := openFiles(t)
	var users []string
	for i := range clients {
		users = append(users, fmt.Sprint("user-", i))
	}
	var over atomic.Bool
	var pushing, all sync.WaitGroup
	pushing.Go(func() {
		for n := uint64(1); !over.Load(); n++ {
			w.push(n, n, string(bytes.Repeat([]byte("x"), rand.IntN(8000))), users...)
			time.Sleep(time.Millisecond)
		}
	})
	for _, u := range users {
		connect := wireConnect(t, u)
		all.Go(func() {
			for range each {
				if err := comeAndGo(s.addr, connect); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	over.Store(true)
	pushing.Wait()
	s.awaitNobody(t)
	if files > 0 {
		eventually(t, "no descriptor is left", func() bool { return openFiles(t) <= files })
	}
}

// openFiles is how many descriptors the process has; 0: the system does not tell.
func openFiles(t *testing.T) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return len(files)
}

// comeAndGo connects, says something, and ends, each in a way that is chosen by chance.
func comeAndGo(addr string, connect []byte) error {
	dialled, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	c := dialled.(*net.TCPConn)
	defer func() { _ = c.Close() }()
	read := func(most time.Duration) error {
		_ = c.SetReadDeadline(time.Now().Add(most))
		_, err := io.Copy(io.Discard, c)
		return err
	}
	moment := func() time.Duration { return time.Duration(rand.IntN(20)) * time.Millisecond }

	say := []byte(upgradeRequest)
	if rand.IntN(4) > 0 {
		say = append(say, connect...)
	}
	say = append(say, [][]byte{
		nil,
		wireFrame(true, gws.OpcodeCloseConnection, nil, 1),
		{0x82, 0x01},       // no mask
		{0x82, 0xff, 0, 0}, // half a header
		bytes.Repeat(wireFrame(true, gws.OpcodePing, []byte("x"), 1), 3000),
	}[rand.IntN(5)]...)
	_, _ = c.Write(say) // fails when the edge has closed meanwhile
	switch rand.IntN(3) {
	case 0:
		time.Sleep(moment())
	case 1:
		_ = read(moment())
	}
	switch rand.IntN(4) {
	case 0:
		_ = c.SetLinger(0)
	case 1:
		_, _ = c.Write(wireFrame(true, gws.OpcodeCloseConnection, []byte{3, 232}, 1))
		_ = read(moment())
	case 2:
		_ = c.CloseWrite()
		if err := read(patience); os.IsTimeout(err) {
			return fmt.Errorf("after the client's end: %w", err)
		}
	}
	return nil
}
