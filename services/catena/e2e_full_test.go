package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/catena-im/catena/pkg/client"
)

// sdk is a client of the SDK, which runs until the end of the test.
func sdk(t testing.TB, on site, user, name string, heard func(client.Event)) *client.Client {
	t.Helper()
	c, err := client.New(client.Config{
		URL: on.url, Device: name, OnEvent: heard,
		Token:      func(context.Context) (string, error) { return on.token(t, user), nil },
		MaxBackoff: time.Second, Window: 4,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := c.Run(ctx); err != nil {
			t.Errorf("%s of %s ended: %v", name, user, err)
		}
	})
	t.Cleanup(func() {
		stop()
		running.Wait()
	})
	return c
}

// enqueue puts count long messages into the outbox of c, numbered from first on.
func enqueue(t testing.TB, c *client.Client, to string, first, count int) {
	t.Helper()
	kind, body := client.TextBody(strings.Repeat("x", 60_000))
	for i := first; i < first+count; i++ {
		if _, err := c.Enqueue(t.Context(), client.Outgoing{To: to, ClientMessageID: fmt.Sprint("m", i), Type: kind, Body: body}); err != nil {
			t.Fatal(err)
		}
	}
}

// ordered checks that the conversation of p with other has count messages in the order sent.
func ordered(t testing.TB, p *peer, id string, count int) {
	t.Helper()
	messages := p.conversation(id)
	if len(messages) != count {
		t.Errorf("%s has %d messages, want %d", id, len(messages), count)
	}
	for i, m := range messages {
		if m.GetConversationIndex() != uint64(i+1) || m.GetClientMessageId() != fmt.Sprint("m", i) {
			t.Errorf("%s: %q stands at %d", id, m.GetClientMessageId(), m.GetConversationIndex())
		}
	}
}

// tally counts what became of the messages of a device.
type tally struct {
	mu     sync.Mutex // guards the fields below
	done   int
	failed []error
}

func (c *tally) hear(e client.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch e := e.(type) {
	case client.SendDone:
		c.done++
	case client.SendFailed:
		c.failed = append(c.failed, e.Err)
	}
}

func (c *tally) answered() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.done + len(c.failed)
}

// check says what was refused for good.
func (c *tally) check(t *testing.T) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, err := range c.failed {
		t.Errorf("refused for good: %v", err)
	}
}

// TestAFullStreamTakesMessagesAgain sends several times what a stream holds. The server makes room by itself; what it
// refuses meanwhile may be sent again, and nothing that it acknowledged is lost.
func TestAFullStreamTakesMessagesAgain(t *testing.T) {
	t.Parallel()
	s := spawn(t, t.TempDir(), "--stream-max-bytes", "1MiB", "--partitions-conv", "1", "--partitions-user", "1")
	sent := new(tally)
	const count = 30
	enqueue(t, sdk(t, s.site, "alice", "phone", sent.hear), "bob", 0, count)
	eventually(t, "everything is answered", func() bool { return sent.answered() == count })
	sent.check(t)
	reader, _ := login(t, s.site, "bob", "tablet", speakBinary)
	ordered(t, reader, "s:alice:bob", count)
	eventually(t, "everything is in the chain", func() bool { return len(reader.chain(1)) == count })
}
