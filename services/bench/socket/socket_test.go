package socket

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server answers each connection with talk and returns its address.
func server(t *testing.T, talk func(ctx context.Context, c *websocket.Conn)) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"p"}})
		if err != nil {
			t.Error(err)
			return
		}
		defer c.CloseNow()
		c.SetReadLimit(-1)
		talk(r.Context(), c)
	}))
	t.Cleanup(s.Close)
	return "ws" + strings.TrimPrefix(s.URL, "http")
}

func dial(t *testing.T, url string) *Conn {
	t.Helper()
	c, err := Dial(t.Context(), Config{URL: url, Subprotocol: "p"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestMessagesOfAllSizesComeBack(t *testing.T) {
	url := server(t, func(ctx context.Context, c *websocket.Conn) {
		for {
			kind, data, err := c.Read(ctx)
			if err != nil {
				return
			}
			if err := c.Write(ctx, kind, data); err != nil {
				return
			}
		}
	})
	c := dial(t, url)
	for _, n := range []int{0, 1, 7, 8, 125, 126, 127, 4096, 65535, 65536, 300_000} {
		want := bytes.Repeat([]byte("0123456789a"), n/11+1)[:n]
		if err := c.Write(want); err != nil {
			t.Fatal(err)
		}
		if got, err := c.Read(); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%d bytes: got %d, %v", n, len(got), err)
		}
	}
}

func TestMessagesThatCameTogetherAreReadOneByOne(t *testing.T) {
	url := server(t, func(ctx context.Context, c *websocket.Conn) {
		for i := range 300 {
			if err := c.Write(ctx, websocket.MessageBinary, bytes.Repeat([]byte{byte(i)}, i)); err != nil {
				return
			}
		}
		_, _, _ = c.Read(ctx)
	})
	c := dial(t, url)
	for i := range 300 {
		if got, err := c.Read(); err != nil || !bytes.Equal(got, bytes.Repeat([]byte{byte(i)}, i)) {
			t.Fatalf("message %d: %v, %v", i, got, err)
		}
	}
}

func TestReasonOfACloseIsTold(t *testing.T) {
	url := server(t, func(_ context.Context, c *websocket.Conn) { _ = c.Close(4401, "no token") })
	_, err := dial(t, url).Read()
	if !errors.Is(err, ErrClosed) || !strings.Contains(err.Error(), "4401 no token") {
		t.Errorf("Read: %v", err)
	}
}

func TestRefusedUpgradeSaysWhy(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "full", http.StatusServiceUnavailable) }))
	defer s.Close()
	_, err := Dial(t.Context(), Config{URL: "ws" + strings.TrimPrefix(s.URL, "http")})
	if err == nil || !strings.Contains(err.Error(), "503") || !strings.Contains(err.Error(), "full") {
		t.Errorf("Dial: %v", err)
	}
}

// script is a connection that reads what it is given, n bytes at a time, and takes what is written.
type script struct {
	net.Conn
	data []byte
	n    int
}

func (s *script) Read(p []byte) (int, error) {
	n := copy(p[:min(len(p), s.n)], s.data)
	s.data = s.data[n:]
	if n == 0 {
		return 0, net.ErrClosed
	}
	return n, nil
}

func (*script) Write(p []byte) (int, error)      { return len(p), nil }
func (*script) SetWriteDeadline(time.Time) error { return nil }

func TestFragmentsAreJoinedHoweverTheyArrive(t *testing.T) {
	wire := []byte{opBinary, 2, 'a', 'b', 0x80 | opPong, 0, opContinue, 1, 'c', 0x80 | opContinue, 1, 'd', 0x80 | opBinary, 1, 'e'}
	for n := 1; n <= len(wire); n++ {
		c := &Conn{conn: &script{data: wire, n: n}, buf: make([]byte, 16)}
		for _, want := range []string{"abcd", "e"} {
			if got, err := c.Read(); err != nil || string(got) != want {
				t.Fatalf("%d bytes at a time: got %q, %v, want %q", n, got, err, want)
			}
		}
	}
}

func FuzzServerFrames(f *testing.F) {
	f.Add([]byte{0x82, 1, 'a', 0x88, 2, 3, 232}, 3)
	f.Add([]byte{0x82, 127, 255, 255, 255, 255, 255, 255, 255, 255}, 1)
	f.Add([]byte{0x89, 0, 0x82, 1, 'a'}, 2)
	f.Fuzz(func(_ *testing.T, data []byte, n int) {
		c := &Conn{conn: &script{data: data, n: max(1, n&15)}, buf: make([]byte, 16)}
		for {
			if _, err := c.Read(); err != nil {
				return
			}
		}
	})
}
