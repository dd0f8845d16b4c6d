package client

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	imv1 "github.com/catena-im/catena/proto/im/v1"
	"github.com/coder/websocket"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds how long a test waits for something, in the bubble's time.
const patience = 10 * time.Minute

// fake is a server whose side of each connection the test plays. All of it lives in one synctest bubble, on pipes.
type fake struct {
	t         *testing.T
	protocols []string
	instead   func(http.ResponseWriter) // answers handshakes; nil: they are accepted
	incoming  chan net.Conn
	conns     chan *peer
	closed    chan struct{}

	mu      sync.Mutex // guards the fields below
	refuse  error      // what the next dials get
	dials   int
	tokens  []string // what Token returned
	records []Event  // what OnEvent got
	changed chan struct{}
}

// bubble runs test against a fake and ends everything after it.
func bubble(t *testing.T, test func(t *testing.T, f *fake)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := &fake{
			t: t, protocols: []string{"catena.v1", "catena.v1.json"},
			incoming: make(chan net.Conn), conns: make(chan *peer, 16),
			closed: make(chan struct{}), changed: make(chan struct{}, 1),
		}
		server := &http.Server{Handler: f}
		var wg sync.WaitGroup
		wg.Go(func() { server.Serve(f) })
		defer wg.Wait()
		defer server.Close()
		test(t, f)
	})
}

func (f *fake) Accept() (net.Conn, error) {
	select {
	case conn := <-f.incoming:
		return conn, nil
	case <-f.closed:
		return nil, net.ErrClosed
	}
}

func (f *fake) Close() error {
	select {
	case <-f.closed:
	default:
		close(f.closed)
	}
	return nil
}

func (f *fake) Addr() net.Addr { return &net.UnixAddr{Name: "fake"} }

func (f *fake) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	f.mu.Lock()
	f.dials++
	err := f.refuse
	f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	ours, theirs := net.Pipe()
	select {
	case f.incoming <- theirs:
		return ours, nil
	case <-f.closed:
		return nil, errors.New("the fake is closed")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (f *fake) setRefuse(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refuse = err
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if f.instead != nil {
		f.instead(w)
		return
	}
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: f.protocols, InsecureSkipVerify: true})
	if err != nil {
		return
	}
	defer conn.CloseNow()
	conn.SetReadLimit(-1)
	p := &peer{f: f, conn: conn, in: make(chan *imv1.ClientFrame, 4096)}
	select {
	case f.conns <- p:
		p.read()
	case <-f.closed:
	}
}

// config is that of a client of this fake, which records its events.
func (f *fake) config() Config {
	return Config{
		URL: "ws://fake/ws", Device: "phone", Dial: f.dial,
		Token: func(context.Context) (string, error) { return f.token(), nil },
		OnEvent: func(e Event) {
			f.mu.Lock()
			f.records = append(f.records, e)
			f.mu.Unlock()
			signal(f.changed)
		},
	}
}

func (f *fake) token() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tokens = append(f.tokens, "token "+string(rune('a'+len(f.tokens))))
	return f.tokens[len(f.tokens)-1]
}

// start runs a client until stop is called, which returns what Run returned.
func (f *fake) start(cfg Config) (c *Client, stop func() error) {
	f.t.Helper()
	c, err := New(cfg)
	if err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error, 1)
	go func() { result <- c.Run(ctx) }()
	var once sync.Once
	stop = func() error {
		once.Do(func() { cancel(); err = <-result })
		return err
	}
	f.t.Cleanup(func() { stop() })
	return c, stop
}

// events are those that the client told so far.
func (f *fake) events() []Event {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]Event(nil), f.records...)
}

// await waits until ok says yes to the events so far.
func (f *fake) await(ok func([]Event) bool) {
	f.t.Helper()
	timeout := time.After(patience)
	for !ok(f.events()) {
		select {
		case <-f.changed:
		case <-timeout:
			f.t.Fatalf("waited in vain; events: %+v", f.events())
		}
	}
}

// of are the events of one kind.
func of[E Event](events []Event) (out []E) {
	for _, e := range events {
		if e, ok := e.(E); ok {
			out = append(out, e)
		}
	}
	return out
}

// peer is the server's side of a connection.
type peer struct {
	f    *fake
	conn *websocket.Conn
	in   chan *imv1.ClientFrame
	end  error // why in was closed
}

func (p *peer) read() {
	defer close(p.in)
	for {
		kind, data, err := p.conn.Read(context.Background())
		if err != nil {
			p.end = err
			return
		}
		var frames imv1.ClientFrames
		if kind == websocket.MessageText {
			var frame imv1.ClientFrame
			err = protojson.Unmarshal(data, &frame)
			frames.Frames = append(frames.Frames, &frame)
		} else {
			err = proto.Unmarshal(data, &frames)
		}
		if err != nil {
			p.f.t.Errorf("the client sent nonsense: %v", err)
			return
		}
		for _, f := range frames.GetFrames() {
			p.in <- f
		}
	}
}

// accept waits for the next connection.
func (f *fake) accept() *peer {
	f.t.Helper()
	select {
	case p := <-f.conns:
		return p
	case <-time.After(patience):
		f.t.Fatal("no connection came")
		return nil
	}
}

// login accepts a connection as alice and answers Connect with head.
func (f *fake) login(head uint64) *peer {
	f.t.Helper()
	return f.loginWith(&imv1.Connected{UserId: "alice", Head: &imv1.Head{UserIndex: head, OldestUserIndex: 1}})
}

func (f *fake) loginWith(answer *imv1.Connected) *peer {
	f.t.Helper()
	p := f.accept()
	first := p.next()
	if first.GetConnect() == nil {
		f.t.Fatalf("the first frame is %v, not Connect", first)
	}
	p.send(&imv1.ServerFrame{Id: first.GetId(), Body: &imv1.ServerFrame_Connected{Connected: answer}})
	return p
}

// next is the next frame of the client that is not a Ping; pings are answered.
func (p *peer) next() *imv1.ClientFrame {
	p.f.t.Helper()
	for {
		f := p.any()
		if f.GetPing() == nil {
			return f
		}
		p.answer(f, &imv1.ServerFrame{Body: &imv1.ServerFrame_Pong{Pong: &imv1.Pong{}}})
	}
}

func (p *peer) any() *imv1.ClientFrame {
	p.f.t.Helper()
	select {
	case f, ok := <-p.in:
		if !ok {
			p.f.t.Fatal("the client closed the connection")
		}
		return f
	case <-time.After(patience):
		p.f.t.Fatal("no frame came")
		return nil
	}
}

// gone waits until the client has closed the connection and returns how.
func (p *peer) gone() error {
	for range p.in {
	}
	return p.end
}

func (p *peer) send(frames ...*imv1.ServerFrame) {
	ctx := context.Background()
	if p.conn.Subprotocol() == "catena.v1.json" {
		for _, f := range frames {
			data, err := protojson.Marshal(f)
			if err != nil {
				p.f.t.Error(err)
			}
			p.conn.Write(ctx, websocket.MessageText, data)
		}
		return
	}
	data, err := proto.Marshal(&imv1.ServerFrames{Frames: frames})
	if err != nil {
		p.f.t.Error(err)
	}
	p.conn.Write(ctx, websocket.MessageBinary, data)
}

func (p *peer) answer(to *imv1.ClientFrame, frame *imv1.ServerFrame) {
	frame.Id = to.GetId()
	p.send(frame)
}

func (p *peer) sent(to *imv1.ClientFrame, index uint64) {
	p.answer(to, &imv1.ServerFrame{Body: &imv1.ServerFrame_Sent{Sent: &imv1.Sent{ConversationIndex: index}}})
}

func (p *peer) fail(to *imv1.ClientFrame, e *imv1.Error) {
	p.answer(to, &imv1.ServerFrame{Body: &imv1.ServerFrame_Error{Error: e}})
}

func (p *peer) push(indexes ...uint64) {
	for _, i := range indexes {
		p.send(&imv1.ServerFrame{Body: &imv1.ServerFrame_Push{Push: &imv1.Push{Entry: entry(i)}}})
	}
}

// page answers a pull with the entries that it asks for, up to head and most of them.
func (p *peer) page(to *imv1.ClientFrame, head uint64, most int) {
	pull := to.GetPullUser()
	if pull == nil {
		p.f.t.Errorf("%v is not a pull of the user chain", to)
	}
	until := head
	if pull.ToIndex != nil {
		until = min(until, pull.GetToIndex())
	}
	page := &imv1.UserPage{Head: &imv1.Head{UserIndex: head, OldestUserIndex: 1}}
	for i := pull.GetFromIndex(); i <= until && len(page.Entries) < min(most, int(pull.GetLimit())); i++ {
		page.Entries = append(page.Entries, entry(i))
	}
	p.answer(to, &imv1.ServerFrame{Body: &imv1.ServerFrame_UserPage{UserPage: page}})
}

func entry(i uint64) *imv1.UserEntry {
	return &imv1.UserEntry{UserIndex: i, Message: &imv1.Message{ConversationId: "s:alice:bob", ConversationIndex: i}}
}

func text(to, id string) Outgoing {
	kind, body := TextBody("text of " + id)
	return Outgoing{To: to, ClientMessageID: id, Type: kind, Body: body}
}
