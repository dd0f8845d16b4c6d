package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/catena-im/catena/pkg/client"
	imv1 "github.com/catena-im/catena/proto/im/v1"
	"github.com/catena-im/catena/services/edge/token"
)

// run runs a command line and returns what it prints.
func run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(strings.NewReader(""))
	root.SetOut(&out)
	root.SetErr(&out)
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

func TestWrongCommandLinesSayWhatIsRight(t *testing.T) {
	t.Setenv(envURL, "")
	t.Setenv(envToken, "")
	data := t.TempDir()
	tests := []struct {
		args []string
		want string // part of the error
		code int
	}{
		{[]string{"token"}, "takes 1 argument, not 0\nusage: catena token USER", 2},
		{[]string{"token", "a.b", "--data", data}, "user id holds '.'", 2},
		{[]string{"token", "alice", "--data", data}, "start one with: catena dev --data " + data, 1},
		{[]string{"token", "alice", "--data", data, "--ttl", "-1s"}, "--ttl is not positive", 2},
		{[]string{"send", "alice", "bob"}, "takes at least 3 arguments", 2},
		{[]string{"send", "alice", "bob", ""}, "the message is empty", 2},
		{[]string{"send", "alice", "bob", "-"}, "the message is empty", 2},
		{[]string{"send", "alice", "bob", "--body", "{}"}, "--body is empty", 2},
		{[]string{"send", "alice", "bob", "--body", "nonsense"}, "--body is not a Body", 2},
		{[]string{"send", "alice", "x:y", "hi"}, "conversation id is neither", 2},
		{[]string{"send", "alice", "b b", "hi"}, "user id holds ' '", 2},
		{[]string{"send", "alice", "bob", "hi", "--only-me", "--visible-to", "bob"}, "exclude each other", 2},
		{[]string{"send", "alice", "bob", "hi", "--id", "a:b"}, "--id", 2},
		{[]string{"send", "alice", "bob", "hi", "--data", data}, "no server found in " + data, 1},
		{[]string{"send", "alice", "bob", "hi", "--url", "http://x"}, "--url http://x is not ws://", 2},
		{[]string{"send", "alice", "bob", "hi", "--url", "ws://127.0.0.1:1/ws", "--data", data}, "no token for alice", 1},
		{[]string{"pull", "bob"}, "either --user-chain or --conversation", 2},
		{[]string{"pull", "bob", "--user-chain", "--conversation", "s:a:b"}, "either --user-chain or --conversation", 2},
		{[]string{"pull", "bob", "--conversation", "s:b:a"}, "wrong order", 2},
		{[]string{"pull", "bob", "--user-chain", "--from", "5", "--to", "4"}, "--from 5 is beyond --to 4", 2},
		{[]string{"group", "add", "alice", "g:x"}, "takes at least 3 arguments", 2},
		{[]string{"group", "create", "alice", "Team", "b b"}, "user id holds ' '", 2},
		{[]string{"chat"}, "takes 1 or 2 arguments", 2},
		{[]string{"list", "alice", "--bogus"}, "see: catena list --help", 2},
		{[]string{"foo"}, "catena has no command \"foo\"\nsee: catena --help", 2},
		{[]string{"snd", "alice", "bob", "hi"}, "did you mean send?\nsee: catena --help", 2},
		{[]string{"group", "foo"}, "catena group has no command \"foo\"\nsee: catena group --help", 2},
	}
	for _, tt := range tests {
		_, err := run(t, tt.args...)
		if err == nil || !strings.Contains(err.Error(), tt.want) || exitCode(err) != tt.code {
			t.Errorf("catena %s: %v (exit code %d), want %q (%d)", strings.Join(tt.args, " "), err, exitCode(err), tt.want, tt.code)
		}
	}
}

func TestTokenCommandIssuesTokensTheServerTakes(t *testing.T) {
	data := t.TempDir()
	key, err := LoadOrCreateKey(data)
	if err != nil {
		t.Fatal(err)
	}
	out, err := run(t, "token", "alice", "--data", data, "--device", "phone", "--ttl", "1h")
	if err != nil {
		t.Fatal(err)
	}
	v, err := token.NewVerifier(token.Config{Keys: []token.Key{key}})
	if err != nil {
		t.Fatal(err)
	}
	claims, err := v.Verify(strings.TrimSpace(out))
	if err != nil || claims.User != "alice" || claims.Device != "phone" {
		t.Errorf("the token says %+v, %v", claims, err)
	}
	if got := subject(strings.TrimSpace(out)); got != "alice" {
		t.Errorf("subject reads %q, want alice", got)
	}
}

func TestTokenOfAnotherUserIsRefusedBeforeConnecting(t *testing.T) {
	text, err := token.Issue(token.Key{ID: "k", Algorithm: token.HS256, Secret: make([]byte, token.MinSecret)}, "",
		token.Claims{User: "bob", Expires: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	data := t.TempDir()
	_, err = run(t, "list", "alice", "--url", "ws://127.0.0.1:1/ws", "--token", text, "--data", data)
	if err == nil || !strings.Contains(err.Error(), "the token is for bob, not for alice") {
		t.Errorf("list: %v", err)
	}
	if entries, _ := os.ReadDir(data); len(entries) != 0 {
		t.Errorf("the refused command left %v behind", entries)
	}
}

func TestServerThatIsGoneIsExplained(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil { // nobody listens there now
		t.Fatal(err)
	}
	data := t.TempDir()
	if _, err := LoadOrCreateKey(data); err != nil {
		t.Fatal(err)
	}
	if err := WriteRunFile(data, RunFile{PID: 4711, WSURL: "ws://" + address + "/ws", Started: time.Now()}); err != nil {
		t.Fatal(err)
	}
	_, err = run(t, "list", "alice", "--data", data)
	for _, want := range []string{"no server found at ws://" + address, "(pid 4711) is gone", "start it again with: catena dev"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("list: %v, want %q", err, want)
		}
	}
}

// A wrong path stays wrong: it is said at once, however long the command would wait for a server.
func TestWrongPathIsNotWaitedFor(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "WRONG_PATH: clients of this server connect to /ws", http.StatusNotFound)
	}))
	defer server.Close()
	data := t.TempDir()
	if _, err := LoadOrCreateKey(data); err != nil {
		t.Fatal(err)
	}
	_, err := run(t, "list", "alice", "--data", data, "--timeout", "1h", "--url", "ws"+strings.TrimPrefix(server.URL, "http")+"/nowhere")
	if err == nil || !strings.Contains(err.Error(), "connect to /ws") || !strings.Contains(err.Error(), "/nowhere") {
		t.Errorf("list: %v, want the path that is right and the one that was tried", err)
	}
}

func TestMessageOfACommandLine(t *testing.T) {
	tests := []struct {
		name string
		s    sending
		args []string
		in   string
		want client.Outgoing
	}{
		{"text to a user", sending{}, []string{"alice", "bob", "hello,", "bob"}, "", client.Outgoing{To: "bob", Body: textBody("hello, bob")}},
		{"text into a conversation", sending{}, []string{"alice", "s:alice:bob", "x"}, "", client.Outgoing{ConversationID: "s:alice:bob", Body: textBody("x")}},
		{"standard input", sending{}, []string{"alice", "bob", "-"}, "two\nlines\r\n\n", client.Outgoing{To: "bob", Body: textBody("two\nlines")}},
		{"an id", sending{id: "i"}, []string{"alice", "bob", "x"}, "", client.Outgoing{To: "bob", ClientMessageID: "i", Body: textBody("x")}},
		{"for some", sending{visibleTo: []string{"carol"}}, []string{"alice", "s:alice:bob", "x"}, "",
			client.Outgoing{ConversationID: "s:alice:bob", Body: textBody("x"), Visibility: &imv1.Visibility{Scope: imv1.VisibilityScope_VISIBILITY_SCOPE_PART, UserIds: []string{"carol"}}}},
		{"a body", sending{body: `{"custom":{"kind":"poll"}}`}, []string{"alice", "bob"}, "",
			client.Outgoing{To: "bob", Body: &imv1.Body{Content: &imv1.Body_Custom{Custom: &imv1.CustomBody{Kind: "poll"}}}}},
	}
	for _, tt := range tests {
		got, err := tt.s.message(tt.args, strings.NewReader(tt.in))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if got.To != tt.want.To || got.ConversationID != tt.want.ConversationID || got.ClientMessageID != tt.want.ClientMessageID ||
			!proto.Equal(got.Body, tt.want.Body) || !proto.Equal(got.Visibility, tt.want.Visibility) {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

func textBody(text string) *imv1.Body {
	_, b := client.TextBody(text)
	return b
}

// TestPagesAreJoined reads a chain of 1,234 entries.
func TestPagesAreJoined(t *testing.T) {
	const head = 1234
	fetch := func(newest bool) func(request) (page, error) {
		return func(r request) (page, error) {
			from, to := uint64(1), uint64(head)
			if r.from != nil {
				from = *r.from
			}
			if r.to != nil {
				to = *r.to
			}
			var p page
			for n := uint64(0); from <= to && n < uint64(r.limit); n++ {
				if newest {
					p.entries = append(p.entries, entry{index: to})
					to--
				} else {
					p.entries = append(p.entries, entry{index: from})
					from++
				}
			}
			p.more, p.next = from <= to, from
			if newest {
				p.next = to
			}
			return p, nil
		}
	}
	tests := []struct {
		p           pulling
		first, last uint64
		n           int
	}{
		{pulling{limit: 100}, 1, 100, 100},
		{pulling{limit: 0}, 1, head, head},
		{pulling{limit: 700, from: 100}, 100, 799, 700},
		{pulling{limit: 0, from: 100, to: 102}, 100, 102, 3},
		{pulling{limit: 0, newest: true}, head, 1, head},
		{pulling{limit: 600, newest: true, to: 1000}, 1000, 401, 600},
	}
	for _, tt := range tests {
		var got []uint64
		err := tt.p.join(fetch(tt.p.newest), func(e entry) error {
			got = append(got, e.index)
			return nil
		})
		if err != nil || len(got) != tt.n || got[0] != tt.first || got[len(got)-1] != tt.last {
			t.Errorf("%+v: %d entries, %v; want %d from %d to %d", tt.p, len(got), err, tt.n, tt.first, tt.last)
		}
		if slices.Sort(got); len(slices.Compact(got)) != tt.n {
			t.Errorf("%+v: entries are repeated", tt.p)
		}
	}
}

func TestDevicesOfOneUserAreDifferent(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "devices")
	var held []*device
	for _, want := range []string{"cli", "cli-2"} {
		d, err := claim(folder, "al/ice", "", "cli")
		if err != nil || d.id != want {
			t.Fatalf("claim: %+v, %v, want %s", d, err, want)
		}
		held = append(held, d)
	}
	if _, err := claim(folder, "al/ice", "cli-2", "cli"); err == nil || !strings.Contains(err.Error(), "is in use") {
		t.Errorf("claiming a device that is held: %v", err)
	}
	other, err := claim(folder, "bob", "", "cli")
	if err != nil || other.id != "cli" {
		t.Errorf("the device of another user: %+v, %v", other, err)
	}
	for _, d := range append(held, other) {
		if err := d.store.Close(); err != nil {
			t.Error(err)
		}
	}
	again, err := claim(folder, "al/ice", "cli", "")
	if err != nil {
		t.Fatalf("claiming a device that was released: %v", err)
	}
	if err := again.store.Close(); err != nil {
		t.Error(err)
	}
	if _, err := claim(folder, "bob", "a b", ""); err == nil || exitCode(err) != 2 {
		t.Errorf("a device with a blank: %v", err)
	}
}

func TestExplain(t *testing.T) {
	srv := server{url: "ws://x/ws"}
	for code, want := range map[imv1.ErrorCode]string{
		imv1.ErrorCode_ERROR_CODE_TOKEN_EXPIRED:    "catena token",
		imv1.ErrorCode_ERROR_CODE_SESSION_REPLACED: "--device",
		imv1.ErrorCode_ERROR_CODE_NOT_A_MEMBER:     "the text",
	} {
		err := explain(fmt.Errorf("around: %w", &client.Error{Code: code, Text: "the text"}), srv)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v is explained as %v, want %q in it", code, err, want)
		}
	}
	if explain(nil, srv) != nil {
		t.Error("nothing is explained as an error")
	}
}

func TestFirstWaits(t *testing.T) {
	f := newFirst(nil)
	f.event(client.Disconnected{Err: errors.New("once")})
	f.event(client.Disconnected{Err: errors.New("twice")})
	if err := f.wait(t.Context(), nil, time.Millisecond); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Errorf("without a connection: %v, want the newest reason", err)
	}
	f.event(client.Connected{})
	f.event(client.Connected{})
	if err := f.wait(t.Context(), nil, time.Minute); err != nil {
		t.Errorf("with a connection: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := newFirst(nil).wait(ctx, nil, time.Minute); !errors.Is(err, context.Canceled) {
		t.Errorf("when it is given up: %v", err)
	}
}

func TestReceipt(t *testing.T) {
	sent := &imv1.Sent{MessageId: bytes.Repeat([]byte{0xab}, 16), ConversationId: "s:a:b", ConversationIndex: 3, Duplicate: true}
	if got, want := receipt(sent), "sent: s:a:b index 3, message abababababababababababababababab (it was there already)"; got != want {
		t.Errorf("receipt: %s, want %s", got, want)
	}
}

func TestJSONIsOneStableLine(t *testing.T) {
	var out bytes.Buffer
	for range 2 {
		if err := printJSON(&out, &imv1.Sent{ConversationId: "s:a:b", ConversationIndex: 3}); err != nil {
			t.Fatal(err)
		}
	}
	line := `{"messageId":"","conversationId":"s:a:b","conversationIndex":"3","serverTimeMs":"0","duplicate":false,"contentDiffers":false}` + "\n"
	if got := out.String(); got != line+line {
		t.Errorf("printJSON writes\n%swant\n%s", got, line+line)
	}
}
