package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// resident is how much memory a process takes, in bytes; most is the largest that it ever took.
func (c *process) resident() (now, most uint64) {
	c.t.Helper()
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
	if err != nil {
		c.t.Skipf("this system does not tell how much memory a process takes: %v", err)
	}
	for lines := bufio.NewScanner(bytes.NewReader(content)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 {
			continue
		}
		kib, _ := strconv.ParseUint(fields[1], 10, 64)
		switch fields[0] {
		case "VmRSS:":
			now = kib << 10
		case "VmHWM:":
			most = kib << 10
		}
	}
	return now, most
}

// TestClientsThatDoNotReadTakeBoundedMemory pushes 30 MB to each of 50 devices that never read. Those of others get
// everything meanwhile, and the deaf pull what they missed when they come back.
func TestClientsThatDoNotReadTakeBoundedMemory(t *testing.T) {
	t.Parallel()
	s := spawn(t, t.TempDir())
	for i := range 50 {
		deaf(t, s.site, "bob", fmt.Sprint("deaf", i))
	}
	alice, _ := login(t, s.site, "alice", "phone", speakBinary)
	long := strings.Repeat("x", 60_000)
	const count = 500
	var halfway uint64 // by then caches are filled
	for i := range count {
		alice.sent(say("bob", fmt.Sprint("m", i), long))
		if i == count/2 {
			_, halfway = s.resident()
		}
	}
	_, most := s.resident()
	t.Logf("MiB: halfway %d, in the end %d", halfway>>20, most>>20)
	if most > halfway+600<<20 { // what was pushed since is 750 MiB
		t.Errorf("%d MiB more for 50 clients that do not read", (most-halfway)>>20)
	}
	bob, _ := login(t, s.site, "bob", "deaf0", speakBinary)
	eventually(t, "the deaf pull what they missed", func() bool { return len(bob.chain(count-20)) == 21 })
}

// TestTheSameMessageAgainAndAgainIsOne sends one message from many devices, thousands of times.
func TestTheSameMessageAgainAndAgainIsOne(t *testing.T) {
	cfg := anywhere(t)
	cfg.Limits.FrameRate, cfg.Limits.FrameBurst = 100_000, 100_000
	s := launch(t, cfg)
	var sending sync.WaitGroup
	for d := range 5 {
		p, _ := login(t, s.site, "alice", fmt.Sprint("device", d), speakBinary)
		sending.Go(func() {
			for i := 0; i < 2000; i += 100 {
				var ids []uint64
				for range 100 {
					ids = append(ids, p.send(say("bob", "one", "hello")))
				}
				for _, id := range ids {
					if a := p.await(id).GetSent(); a.GetConversationIndex() != 1 || a.GetContentDiffers() {
						t.Errorf("got %v", a)
					}
				}
			}
		})
	}
	sending.Wait()
	bob, c := login(t, s.site, "bob", "phone", speakBinary)
	if n := len(bob.conversation("s:alice:bob")); n != 1 || c.GetHead().GetUserIndex() != 1 {
		t.Errorf("the conversation has %d messages, the chain %d", n, c.GetHead().GetUserIndex())
	}
}

// TestAFloodIsToldAndCutOff sends far more than is allowed and checks that others do not notice.
func TestAFloodIsToldAndCutOff(t *testing.T) {
	s := launch(t, anywhere(t))
	flood, _ := login(t, s.site, "mallory", "bot", speakJSON)
	for range 3000 {
		flood.raw(true, []byte(`{"id":7,"ping":{}}`))
	}
	code, last := flood.ended()
	if code != 4429 || last.GetError().GetCode() != imv1.ErrorCode_ERROR_CODE_RATE_LIMITED {
		t.Errorf("closed with %d after %v", code, last)
	}
	alice, _ := login(t, s.site, "alice", "phone", speakBinary)
	alice.sent(say("bob", "m1", "x"))
}

// TestHalfHandshakesHoldNothingUp opens connections that never say anything, or one byte at a time.
func TestHalfHandshakesHoldNothingUp(t *testing.T) {
	s := launch(t, anywhere(t))
	u, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	before := runtime.NumGoroutine()
	var conns []net.Conn
	for i := range 1000 {
		conn, err := net.Dial("tcp", u.Host)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conns = append(conns, conn)
		if i%2 == 0 {
			fmt.Fprint(conn, "GET /ws HTTP/1.1\r\nHost: x\r\nX-Sl")
		}
	}
	drip := dial(t, s.url, speakJSON) // upgraded, but silent: it has not connected
	alice, _ := login(t, s.site, "alice", "phone", speakBinary)
	alice.sent(say("bob", "m1", "x"))
	if code, last := drip.ended(); code != 4401 || last.GetError().GetText() == "" {
		t.Errorf("a silent one is closed with %d after %v", code, last)
	}
	for i, conn := range conns {
		if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		for buf := make([]byte, 1<<10); ; {
			if _, err := conn.Read(buf); err != nil {
				if errors.Is(err, os.ErrDeadlineExceeded) {
					t.Fatalf("half a handshake (%d) is kept open", i)
				}
				break
			}
		}
	}
	eventually(t, "their goroutines end", func() bool { return runtime.NumGoroutine() < before+50 })
}

// TestConnectionsLeaveNothingBehind connects and disconnects many devices of many users.
func TestConnectionsLeaveNothingBehind(t *testing.T) {
	t.Parallel()
	s := spawn(t, t.TempDir())
	round := func(n int) {
		var going sync.WaitGroup
		for w := range 10 {
			going.Go(func() {
				for i := range n / 10 {
					p, _ := login(t, s.site, fmt.Sprintf("u%d-%d", w, i), "phone", speakBinary)
					_ = p.conn.CloseNow()
				}
			})
		}
		going.Wait()
	}
	round(8000) // the race detector keeps something for each place in memory that was ever used
	before, _ := s.resident()
	round(4000)
	now, _ := s.resident()
	t.Logf("MiB: before %d, now %d", before>>20, now>>20)
	if now > before+64<<20 {
		t.Errorf("4,000 connections leave %d MiB behind", (now-before)>>20)
	}
}
