package edge

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// upgradeRequest is a handshake for the binary subprotocol.
const upgradeRequest = "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: catena.v1\r\n\r\n"

// wire is a bare connection to the edge.
type wire struct {
	t *testing.T
	net.Conn
	in *bufio.Reader
}

func (s *server) wire(t *testing.T, hello string) *wire {
	t.Helper()
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, hello); err != nil {
		t.Fatal(err)
	}
	return &wire{t, conn, bufio.NewReader(conn)}
}

func (w *wire) response() (status int, body string) {
	w.t.Helper()
	resp, err := http.ReadResponse(w.in, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// clientFrame is a masked WebSocket frame; the mask is zero.
func clientFrame(first byte, payload []byte) []byte {
	b := wireFrame(true, 0, payload, 0)
	b[0] = first
	return b
}

// wireConnect is the Connect of a user's device as it stands on the wire.
func wireConnect(t *testing.T, user string) []byte {
	t.Helper()
	message, err := proto.Marshal(&imv1.ClientFrames{Frames: []*imv1.ClientFrame{{Id: 1, Body: &imv1.ClientFrame_Connect{
		Connect: &imv1.Connect{Token: tokenFor(t, user, "", farAway()), DeviceId: "d"}}}}})
	if err != nil {
		t.Fatal(err)
	}
	return clientFrame(0x82, message)
}

func TestHandshakesThatAreRefused(t *testing.T) {
	s := serve(t, newWorld(t), Config{})
	without := func(line string) string { return strings.Replace(upgradeRequest, line, "", 1) }
	for name, tc := range map[string]struct {
		request string
		status  int
		says    []string
	}{
		"no subprotocol":      {without("Sec-WebSocket-Protocol: catena.v1\r\n"), 400, []string{"catena.v1 ", "catena.v1.json"}},
		"another version":     {strings.Replace(upgradeRequest, "catena.v1", "catena.v2", 1), 400, []string{"catena.v1 ", "catena.v1.json", "UNSUPPORTED_VERSION"}},
		"plain HTTP":          {without("Upgrade: websocket\r\n"), 400, []string{"WebSocket"}},
		"no key":              {without("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"), 400, []string{"Sec-WebSocket-Key"}},
		"WebSocket version 8": {strings.Replace(upgradeRequest, "Version: 13", "Version: 8", 1), 400, []string{"13"}},
		"another path":        {strings.Replace(upgradeRequest, "/ws", "/metrics", 1), 404, []string{"WRONG_PATH", "/ws"}},
		"another method":      {strings.Replace(upgradeRequest, "GET", "POST", 1), 405, nil},
		"not HTTP":            {"hello\r\n\r\n", 400, nil},
		"a huge header":       {"GET /ws HTTP/1.1\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n\r\n", 431, nil},
	} {
		t.Run(name, func(t *testing.T) {
			status, body := s.wire(t, tc.request).response()
			if status != tc.status {
				t.Errorf("got status %d %q, want %d", status, body, tc.status)
			}
			for _, words := range tc.says {
				if !strings.Contains(body, words) {
					t.Errorf("the text %q does not say %q", body, words)
				}
			}
		})
	}
}

func TestSubprotocolIsChosenAmongAllThatAreOffered(t *testing.T) {
	s := serve(t, newWorld(t), Config{})
	w := s.wire(t, strings.Replace(upgradeRequest, "Protocol: catena.v1\r\n", "Protocol: chat, x\r\nSec-WebSocket-Protocol: catena.v2 , catena.v1.json\r\n", 1))
	resp, err := http.ReadResponse(w.in, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := resp.Header.Get("Sec-WebSocket-Protocol"); resp.StatusCode != http.StatusSwitchingProtocols || got != protocolJSON {
		t.Errorf("got %s %q", resp.Status, got)
	}
}

func TestFramesSentWithTheHandshakeAreRead(t *testing.T) {
	s := serve(t, newWorld(t), Config{})
	ping, err := proto.Marshal(&imv1.ClientFrames{Frames: []*imv1.ClientFrame{{Id: 5, Body: &imv1.ClientFrame_Ping{Ping: &imv1.Ping{}}}}})
	if err != nil {
		t.Fatal(err)
	}
	w := s.wire(t, upgradeRequest+string(clientFrame(0x82, ping)))
	if _, err := http.ReadResponse(w.in, nil); err != nil {
		t.Fatal(err)
	}
	header := make([]byte, 4)
	if _, err := io.ReadFull(w.in, header); err != nil || header[0] != 0x82 {
		t.Fatalf("got %x, %v; want the answer", header, err)
	}
}

// TestFramesThatBreakTheProtocol sends what no WebSocket library sends. Each ends its connection, and no other.
func TestFramesThatBreakTheProtocol(t *testing.T) {
	s := serve(t, newWorld(t), Config{})
	other := s.login(t, "bob", "d")
	for name, sent := range map[string][]byte{
		"negative length":      {0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0},
		"length of 63 bits":    {0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0},
		"no mask":              {0x82, 0x01, 0x00},
		"reserved bit":         clientFrame(0xc2, []byte("x")),
		"reserved opcode":      clientFrame(0x83, []byte("x")),
		"stray continuation":   clientFrame(0x80, []byte("x")),
		"fragmented ping":      clientFrame(0x09, nil),
		"message in a message": append(clientFrame(0x02, []byte("x")), clientFrame(0x82, []byte("x"))...),
	} {
		t.Run(name, func(t *testing.T) {
			w := s.wire(t, upgradeRequest)
			if _, err := http.ReadResponse(w.in, nil); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(sent); err != nil {
				t.Fatal(err)
			}
			said, err := io.ReadAll(w.in)
			if err != nil {
				t.Fatal(err)
			}
			code := closeProtocolError
			if name == "length of 63 bits" {
				code = closeTooLarge
			}
			if !bytes.HasPrefix(said, []byte{0x82}) || !bytes.HasSuffix(said, []byte{0x88, 2, byte(code >> 8), byte(code)}) { // an error, and a close frame
				t.Errorf("the edge said %x", said)
			}
		})
	}
	other.ping()
}

// A client that ends its side right behind its last frame may still read, and is told the rest.
func TestAnEndBehindTheLastFrameIsNotTheServers(t *testing.T) {
	s := serve(t, newWorld(t), Config{})
	for name, tc := range map[string]struct {
		sent  []byte
		first byte // of the answer
	}{
		"goodbye":           {clientFrame(0x88, []byte{3, 232}), 0x88},
		"protocol breached": {[]byte{0x82, 1, 0}, 0x82},
		"no goodbye":        {clientFrame(0x89, nil), 0x8a},
	} {
		lost := 0
		for range 30 {
			w := s.wire(t, upgradeRequest)
			if _, err := http.ReadResponse(w.in, nil); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(tc.sent); err != nil {
				t.Fatal(err)
			}
			if err := w.Conn.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if said, err := io.ReadAll(w.in); err != nil || len(said) == 0 || said[0] != tc.first || !bytes.Contains(said, []byte{0x88}) {
				lost++
			}
			_ = w.Close()
		}
		if lost > 0 {
			t.Errorf("%s: %d of 30 were not told", name, lost)
		}
	}
}

// Fragments that are empty count as frames: a client that sends nothing else is cut off.
func TestEmptyFragmentsAreAFlood(t *testing.T) {
	s := serve(t, newWorld(t), Config{FrameRate: 1, FrameBurst: 10})
	w := s.wire(t, upgradeRequest)
	if _, err := http.ReadResponse(w.in, nil); err != nil {
		t.Fatal(err)
	}
	frames := append(clientFrame(0x02, nil), bytes.Repeat(clientFrame(0x00, nil), 30)...)
	if _, err := w.Write(frames); err != nil {
		t.Fatal(err)
	}
	said, err := io.ReadAll(w.in)
	if err != nil || !bytes.Contains(said, []byte{0x88, 2, 4429 >> 8, 4429 & 0xff}) {
		t.Errorf("the edge said %x, %v", said, err)
	}
}

func TestClientsThatHangUpAreForgotten(t *testing.T) {
	s := serve(t, newWorld(t), Config{})
	for range 3 {
		s.login(t, "alice", "d").conn.CloseNow()
		p := s.login(t, "alice", "e")
		p.conn.Close(1000, "")
	}
	s.awaitNobody(t)
	p := s.edge.partitions[0]
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.users) > 0 {
		t.Errorf("users %v are still known", p.users)
	}
}
