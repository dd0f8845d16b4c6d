package main

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// deaf opens the session of a device that never reads again, over a socket that holds little.
func deaf(t testing.TB, on site, user, device string) *net.TCPConn {
	t.Helper()
	u, err := url.Parse(on.url)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	tcp := conn.(*net.TCPConn)
	if err := tcp.SetReadBuffer(4 << 10); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "GET /ws HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: %s\r\n\r\n", u.Host, speakJSON)
	writeText(t, conn, fmt.Sprintf(`{"id":1,"connect":{"token":%q,"deviceId":%q}}`, on.token(t, user), device))
	var heard []byte
	for buf := make([]byte, 1<<10); !strings.Contains(string(heard), "serverTimeMs"); {
		if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		n, err := conn.Read(buf)
		if heard = append(heard, buf[:n]...); err != nil {
			t.Fatalf("after %q: %v", heard, err)
		}
	}
	return tcp
}

// writeText writes one masked text message of less than 64 KiB. The mask is zero.
func writeText(t testing.TB, conn net.Conn, text string) {
	t.Helper()
	frame := []byte{0x81, 0x80 | 126, byte(len(text) >> 8), byte(len(text)), 0, 0, 0, 0}
	if _, err := conn.Write(append(frame, text...)); err != nil {
		t.Fatal(err)
	}
}

// TestCleanStopLeavesNothingBehind stops a server that has idle clients, clients that do not read and one in the middle
// of sending.
func TestCleanStopLeavesNothingBehind(t *testing.T) {
	before := goleak.IgnoreCurrent()
	cfg := anywhere(t)
	s := launch(t, cfg)
	idle, _ := login(t, s.site, "bob", "phone", speakBinary)
	alice, _ := login(t, s.site, "alice", "phone", speakJSON)
	for i := range 5 {
		deaf(t, s.site, "bob", fmt.Sprint("deaf", i))
	}
	long := strings.Repeat("x", 60_000)
	for i := range 100 { // fills the sockets of the deaf
		alice.sent(say("bob", fmt.Sprint("m", i), long))
	}
	half := dial(t, s.url, speakBinary) // has not connected
	var ids []uint64
	for i := range 20 {
		ids = append(ids, alice.send(say("bob", fmt.Sprint("last", i), "x")))
	}
	began := time.Now()
	if err := s.stop(); err != nil {
		t.Errorf("stopped with: %v", err)
	}
	t.Logf("stopped in %v", time.Since(began))

	for name, p := range map[string]*peer{"idle": idle, "sender": alice, "half": half} {
		f, _ := p.find(0, "goaway for "+name, func(f *imv1.ServerFrame) bool { return f.GetGoAway() != nil })
		if f.GetGoAway().GetReason() == "" || f.GetGoAway().GetReconnectWithinMs() == 0 {
			t.Errorf("%s: got %v", name, f)
		}
		if code, _ := p.ended(); code != 1001 {
			t.Errorf("%s: closed with %d", name, code)
		}
	}
	acked := map[string]uint64{}
	for i, id := range ids { // those that were read too late are not answered: their client sends them again
		switch f := alice.answered(id); {
		case f.GetSent() != nil:
			acked[fmt.Sprint("last", i)] = f.GetSent().GetConversationIndex()
		case f != nil && !f.GetError().GetRetryable():
			t.Errorf("what was being sent is answered with %v", f)
		}
	}
	if _, err := os.Stat(filepath.Join(cfg.Data, runFile)); !os.IsNotExist(err) {
		t.Errorf("the run file: %v", err)
	}
	for _, u := range []string{s.run.WSURL, s.run.NATSURL} {
		at, err := url.Parse(u)
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", at.Host)
		if err != nil {
			t.Errorf("a port is not free: %v", err)
			continue
		}
		_ = l.Close()
	}
	for _, p := range []*peer{idle, alice, half} {
		_ = p.conn.CloseNow()
	}
	if err := goleak.Find(before); err != nil {
		t.Errorf("goroutines are left: %v", err)
	}

	// Everything that was acknowledged is there when the folder is used again.
	again := launch(t, cfg)
	alice, _ = login(t, again.site, "alice", "tablet", speakBinary)
	messages := alice.conversation("s:alice:bob")
	for _, m := range messages {
		if index, ok := acked[m.GetClientMessageId()]; ok && index == m.GetConversationIndex() {
			delete(acked, m.GetClientMessageId())
		}
	}
	if len(messages) < 100 || len(acked) > 0 {
		t.Errorf("of %d messages these are missing: %v", len(messages), acked)
	}
}

// TestSignalsEndTheProcess tells a server to stop: when it serves, while it starts, and twice.
func TestSignalsEndTheProcess(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		c := spawn(t, t.TempDir())
		c.signal(sig)
		if code := c.exit(); code != 0 {
			t.Errorf("%v: exit code %d\n%s", sig, code, c.log)
		}
	}
	data := t.TempDir()
	for _, seen := range []string{keyFile, "nats/jetstream", "store/LOCK", "store/LOCK"} {
		c := begin(t, data)
		eventually(t, seen, func() bool {
			_, err := os.Stat(filepath.Join(data, seen))
			return err == nil || c.ended()
		})
		c.signal(syscall.SIGTERM)
		if code := c.exit(); code != 0 && code != -1 { // -1: before the program had asked for the signal
			t.Errorf("stopped when %s was there: exit code %d\n%s", seen, code, c.log)
		}
		if _, err := os.Stat(filepath.Join(data, runFile)); !os.IsNotExist(err) {
			t.Errorf("stopped when %s was there: the run file: %v", seen, err)
		}
	}
	spawn(t, data) // nothing was spoiled
}

// TestASecondSignalEndsTheProcessAtOnce tells a server to stop that waits for clients which do not read.
func TestASecondSignalEndsTheProcessAtOnce(t *testing.T) {
	t.Parallel()
	c := spawn(t, t.TempDir())
	carol, _ := login(t, c.site, "carol", "phone", speakBinary)
	for i := range 5 {
		deaf(t, c.site, "bob", fmt.Sprint("deaf", i))
	}
	alice, _ := login(t, c.site, "alice", "phone", speakBinary)
	for i := range 100 { // fills the sockets of the deaf
		alice.sent(say("bob", fmt.Sprint("m", i), strings.Repeat("x", 60_000)))
	}
	c.signal(syscall.SIGTERM)
	carol.find(0, "goaway", func(f *imv1.ServerFrame) bool { return f.GetGoAway() != nil })
	eventually(t, "it ends", func() bool { // the first one may be on its way through the program still
		_ = c.cmd.Process.Signal(syscall.SIGTERM) // fails when it has ended
		return c.ended()
	})
	if code := c.exit(); code != -1 {
		t.Errorf("exit code %d, want the end by the signal\n%s", code, c.log)
	}
}

// TestAKillOfTheFirstStartSpoilsNothing kills a server while it makes its data folder, further and further on.
func TestAKillOfTheFirstStartSpoilsNothing(t *testing.T) {
	t.Parallel()
	for _, seen := range []string{"server.lock", "nats/jetstream", "nats/jetstream/$G/streams/IM_CONV_000", "nats/jetstream/$G/streams/IM_USER_001", "store/LOCK", keyFile} {
		c := begin(t, t.TempDir())
		eventually(t, seen, func() bool {
			_, err := os.Stat(filepath.Join(c.data, seen))
			return err == nil || c.ended()
		})
		c.kill()
		again := spawn(t, c.data)
		alice, _ := login(t, again.site, "alice", "phone", speakBinary)
		if sent := alice.sent(say("bob", "m1", "x")); sent.GetConversationIndex() != 1 {
			t.Errorf("killed when %s was there: got %v", seen, sent)
		}
		_ = alice.conn.CloseNow()
		again.kill()
	}
}
