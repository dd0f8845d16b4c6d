package edge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/catena-im/catena/pkg/im"
	imv1 "github.com/catena-im/catena/proto/im/v1"
	"github.com/catena-im/catena/services/edge/token"
)

var (
	_ Streams = OnBus{}
	_ Inbox   = OnBus{}
	_ Peers   = OnBus{}
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait; no test depends on how much of it is used.
const patience = 20 * time.Second

// signing is the key of all test tokens.
var signing = token.Key{ID: "test", Algorithm: token.HS256, Secret: []byte(strings.Repeat("k", 32))}

// appended is what reached a stream.
type appended struct {
	stream  string // such as conv.0
	id      string
	payload []byte
}

func (a appended) commands(t *testing.T) *imv1.CommandBatch {
	t.Helper()
	batch := new(imv1.CommandBatch)
	if err := proto.Unmarshal(a.payload, batch); err != nil {
		t.Fatal(err)
	}
	return batch
}

// world stands in for the bus, the workers and the history service.
type world struct {
	t *testing.T

	mu      sync.Mutex // guards the fields below
	append  func(ctx context.Context, a appended) error
	session func(*imv1.SessionRequest) (*imv1.SessionReply, error)
	history func(context.Context, *imv1.HistoryRequest) (*imv1.HistoryReply, error)
	plain   bool // the history service is of a version that knows no frames
	deliver func([]byte)
	call    func([]byte)
	batches []appended
}

func newWorld(t *testing.T) *world {
	return &world{
		t:      t,
		append: func(context.Context, appended) error { return nil },
		session: func(r *imv1.SessionRequest) (*imv1.SessionReply, error) {
			return &imv1.SessionReply{Epoch: 1, Known: true, Heads: make([]*imv1.Head, len(r.GetAddUserIds()))}, nil
		},
		history: func(_ context.Context, r *imv1.HistoryRequest) (*imv1.HistoryReply, error) {
			if r.GetGetHead() == nil {
				return nil, errors.New("not served")
			}
			return headReply(0), nil
		},
	}
}

func headReply(index uint64) *imv1.HistoryReply {
	return &imv1.HistoryReply{Body: &imv1.HistoryReply_Head{Head: &imv1.Head{UserIndex: index, OldestUserIndex: 1}}}
}

func (w *world) take(ctx context.Context, a appended) error {
	w.mu.Lock()
	w.batches = append(w.batches, a)
	f := w.append
	w.mu.Unlock()
	return f(ctx, a)
}

func (w *world) AppendConversation(ctx context.Context, p int, id string, payload []byte) error {
	return w.take(ctx, appended{fmt.Sprintf("conv.%d", p), id, slices.Clone(payload)})
}

func (w *world) AppendUser(ctx context.Context, p int, id string, payload []byte) error {
	return w.take(ctx, appended{fmt.Sprintf("user.%d", p), id, slices.Clone(payload)})
}

func (w *world) Deliveries(_ string, handle func([]byte)) (func(), error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deliver = handle
	return func() {}, nil
}

func (w *world) Announcements(handle func([]byte)) (func(), error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.call = handle
	return func() {}, nil
}

func (w *world) Session(_ context.Context, _ int, request []byte) ([]byte, error) {
	r := new(imv1.SessionRequest)
	if err := proto.Unmarshal(request, r); err != nil {
		return nil, err
	}
	w.mu.Lock()
	f := w.session
	w.mu.Unlock()
	reply, err := f(r)
	if err != nil {
		return nil, err
	}
	for i, h := range reply.GetHeads() {
		if h == nil {
			reply.Heads[i] = new(imv1.Head)
		}
	}
	return proto.Marshal(reply)
}

func (w *world) History(ctx context.Context, request []byte) ([]byte, error) {
	r := new(imv1.HistoryRequest)
	if err := proto.Unmarshal(request, r); err != nil {
		return nil, err
	}
	w.mu.Lock()
	f := w.history
	w.mu.Unlock()
	reply, err := f(ctx, r)
	if err != nil {
		return nil, err
	}
	if r.FrameId != nil && !w.plain {
		reply, err = framed(r.GetFrameId(), reply)
	}
	if err != nil {
		return nil, err
	}
	return proto.Marshal(reply)
}

// framed is a page as the history service answers it for a binary session.
func framed(id uint64, reply *imv1.HistoryReply) (*imv1.HistoryReply, error) {
	f := &imv1.ServerFrame{Id: id}
	switch body := reply.GetBody().(type) {
	case *imv1.HistoryReply_ConversationPage:
		f.Body = &imv1.ServerFrame_ConversationPage{ConversationPage: body.ConversationPage}
	case *imv1.HistoryReply_UserPage:
		f.Body = &imv1.ServerFrame_UserPage{UserPage: body.UserPage}
	case *imv1.HistoryReply_ConversationList:
		f.Body = &imv1.ServerFrame_ConversationList{ConversationList: body.ConversationList}
	default:
		return reply, nil
	}
	frame, err := proto.Marshal(&imv1.ServerFrames{Frames: []*imv1.ServerFrame{f}})
	return &imv1.HistoryReply{Body: &imv1.HistoryReply_Frame{Frame: frame}}, err
}

// taken is what was appended so far.
func (w *world) taken() []appended {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]appended(nil), w.batches...)
}

// say hands a batch to the edge as a worker would.
func (w *world) say(b *imv1.EdgeBatch) {
	w.t.Helper()
	data, err := proto.Marshal(b)
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	f := w.deliver
	w.mu.Unlock()
	f(data)
}

// sends answers every command of a batch with Sent, as a worker would after its commit.
func (w *world) sends(a appended) {
	batch := a.commands(w.t)
	answers := &imv1.EdgeBatch{}
	for i, c := range batch.GetCommands() {
		answers.Answers = append(answers.Answers, &imv1.Answer{Session: c.GetSession(), RequestId: c.GetRequestId(),
			Result: &imv1.Answer_Sent{Sent: &imv1.Sent{ConversationId: c.GetConversationId(), ConversationIndex: uint64(i + 1)}}})
	}
	w.say(answers)
}

// push delivers one message to users whose chains stand at index.
func (w *world) push(sequence, index uint64, text string, users ...string) {
	m, err := proto.Marshal(textMessage(text))
	if err != nil {
		w.t.Fatal(err)
	}
	d := &imv1.Delivery{Message: m}
	for _, u := range users {
		d.Targets = append(d.Targets, &imv1.Target{UserId: u, UserIndex: index})
	}
	w.say(&imv1.EdgeBatch{Deliveries: []*imv1.Delivery{d}, Epoch: 1, LaneSequence: sequence})
}

func textMessage(text string) *imv1.Message {
	return &imv1.Message{ConversationId: "s:alice:bob", Type: imv1.MessageType_MESSAGE_TYPE_TEXT, Body: textBody(text)}
}

func textBody(text string) *imv1.Body {
	return &imv1.Body{Content: &imv1.Body_Text{Text: &imv1.TextBody{Text: text}}}
}

// server is a running edge.
type server struct {
	*world
	edge *Edge
	url  string
	addr string
	stop func() // ends Run and waits for it
}

// serve runs an edge with one partition of each kind, unless the configuration says otherwise.
func serve(t *testing.T, w *world, cfg Config) *server {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, listener, w, cfg)
}

// serveOn is serve with a listener of the test's own.
func serveOn(t *testing.T, listener net.Listener, w *world, cfg Config) *server {
	t.Helper()
	fill(&cfg.ConvPartitions, 1)
	fill(&cfg.UserPartitions, 1)
	fill(&cfg.SweepEvery, 5*time.Millisecond)
	cfg.Tokens = token.Config{Keys: []token.Key{signing}}
	e, err := New(cfg, Deps{Listener: listener, Streams: w, Inbox: w, Peers: w, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(stop)
	addr := listener.Addr().String()
	return &server{world: w, edge: e, url: "ws://" + addr + "/ws", addr: addr, stop: stop}
}

// eventually waits until f holds.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !f() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// peer is a client.
type peer struct {
	t    *testing.T
	conn *websocket.Conn
	json bool
	got  []*imv1.ServerFrame // received, not looked at
	last uint64              // id of the last request
}

func (s *server) dial(t *testing.T, protocol string) *peer {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, s.url, &websocket.DialOptions{Subprotocols: []string{protocol}})
	if err != nil {
		t.Fatal(err)
	}
	conn.SetReadLimit(-1)
	t.Cleanup(func() { _ = conn.CloseNow() })
	return &peer{t: t, conn: conn, json: protocol == protocolJSON}
}

// login connects a device in a binary session.
func (s *server) login(t *testing.T, user, device string) *peer {
	t.Helper()
	p := s.dial(t, protocolBinary)
	p.connect(user, device)
	return p
}

func tokenFor(t *testing.T, user, device string, expires time.Time) string {
	t.Helper()
	signed, err := token.Issue(signing, "", token.Claims{User: im.UserID(user), Device: im.DeviceID(device), Expires: expires})
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func (p *peer) connect(user, device string) *imv1.Connected {
	p.t.Helper()
	f := p.ask(&imv1.ClientFrame{Body: &imv1.ClientFrame_Connect{Connect: &imv1.Connect{
		Token: tokenFor(p.t, user, "", time.Now().Add(time.Hour)), DeviceId: device}}})
	if f.GetConnected() == nil {
		p.t.Fatalf("connect: got %v", f)
	}
	return f.GetConnected()
}

// send sends one request and returns its id.
func (p *peer) send(f *imv1.ClientFrame) uint64 {
	p.t.Helper()
	if f.Id == 0 {
		p.last++
		f.Id = p.last
	}
	var data []byte
	var err error
	if p.json {
		data, err = protojson.Marshal(f)
	} else {
		data, err = proto.Marshal(&imv1.ClientFrames{Frames: []*imv1.ClientFrame{f}})
	}
	if err != nil {
		p.t.Fatal(err)
	}
	p.raw(p.json, data)
	return f.GetId()
}

func (p *peer) raw(text bool, data []byte) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	typ := websocket.MessageBinary
	if text {
		typ = websocket.MessageText
	}
	if err := p.conn.Write(ctx, typ, data); err != nil {
		p.t.Fatalf("write: %v", err)
	}
}

// next returns the next frame.
func (p *peer) next() *imv1.ServerFrame {
	p.t.Helper()
	for len(p.got) == 0 {
		if err := p.more(); err != nil {
			p.t.Fatalf("read: %v", err)
		}
	}
	f := p.got[0]
	p.got = p.got[1:]
	return f
}

func (p *peer) more() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	typ, data, err := p.conn.Read(ctx)
	if err != nil {
		return err
	}
	if p.json != (typ == websocket.MessageText) {
		return fmt.Errorf("message of type %v", typ)
	}
	if p.json {
		f := new(imv1.ServerFrame)
		p.got = append(p.got, f)
		return protojson.Unmarshal(data, f)
	}
	frames := new(imv1.ServerFrames)
	err = proto.Unmarshal(data, frames)
	p.got = append(p.got, frames.GetFrames()...)
	return err
}

// await returns the answer to a request; other frames before it are an error.
func (p *peer) await(id uint64) *imv1.ServerFrame {
	p.t.Helper()
	f := p.next()
	if f.GetId() != id {
		p.t.Fatalf("got %v, want the answer to %d", f, id)
	}
	return f
}

func (p *peer) ask(f *imv1.ClientFrame) *imv1.ServerFrame {
	p.t.Helper()
	return p.await(p.send(f))
}

// ping proves that the connection lives and that nothing else was said before.
func (p *peer) ping() {
	p.t.Helper()
	if f := p.ask(&imv1.ClientFrame{Body: &imv1.ClientFrame_Ping{Ping: &imv1.Ping{}}}); f.GetPong() == nil {
		p.t.Fatalf("got %v, want pong", f)
	}
}

// closed reads until the connection is closed and returns the errors told before and the close code.
func (p *peer) closed() (told []imv1.ErrorCode, code int) {
	p.t.Helper()
	for {
		if err := p.more(); err != nil {
			for _, f := range p.got {
				if f.GetError() != nil {
					told = append(told, f.GetError().GetCode())
				}
			}
			var closing websocket.CloseError
			if !errors.As(err, &closing) {
				p.t.Fatalf("the connection ended without a close frame: %v; got %v", err, p.got)
			}
			return told, int(closing.Code)
		}
	}
}

// wantClosed checks how the connection is closed.
func (p *peer) wantClosed(code int, told ...imv1.ErrorCode) {
	p.t.Helper()
	gotTold, gotCode := p.closed()
	if gotCode != code || fmt.Sprint(gotTold) != fmt.Sprint(told) {
		p.t.Errorf("closed with %d after %v, want %d after %v", gotCode, gotTold, code, told)
	}
}

func sendFrame(id string, to string, text string) *imv1.ClientFrame {
	return &imv1.ClientFrame{Body: &imv1.ClientFrame_Send{Send: &imv1.Send{
		ToUserId: to, ClientMessageId: id, Type: imv1.MessageType_MESSAGE_TYPE_TEXT, Body: textBody(text)}}}
}

func farAway() time.Time { return time.Now().Add(time.Hour) }
