package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	imv1 "github.com/catena-im/catena/proto/im/v1"
	"github.com/catena-im/catena/services/bench/check/wire"
)

// writer is a device that sends one message after the other to the same user, over as many connections as that takes.
type writer struct {
	on       *process
	user, to string

	mu     sync.Mutex // guards the fields below
	acked  []uint64   // conversation indexes of the messages 0, 1, …
	read   uint64     // their read position, as acknowledged
	head   uint64     // the furthest that the user was told of their chain
	broken []string   // what must not have been said
}

// run sends until ctx ends.
func (w *writer) run(ctx context.Context, token string) {
	for ctx.Err() == nil {
		before := w.told()
		_ = wire.Visit(ctx, wire.Config{URL: w.on.url, Token: token, Device: "writer", Heard: w.hear}, func(ctx context.Context, s *wire.Session) error {
			page, err := s.Do(ctx, pullUser(nil, ptr(1)))
			if err != nil {
				return err
			}
			if got := page.GetUserPage().GetHead().GetUserIndex(); got < before {
				w.complain("%s is shown %d entries after having been told of %d", w.user, got, before)
			}
			w.hears(page.GetUserPage().GetHead().GetUserIndex())
			return w.send(ctx, s)
		})
	}
}

// send sends until something goes wrong.
func (w *writer) send(ctx context.Context, s *wire.Session) error {
	for {
		w.mu.Lock()
		n := len(w.acked)
		w.mu.Unlock()
		a, err := s.Do(ctx, say(w.to, fmt.Sprint("m", n), fmt.Sprint(n)))
		if refused := new(wire.Refusal); errors.As(err, &refused) && !refused.Wire.GetRetryable() {
			w.complain("message %d: %v", n, err)
		}
		if err != nil {
			return err
		}
		w.mu.Lock()
		w.acked = append(w.acked, a.GetSent().GetConversationIndex())
		w.mu.Unlock()
		a, err = s.Do(ctx, markRead(singleID(w.user, w.to), a.GetSent().GetConversationIndex()))
		if err != nil && !errors.As(err, new(*wire.Refusal)) { // the list may not have the conversation yet
			return err
		}
		w.mu.Lock()
		w.read = max(w.read, a.GetReadMarked().GetReadIndex())
		w.mu.Unlock()
	}
}

func (w *writer) hear(f *imv1.ServerFrame) {
	w.hears(max(f.GetPush().GetEntry().GetUserIndex(), f.GetHead().GetUserIndex()))
}

func (w *writer) hears(index uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.head = max(w.head, index)
}

func (w *writer) told() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.head
}

func (w *writer) sent() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.acked)
}

func (w *writer) complain(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken = append(w.broken, fmt.Sprintf(format, args...))
}

// TestNothingAcknowledgedIsLostInAKill kills the server again and again: while messages are under way, just after one
// was acknowledged, and while it starts. Devices go on with the same ids meanwhile.
func TestNothingAcknowledgedIsLostInAKill(t *testing.T) {
	t.Parallel()
	server := spawn(t, t.TempDir())
	writers := []*writer{}
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	for i := range 8 {
		w := &writer{on: server, user: fmt.Sprint("user", i), to: fmt.Sprint("user", (i+3)%8)}
		writers = append(writers, w)
		token := server.token(t, w.user)
		running.Go(func() { w.run(ctx, token) })
	}
	for round := range 6 {
		w := writers[round]
		n := w.sent()
		eventually(t, "another message is acknowledged", func() bool { return w.sent() > n })
		server.kill()
		for lines := range round % 3 * 2 { // and again and again, further and further in its start
			next := execute(t, server.data, server.sameAddress())
			next.url = server.url
			server = next
			eventually(t, "it logs", func() bool { return strings.Count(next.log.String(), "\n") >= 2*lines || next.ended() })
			server.kill()
		}
		server = server.again()
		checkAcknowledged(t, server.site, writers)
	}
	stop()
	running.Wait()
	for _, w := range writers {
		if len(w.broken) > 0 {
			t.Errorf("%s: %s", w.user, strings.Join(w.broken, "\n"))
		}
		checkChain(t, server.site, w, writers)
	}
	if strings.Contains(server.log.String(), "level=ERROR") {
		t.Errorf("the log holds errors:\n%s", server.log)
	}
}

// checkAcknowledged looks for everything that was acknowledged so far, at once.
func checkAcknowledged(t *testing.T, on site, writers []*writer) {
	t.Helper()
	for _, w := range writers {
		w.mu.Lock()
		acked, head, read := w.acked, w.head, w.read
		w.mu.Unlock()
		p, c := login(t, on, w.user, "reader", speakBinary)
		if got := c.GetHead().GetUserIndex(); got < head {
			t.Errorf("%s is shown %d entries after having been told of %d", w.user, got, head)
		}
		if got := p.list()[singleID(w.user, w.to)].GetReadIndex(); got < read {
			t.Errorf("%s has read up to %d, which is acknowledged, and the list says %d", w.user, read, got)
		}
		at := map[uint64]string{}
		for i, m := range p.conversation(singleID(w.user, w.to)) {
			if m.GetConversationIndex() != uint64(i+1) {
				t.Fatalf("conversation of %s: index %d stands where %d belongs", w.user, m.GetConversationIndex(), i+1)
			}
			if m.GetSenderId() == w.user {
				at[m.GetConversationIndex()] = m.GetClientMessageId()
			}
		}
		for i, index := range acked {
			if at[index] != fmt.Sprint("m", i) {
				t.Errorf("message %d of %s was acknowledged at %d, where %q stands", i, w.user, index, at[index])
			}
		}
		_ = p.conn.CloseNow()
	}
}

// checkChain waits until the chain of a user has everything that was sent by and to them, once and in order.
func checkChain(t *testing.T, on site, w *writer, writers []*writer) {
	t.Helper()
	p, _ := login(t, on, w.user, "last", speakBinary)
	var entries []*imv1.UserEntry
	eventually(t, fmt.Sprintf("the chain of %s has what its conversations have", w.user), func() bool {
		want := 0
		for _, o := range writers {
			if o.user == w.user || o.to == w.user {
				want += len(p.conversation(singleID(o.user, o.to)))
			}
		}
		entries = p.chain(1)
		return len(entries) == want
	})
	last := map[string]uint64{}
	for _, e := range entries {
		m := e.GetMessage()
		if m.GetConversationIndex() != last[m.GetConversationId()]+1 {
			t.Errorf("chain of %s: %s %d follows %d", w.user, m.GetConversationId(), m.GetConversationIndex(), last[m.GetConversationId()])
		}
		last[m.GetConversationId()] = m.GetConversationIndex()
	}
}

func singleID(a, b string) string {
	if b < a {
		a, b = b, a
	}
	return "s:" + a + ":" + b
}
