package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

// object is a JSON object as a client has it that knows nothing of protobuf.
type object = map[string]any

// reader is a client written from proto/README.md alone: JSON and a WebSocket.
type reader struct {
	t    *testing.T
	conn *websocket.Conn
	have uint64
	seen []string // texts of the stored entries
	last int      // id of the newest request
	rest []object // what the server said by itself and was not looked at yet
}

func read(t *testing.T, on site) *reader {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, on.url, &websocket.DialOptions{Subprotocols: []string{"catena.v1.json"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.CloseNow() })
	conn.SetReadLimit(4 << 20)
	r := &reader{t: t, conn: conn}
	return r
}

// say writes one frame.
func (r *reader) say(text string) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	if err := r.conn.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
		r.t.Fatal(err)
	}
}

// hear reads one frame.
func (r *reader) hear() object {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	kind, data, err := r.conn.Read(ctx)
	var o object
	if err != nil || kind != websocket.MessageText || json.Unmarshal(data, &o) != nil {
		r.t.Fatalf("heard %v %q, %v", kind, data, err)
	}
	return o
}

// ask sends a request and returns the answer's member called want.
func (r *reader) ask(want, body string) object {
	r.t.Helper()
	r.last++
	r.say(fmt.Sprintf(`{"id":%d,%s}`, r.last, body))
	for {
		o := r.hear()
		if o["id"] != strconv.Itoa(r.last) {
			r.rest = append(r.rest, o)
			continue
		}
		answer, ok := o[want].(object)
		if !ok {
			r.t.Fatalf("%s is answered with %v, want %s", body, o, want)
		}
		return answer
	}
}

// number reads a field that may be a string, a number or missing.
func number(o object, field string) uint64 {
	switch v := o[field].(type) {
	case string:
		n, _ := strconv.ParseUint(v, 10, 64)
		return n
	case float64:
		return uint64(v)
	}
	return 0
}

func within(o object, path ...string) object {
	for _, p := range path {
		o, _ = o[p].(object)
	}
	return o
}

// store takes an entry of the user chain, as the page says: next, below, or beyond.
func (r *reader) store(entry object) {
	switch index := number(entry, "userIndex"); {
	case index == r.have+1:
		r.have = index
		text, _ := within(entry, "message", "body", "text")["text"].(string)
		r.seen = append(r.seen, text)
	case index > r.have+1:
		r.pull()
	}
}

func (r *reader) pull() {
	r.t.Helper()
	for {
		page := r.ask("userPage", fmt.Sprintf(`"pullUser":{"fromIndex":"%d","limit":2}`, r.have+1))
		entries, _ := page["entries"].([]any)
		for _, e := range entries {
			r.store(e.(object))
		}
		if page["hasMore"] != true {
			return
		}
	}
}

// catchUp takes pushes until the client has stored want entries.
func (r *reader) catchUp(want uint64) {
	r.t.Helper()
	for r.have < want {
		if len(r.rest) == 0 {
			r.rest = append(r.rest, r.hear())
		}
		o := r.rest[0]
		r.rest = r.rest[1:]
		if entry := within(o, "push", "entry"); entry != nil {
			r.store(entry)
		}
	}
}

func TestAClientWrittenFromTheReadmeChats(t *testing.T) {
	s := launch(t, anywhere(t))
	connect := func(user, device string) (*reader, object) {
		r := read(t, s.site)
		return r, r.ask("connected", fmt.Sprintf(`"connect":{"token":%q,"deviceId":%q,"platform":"web"}`, s.token(t, user), device))
	}
	alice, c := connect("alice", "web-7f3a")
	if c["userId"] != "alice" || number(within(c, "head"), "userIndex") != 0 || number(within(c, "limits"), "bodyBytes") != 65536 || number(c, "heartbeatMs") == 0 {
		t.Errorf("connected: %v", c)
	}
	bob, _ := connect("bob", "web-1")
	if pong := alice.ask("pong", `"ping":{}`); number(pong, "serverTimeMs") == 0 {
		t.Errorf("pong: %v", pong)
	}
	text := func(to, id, text, after string) string {
		return fmt.Sprintf(`"send":{"toUserId":%q,"clientMessageId":%q,"type":"MESSAGE_TYPE_TEXT","body":{"text":{"text":%q}},"after":%q}`, to, id, text, after)
	}
	sent := alice.ask("sent", text("bob", "a-1", "one", ""))
	if sent["conversationId"] != "s:alice:bob" || number(sent, "conversationIndex") != 1 || sent["duplicate"] != nil {
		t.Errorf("sent: %v", sent)
	}
	if again := alice.ask("sent", text("bob", "a-1", "one", "")); again["duplicate"] != true || again["messageId"] != sent["messageId"] {
		t.Errorf("sent again: %v", again)
	}
	refused := alice.ask("error", text("bob", "a-3", "three", "a-2"))
	if refused["code"] != "ERROR_CODE_OUT_OF_ORDER" || refused["retryable"] != true {
		t.Errorf("out of order: %v", refused)
	}
	alice.ask("sent", text("bob", "a-2", "two", "a-1"))
	alice.ask("sent", text("bob", "a-3", "three", "a-2"))
	for name, r := range map[string]*reader{"alice": alice, "bob": bob} { // each in a partition of its own
		r.catchUp(3)
		if want := []string{"one", "two", "three"}; !slices.Equal(r.seen, want) {
			t.Errorf("%s has %v, want %v", name, r.seen, want)
		}
	}

	// A new device starts from the list; one that was away pulls.
	tablet, c := connect("bob", "tablet")
	tablet.have = number(within(c, "head"), "userIndex")
	list, _ := tablet.ask("conversationList", `"listConversations":{}`)["conversations"].([]any)
	if len(list) != 1 || number(list[0].(object), "unread") != 3 || list[0].(object)["member"] != true || tablet.have != 3 {
		t.Errorf("the list: %v, the head: %d", list, tablet.have)
	}
	if marked := tablet.ask("readMarked", `"markRead":{"conversationId":"s:alice:bob","readIndex":"2"}`); number(marked, "readIndex") != 2 {
		t.Errorf("marked: %v", marked)
	}
	for len(bob.rest) == 0 || bob.rest[0]["readMoved"] == nil {
		bob.rest = []object{bob.hear()}
	}
	back, c := connect("alice", "other")
	if number(within(c, "head"), "userIndex") != 3 {
		t.Errorf("connected: %v", c)
	}
	back.pull()
	if want := []string{"one", "two", "three"}; !slices.Equal(back.seen, want) || back.have != 3 {
		t.Errorf("pulled %v", back.seen)
	}
	newest := back.ask("conversationPage", `"pullConversation":{"conversationId":"s:alice:bob","limit":1,"newestFirst":true}`)
	if newest["hasMore"] != true || number(newest, "headIndex") != 3 {
		t.Errorf("the newest: %v", newest)
	}

	// The server stops: goaway, then the close code.
	ended := make(chan error, 1)
	go func() { ended <- s.stop() }()
	for {
		o := alice.hear()
		if o["goAway"] == nil {
			continue
		}
		if number(within(o, "goAway"), "reconnectWithinMs") != 5000 {
			t.Errorf("goaway: %v", o)
		}
		break
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, _, err := alice.conn.Read(ctx); websocket.CloseStatus(err) != 1001 {
		t.Errorf("closed with %v", err)
	}
	for _, r := range []*reader{bob, tablet, back} {
		_ = r.conn.CloseNow()
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestTheExamplesOfTheReadmeAreTrue sends every request of proto/README.md and compares the kinds of the answers, and
// the codes of refusals, with what stands below it.
func TestTheExamplesOfTheReadmeAreTrue(t *testing.T) {
	asked, answers := examples(t)
	s := launch(t, anywhere(t))
	group := ""
	sessions := map[string]*reader{"alice": read(t, s.site), "bob": read(t, s.site)}
	for _, e := range asked {
		user, c := "alice", within(e, "connect")
		switch {
		case c["token"] == "nonsense":
			sessions["nobody"], user = read(t, s.site), "nobody"
		case c["deviceId"] == "tablet" || within(e, "leaveGroup") != nil:
			user = "bob"
		}
		line, _ := json.Marshal(e)
		text := strings.ReplaceAll(string(line), `"TOKEN"`, strconv.Quote(s.token(t, user)))
		text = strings.ReplaceAll(text, groupOf(answers), group)
		r := sessions[user]
		r.say(text)
		o := r.hear()
		for ; number(o, "id") != number(e, "id"); o = r.hear() {
		}
		want := answers[fmt.Sprint(number(e, "id"))]
		if want == nil {
			want = object{"id": o["id"], "sent": object{}}
		}
		if c != nil {
			want = object{"id": o["id"], "connected": object{}}
		}
		if user == "nobody" {
			want = object{"id": o["id"], "error": object{"code": "ERROR_CODE_TOKEN_INVALID"}}
		}
		if !slices.Equal(slices.Sorted(maps.Keys(o)), slices.Sorted(maps.Keys(want))) || within(o, "error")["code"] != within(want, "error")["code"] {
			t.Errorf("%s is answered with %v, the page says %v", text, o, want)
		}
		if within(e, "createGroup") != nil {
			group, _ = within(o, "sent")["conversationId"].(string)
		}
	}
}

// examples are the requests of the page, in an order that makes them true, and the answers by id.
func examples(t *testing.T) (asked []object, answers map[string]object) {
	t.Helper()
	page, err := os.ReadFile("../../proto/README.md")
	if err != nil {
		t.Fatal(err)
	}
	answers = map[string]object{}
	var last []object
	for line := range strings.Lines(string(page)) {
		var o object
		text, request := strings.CutPrefix(line, "→ ")
		text, answer := strings.CutPrefix(text, "← ")
		if !request && !answer {
			continue
		}
		if err := json.Unmarshal([]byte(text), &o); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		id, _ := o["id"].(string)
		switch {
		case request && (within(o, "leaveGroup") != nil || within(o, "getConversation") != nil):
			last = append(last, o) // bob leaves after the example of a message for him alone
		case request:
			asked = append(asked, o)
		case answers[id] == nil:
			answers[id] = o
		}
	}
	if asked = append(asked, last...); len(asked) < 20 || len(answers) < 20 {
		t.Fatalf("%d requests and %d answers are found", len(asked), len(answers))
	}
	return asked, answers
}

// groupOf is the id of the group in the examples.
func groupOf(answers map[string]object) string {
	for _, a := range answers {
		if id, _ := within(a, "conversation")["conversationId"].(string); id != "" {
			return id
		}
	}
	return "no group"
}
