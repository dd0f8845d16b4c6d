package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// patience bounds every wait; no test depends on how much of it is used.
const patience = 30 * time.Second

// The WebSocket subprotocols.
const (
	speakBinary = "catena.v1"
	speakJSON   = "catena.v1.json"
)

// peer is one connection that speaks frames and does nothing by itself. What the server says is kept in order.
type peer struct {
	t    testing.TB
	conn *websocket.Conn
	json bool
	last uint64 // id of the newest request

	mu    sync.Mutex // guards the fields below
	heard []*imv1.ServerFrame
	more  chan struct{} // closed and replaced when something is heard
	gone  error         // why the connection ended
}

// dial opens a connection that is not authenticated. It is closed at the end of the test.
func dial(t testing.TB, url, speak string) *peer {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{Subprotocols: []string{speak}})
	if err != nil {
		t.Fatalf("dial %s: %v", url, err)
	}
	conn.SetReadLimit(16 << 20)
	p := &peer{t: t, conn: conn, json: speak == speakJSON, more: make(chan struct{})}
	var reading sync.WaitGroup
	reading.Go(p.read)
	t.Cleanup(func() {
		_ = conn.CloseNow()
		reading.Wait()
	})
	return p
}

func (p *peer) read() {
	for {
		_, data, err := p.conn.Read(context.Background())
		var frames []*imv1.ServerFrame
		if err == nil {
			frames, err = decodeFrames(p.json, data)
		}
		p.mu.Lock()
		p.heard = append(p.heard, frames...)
		p.gone = err
		close(p.more)
		p.more = make(chan struct{})
		p.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func decodeFrames(json bool, data []byte) ([]*imv1.ServerFrame, error) {
	if json {
		f := new(imv1.ServerFrame)
		return []*imv1.ServerFrame{f}, protojson.Unmarshal(data, f)
	}
	frames := new(imv1.ServerFrames)
	err := proto.Unmarshal(data, frames)
	return frames.GetFrames(), err
}

// login opens the session of a device.
func login(t testing.TB, on site, user, device, speak string) (*peer, *imv1.Connected) {
	t.Helper()
	p := dial(t, on.url, speak)
	f := p.ask(&imv1.ClientFrame{Body: &imv1.ClientFrame_Connect{Connect: &imv1.Connect{Token: on.token(t, user), DeviceId: device, Platform: "test"}}})
	if f.GetConnected() == nil {
		t.Fatalf("connect as %s: %v", user, f)
	}
	return p, f.GetConnected()
}

// send sends a request and returns its id.
func (p *peer) send(f *imv1.ClientFrame) uint64 {
	p.t.Helper()
	p.last++
	f.Id = p.last
	data, err := proto.Marshal(&imv1.ClientFrames{Frames: []*imv1.ClientFrame{f}})
	if p.json {
		data, err = protojson.Marshal(f)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	p.raw(p.json, data)
	return f.Id
}

// raw sends one WebSocket message as it is. That the connection has ended shows in what is heard.
func (p *peer) raw(text bool, data []byte) {
	kind := websocket.MessageBinary
	if text {
		kind = websocket.MessageText
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_ = p.conn.Write(ctx, kind, data)
}

// find waits for the first thing heard from place from on that holds, and returns it and its place.
func (p *peer) find(from int, what string, holds func(*imv1.ServerFrame) bool) (*imv1.ServerFrame, int) {
	p.t.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		p.mu.Lock()
		heard, more, gone := p.heard, p.more, p.gone
		p.mu.Unlock()
		for ; from < len(heard); from++ {
			if holds(heard[from]) {
				return heard[from], from
			}
		}
		if gone != nil {
			p.t.Fatalf("the connection ended (%v) before %s came; heard%s", gone, what, tail(heard))
		}
		select {
		case <-more:
		case <-late.C:
			p.t.Fatalf("%s did not come; heard%s", what, tail(heard))
		}
	}
}

// tail is the end of what was heard, for people.
func tail(heard []*imv1.ServerFrame) string {
	var out strings.Builder
	for _, f := range heard[max(0, len(heard)-5):] {
		fmt.Fprintf(&out, "\n\t%.300v", f)
	}
	return out.String()
}

// await waits for the answer to a request.
func (p *peer) await(id uint64) *imv1.ServerFrame {
	p.t.Helper()
	f, _ := p.find(0, fmt.Sprintf("the answer to %d", id), func(f *imv1.ServerFrame) bool { return f.GetId() == id })
	return f
}

// answered is the answer to a request if it was heard, else nil.
func (p *peer) answered(id uint64) *imv1.ServerFrame {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.heard {
		if f.GetId() == id {
			return f
		}
	}
	return nil
}

// ask sends a request and waits for its answer.
func (p *peer) ask(f *imv1.ClientFrame) *imv1.ServerFrame {
	p.t.Helper()
	return p.await(p.send(f))
}

// sent sends a command that must succeed.
func (p *peer) sent(f *imv1.ClientFrame) *imv1.Sent {
	p.t.Helper()
	a := p.ask(f)
	if a.GetSent() == nil {
		p.t.Fatalf("%v is answered with %v", f, a)
	}
	return a.GetSent()
}

// refused sends a request that must be refused.
func (p *peer) refused(f *imv1.ClientFrame, want imv1.ErrorCode) *imv1.Error {
	p.t.Helper()
	a := p.ask(f)
	if a.GetError().GetCode() != want || a.GetError().GetText() == "" {
		p.t.Errorf("%v is answered with %v, want %v", f, a, want)
	}
	return a.GetError()
}

// push waits for the push of an entry of the user chain.
func (p *peer) push(index uint64) *imv1.Message {
	p.t.Helper()
	f, _ := p.find(0, fmt.Sprintf("the push of %d", index), func(f *imv1.ServerFrame) bool {
		return f.GetPush().GetEntry().GetUserIndex() == index
	})
	return f.GetPush().GetEntry().GetMessage()
}

// settled waits until the server has handled everything that was sent before, and returns all that was heard.
func (p *peer) settled() []*imv1.ServerFrame {
	p.t.Helper()
	if f := p.ask(&imv1.ClientFrame{Body: &imv1.ClientFrame_Ping{Ping: &imv1.Ping{}}}); f.GetPong() == nil {
		p.t.Fatalf("ping is answered with %v", f)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.heard)
}

// ended waits for the end of the connection and returns its close code and what was told last.
func (p *peer) ended() (websocket.StatusCode, *imv1.ServerFrame) {
	p.t.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		p.mu.Lock()
		heard, more, gone := p.heard, p.more, p.gone
		p.mu.Unlock()
		if gone != nil {
			if len(heard) == 0 {
				return websocket.CloseStatus(gone), nil
			}
			return websocket.CloseStatus(gone), heard[len(heard)-1]
		}
		select {
		case <-more:
		case <-late.C:
			p.t.Fatalf("the connection does not end; heard%s", tail(heard))
		}
	}
}

// chain pulls the user chain page by page and checks that it is contiguous from from on.
func (p *peer) chain(from uint64) []*imv1.UserEntry {
	p.t.Helper()
	var all []*imv1.UserEntry
	for {
		next := from + uint64(len(all))
		page := p.ask(pullUser(&next, nil)).GetUserPage()
		if page == nil {
			p.t.Fatal("the user chain is not answered with a page")
		}
		for i, e := range page.GetEntries() {
			if e.GetUserIndex() != next+uint64(i) {
				p.t.Fatalf("user index %d stands where %d belongs", e.GetUserIndex(), next+uint64(i))
			}
		}
		if all = append(all, page.GetEntries()...); !page.GetHasMore() {
			return all
		}
	}
}

// conversation pulls a conversation chain page by page.
func (p *peer) conversation(id string) []*imv1.Message {
	p.t.Helper()
	var all []*imv1.Message
	for from := uint64(1); ; from = all[len(all)-1].GetConversationIndex() + 1 {
		answer := p.ask(pullConversation(id, &from, nil))
		for tries := 0; answer.GetError().GetCode() == imv1.ErrorCode_ERROR_CODE_UNAVAILABLE && tries < 100; tries++ {
			time.Sleep(100 * time.Millisecond) // the nats server starts anew
			answer = p.ask(pullConversation(id, &from, nil))
		}
		page := answer.GetConversationPage()
		if page == nil {
			p.t.Fatalf("the pull is answered with %v", answer)
		}
		if all = append(all, page.GetMessages()...); !page.GetHasMore() {
			return all
		}
	}
}

// list is the user's conversation list by conversation.
func (p *peer) list() map[string]*imv1.ConversationSummary {
	p.t.Helper()
	a := p.ask(&imv1.ClientFrame{Body: &imv1.ClientFrame_ListConversations{ListConversations: &imv1.ListConversations{}}})
	if a.GetConversationList() == nil || a.GetConversationList().GetNextPageToken() != "" {
		p.t.Fatalf("the list is answered with %v", a)
	}
	all := make(map[string]*imv1.ConversationSummary)
	for _, c := range a.GetConversationList().GetConversations() {
		all[c.GetConversationId()] = c
	}
	return all
}
