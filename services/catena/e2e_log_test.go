package main

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestTrafficIsNotLogged chats, connects and misbehaves: at the level of info a server says what it is doing, never what
// its clients do.
func TestTrafficIsNotLogged(t *testing.T) {
	s := launch(t, anywhere(t))
	alice, _ := login(t, s.site, "alice", "phone", speakBinary)
	before := s.log.String()
	for i := range 100 {
		alice.sent(say(fmt.Sprint("user", i), "m1", "hello"))
		p, _ := login(t, s.site, fmt.Sprint("user", i), "phone", speakJSON)
		eventually(t, "it arrives", func() bool { return len(p.chain(1)) == 1 })
		switch i % 3 {
		case 0:
			p.raw(false, []byte("nonsense"))
			p.ended()
		case 1:
			p.raw(true, []byte(strings.Repeat("x", 300<<10)))
			p.ended()
		default:
			_ = p.conn.CloseNow()
		}
	}
	if after := s.log.String(); after != before {
		t.Errorf("it logs:\n%s", after[len(before):])
	}
	for line := range strings.Lines(before) {
		stamp, rest, _ := strings.Cut(strings.TrimPrefix(line, "time="), " ")
		if _, err := time.Parse(time.RFC3339, stamp); err != nil || !strings.HasPrefix(rest, "level=INFO msg=") {
			t.Errorf("a plain start logs %q", line)
		}
	}
}
