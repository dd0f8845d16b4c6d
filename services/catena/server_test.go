package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"
)

// announced is where a server prints that it is ready.
type announced struct {
	once  sync.Once
	ready chan struct{}
}

func (a *announced) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("ready")) {
		a.once.Do(func() { close(a.ready) })
	}
	return len(p), nil
}

// serve runs a whole server on a new folder until the test ends, or until the returned function is called.
func serve(t *testing.T) (data string, stop func()) {
	t.Helper()
	t.Setenv(envURL, "")
	t.Setenv(envToken, "")
	cfg := anywhere(t)
	ctx, cancel := context.WithCancel(context.Background())
	out := &announced{ready: make(chan struct{})}
	ended := make(chan error, 1)
	go func() { ended <- runDev(ctx, cfg, out, slog.New(slog.DiscardHandler)) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the server ends with: %v", err)
		}
	})
	t.Cleanup(stop)
	select {
	case <-out.ready:
	case err := <-ended:
		ended <- err
		t.Fatalf("the server does not start: %v", err)
	}
	return cfg.Data, stop
}

// must runs a command line that must succeed.
func must(t *testing.T, args ...string) string {
	t.Helper()
	out, err := run(t, args...)
	if err != nil {
		t.Fatalf("catena %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func holds(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%q is missing in\n%s", p, text)
		}
	}
}

func TestClientCommandsAgainstAServer(t *testing.T) {
	data, stop := serve(t)
	on := func(args ...string) []string { return append(args, "--data", data) }

	holds(t, must(t, on("send", "alice", "bob", "hello,", "bob", "--id", "one")...), "sent: s:alice:bob index 1")
	holds(t, must(t, on("send", "alice", "bob", "hello, bob", "--id", "one")...), "index 1", "it was there already")
	if out, err := run(t, on("send", "alice", "bob", "another", "--id", "one")...); err == nil || !strings.Contains(err.Error(), "was dropped") {
		t.Errorf("another content under a used id: %v\n%s", err, out)
	}
	holds(t, must(t, on("list", "bob")...), "s:alice:bob  alice (1 unread)", "alice: hello, bob")
	holds(t, must(t, on("pull", "bob", "--user-chain")...), "1  s:alice:bob [1]")

	var made struct{ ConversationID string }
	if err := json.Unmarshal([]byte(must(t, on("group", "create", "alice", "The team", "bob", "--json")...)), &made); err != nil {
		t.Fatal(err)
	}
	group := made.ConversationID
	must(t, on("group", "add", "alice", group, "carol")...)
	must(t, on("send", "alice", group, "not for bob", "--visible-to", "carol")...)
	must(t, on("group", "remove", "alice", group, "bob")...)
	holds(t, must(t, on("group", "info", "carol", group)...), "The team, last message [4]", "alice (owner)", "you")
	holds(t, must(t, on("pull", "carol", "--conversation", group)...), "[2]", "alice added you", "[3]", "not for bob (seen by you only)", "[4]", "removed bob")
	if seen := must(t, on("pull", "bob", "--conversation", group)...); strings.Contains(seen, "not for bob") {
		t.Errorf("bob sees what he may not:\n%s", seen)
	}
	must(t, on("group", "leave", "alice", group)...)
	if _, err := run(t, on("send", "alice", group, "too late")...); err == nil || !strings.Contains(err.Error(), "not_a_member") {
		t.Errorf("sending to a group one has left: %v", err)
	}
	if _, err := run(t, on("inspect", "store")...); err == nil || !strings.Contains(err.Error(), "stop the server first") {
		t.Errorf("inspecting the store of a running server: %v", err)
	}
	holds(t, must(t, on("inspect", "stream")...), "conv.000  IM_CONV_000", "user.001  IM_USER_001", "owner dev")
	seen := ""
	for _, p := range []string{"conv.000", "conv.001", "user.000", "user.001"} {
		seen += must(t, on("inspect", "stream", p)...)
	}
	holds(t, seen, "send of alice in s:alice:bob", "create_group of alice", "fan-out of conv.")

	stop()
	if _, err := run(t, on("list", "bob")...); err == nil || !strings.Contains(err.Error(), "no server found") {
		t.Errorf("after the stop: %v", err)
	}
	holds(t, must(t, on("inspect", "store", "--conversation", "s:alice:bob")...), "conversation chain s:alice:bob #1", "user chain bob #1")
}

// TestChatThroughAPipe holds a conversation between two chats that read their lines from pipes.
func TestChatThroughAPipe(t *testing.T) {
	data, _ := serve(t)
	chat := func(input string, args ...string) string {
		t.Helper()
		var out bytes.Buffer
		root := newRoot()
		root.SetArgs(append([]string{"chat", "--data", data}, args...))
		root.SetIn(strings.NewReader(input))
		root.SetOut(&out)
		if err := root.ExecuteContext(t.Context()); err != nil {
			t.Fatalf("chat %v: %v\n%s", args, err, &out)
		}
		return out.String()
	}
	holds(t, chat("hello\nare you there?\n", "alice", "bob"), "* bob", "[1] ", "[2] ", " sent")
	holds(t, chat("yes\n/who\n/quit\n", "bob", "alice"), "alice (2 unread)", "alice: hello", "alice: are you there?", "s:alice:bob")
	holds(t, chat("", "bob"), "  1  alice  ")
	holds(t, chat("/group Team bob\nhi all\n/add carol\n/list\n", "alice"), "* Team", " sent", "  1  Team")
	holds(t, chat("/open Team\n/leave\n", "carol"), "you")
}

// lines is a screen's output that can be waited for.
type lines struct {
	mu   sync.Mutex // guards the fields below
	text strings.Builder
	more chan struct{} // holds one: something was written
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case l.more <- struct{}{}:
	default:
	}
	return l.text.Write(p)
}

func (l *lines) await(t *testing.T, part string) {
	t.Helper()
	for {
		l.mu.Lock()
		text := l.text.String()
		l.mu.Unlock()
		if strings.Contains(text, part) {
			return
		}
		select {
		case <-l.more:
		case <-time.After(20 * time.Second):
			t.Fatalf("%q does not come; there is\n%s", part, text)
		}
	}
}

// TestChatEndsWhenAnotherTakesItsDevice: the SDK does not fight for the session, so the chat must not wait for it.
func TestChatEndsWhenAnotherTakesItsDevice(t *testing.T) {
	data, _ := serve(t)
	site, err := ReadRunFile(data)
	if err != nil {
		t.Fatal(err)
	}
	in, feed := io.Pipe()
	defer feed.Close()
	out := &lines{more: make(chan struct{}, 1)}
	root := newRoot()
	root.SetArgs([]string{"chat", "alice", "--data", data, "--device", "laptop"})
	root.SetIn(in)
	root.SetOut(out)
	ended := make(chan error, 1)
	go func() { ended <- root.ExecuteContext(t.Context()) }()
	out.await(t, "no conversations yet")
	elsewhere := t.TempDir()
	key := strings.TrimSpace(must(t, "token", "alice", "--data", data))
	must(t, "list", "alice", "--data", elsewhere, "--url", site.WSURL, "--token", key, "--device", "laptop")
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "use another --device") {
		t.Errorf("the chat ends with %v, want the advice to use another device", err)
	}
}
