package edge

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/lxzan/gws"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	imv1 "github.com/catena-im/catena/proto/im/v1"
)

func TestPushReachesEveryDeviceWithItsOwnIndex(t *testing.T) {
	s := serve(t, newWorld(t), Config{})
	phone, web := s.login(t, "alice", "phone"), s.dial(t, protocolJSON)
	web.connect("alice", "web")
	bob := s.login(t, "bob", "d")
	m, err := proto.Marshal(textMessage("hi"))
	if err != nil {
		t.Fatal(err)
	}
	s.say(&imv1.EdgeBatch{Epoch: 1, LaneSequence: 1,
		Deliveries: []*imv1.Delivery{{Message: m, Targets: []*imv1.Target{{UserId: "alice", UserIndex: 300}, {UserId: "bob", UserIndex: 2}, {UserId: "nobody", UserIndex: 1}}}},
		Reads:      []*imv1.ReadDelivery{{UserId: "alice", Moved: &imv1.ReadMoved{ConversationId: "s:alice:bob", ReadIndex: 4, ListVersion: 9}}}})
	for p, index := range map[*peer]uint64{phone: 300, web: 300, bob: 2} {
		want := &imv1.ServerFrame{Body: &imv1.ServerFrame_Push{Push: &imv1.Push{Entry: &imv1.UserEntry{UserIndex: index, Message: textMessage("hi")}}}}
		if got := p.next(); !proto.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	for _, p := range []*peer{phone, web} {
		if got := p.next(); got.GetReadMoved().GetListVersion() != 9 {
			t.Errorf("got %v, want read_moved", got)
		}
	}
	bob.ping()
}

func TestBadDeliveriesAreIgnored(t *testing.T) {
	s := serve(t, newWorld(t), Config{})
	p := s.login(t, "alice", "d")
	s.deliver([]byte("\xff\xff"))
	s.call([]byte("\xff\xff"))
	s.say(&imv1.EdgeBatch{UserPartition: 99, LaneSequence: 1})
	s.say(&imv1.EdgeBatch{Answers: []*imv1.Answer{{Session: 99, RequestId: 1, Result: &imv1.Answer_Sent{Sent: &imv1.Sent{}}}, {Session: 1, RequestId: 1}}})
	call, err := proto.Marshal(&imv1.SessionCall{Partition: 99})
	if err != nil {
		t.Fatal(err)
	}
	s.call(call)
	p.ping()
}

func TestPushesBeforeConnectedAreInItsHead(t *testing.T) {
	w := newWorld(t)
	asked, answer := make(chan struct{}), make(chan struct{})
	w.history = func(context.Context, *imv1.HistoryRequest) (*imv1.HistoryReply, error) {
		close(asked)
		<-answer
		return headReply(4), nil
	}
	s := serve(t, w, Config{})
	p := s.dial(t, protocolBinary)
	go func() {
		<-asked
		w.push(1, 5, "while connecting", "alice")
		close(answer)
	}()
	if c := p.connect("alice", "d"); c.GetHead().GetUserIndex() != 5 || c.GetHead().GetOldestUserIndex() != 1 {
		t.Errorf("got %v, want head 5", c.GetHead())
	}
	w.push(2, 6, "after", "alice")
	if f := p.next(); f.GetPush().GetEntry().GetUserIndex() != 6 {
		t.Errorf("got %v, want push 6", f)
	}
}

// tightBuffers makes the kernel hold little of what a client does not read.
func tightBuffers(t *testing.T, s *session) {
	t.Helper()
	if err := s.link.Conn.(interface{ SetWriteBuffer(int) error }).SetWriteBuffer(4 << 10); err != nil {
		t.Fatal(err)
	}
}

// clog pushes to a client that does not read until a push is dropped, and returns the last index.
func clog(t *testing.T, s *server, user string) uint64 {
	t.Helper()
	text := strings.Repeat("x", 32<<10)
	index := uint64(0)
	eventually(t, "a push is dropped", func() bool {
		index++
		s.push(index, index, text, user)
		session := s.edge.session(1)
		session.mu.Lock()
		defer session.mu.Unlock()
		return session.out.gap
	})
	return index
}

func TestSlowReaderLosesPushesAndIsToldTheHead(t *testing.T) {
	s := serve(t, newWorld(t), Config{QueueBytes: 64 << 10})
	p := s.login(t, "alice", "d")
	quick := s.login(t, "alice", "quick")
	tightBuffers(t, s.edge.session(1))
	go func() { // reads on, so that only one device is slow
		for quick.more() == nil {
		}
	}()
	last := clog(t, s, "alice")
	pushed := uint64(0)
	for {
		f := p.next()
		if i := f.GetPush().GetEntry().GetUserIndex(); i > 0 {
			if i != pushed+1 {
				t.Fatalf("push %d came after %d", i, pushed)
			}
			pushed = i
			continue
		}
		// Pushes may be dropped before the socket is full, when the flusher comes late; then there is a head for these too.
		head := f.GetHead().GetUserIndex()
		if head <= pushed || head > last {
			t.Fatalf("got %v after %d, want a head beyond it, up to %d", f, pushed, last)
		}
		if pushed = head; head == last {
			break
		}
	}
	s.push(last+1, last+1, "again", "alice")
	if f := p.next(); f.GetPush().GetEntry().GetUserIndex() != last+1 {
		t.Errorf("got %v, want push %d", f, last+1)
	}
}

func TestPushLargerThanTheQueueBecomesAHead(t *testing.T) {
	s := serve(t, newWorld(t), Config{QueueBytes: 1024})
	p := s.login(t, "alice", "d")
	s.push(1, 1, strings.Repeat("x", 2000), "alice")
	if f := p.next(); f.GetHead().GetUserIndex() != 1 {
		t.Errorf("got %v, want head 1", f)
	}
}

func TestClientThatNeverReadsIsCutOff(t *testing.T) {
	s := serve(t, newWorld(t), Config{QueueBytes: 64 << 10, WriteTimeout: 20e6})
	w := s.wire(t, upgradeRequest)
	if _, err := http.ReadResponse(w.in, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(wireConnect(t, "alice")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(w.in, make([]byte, 2)); err != nil {
		t.Fatal(err)
	}
	tightBuffers(t, s.edge.session(1))
	other := s.login(t, "bob", "d")
	text, index := strings.Repeat("x", 32<<10), uint64(0)
	eventually(t, "the session ends", func() bool { // a dropped push does not show that the socket is full: the flusher may come late
		index++
		s.push(index, index, text, "alice")
		return s.edge.session(1) == nil
	})
	other.ping()
}

// gws takes away the deadline that the answer to the handshake had.
func TestWritesSoonAfterTheHandshakeHaveATime(t *testing.T) {
	s := serve(t, newWorld(t), Config{WriteTimeout: time.Second})
	s.login(t, "alice", "d") // and reads no more
	tightBuffers(t, s.edge.session(1))
	for i := range uint64(100) { // within a quarter of that second
		s.push(i+1, i+1, strings.Repeat("x", 30<<10), "alice")
	}
	eventually(t, "the session ends", func() bool { return s.edge.session(1) == nil })
}

func TestPushBytesAreThoseOfTheEncoder(t *testing.T) {
	for _, index := range []uint64{1, 127, 128, 1 << 40} {
		for _, size := range []int{0, 100, 20_000} {
			m := textMessage(strings.Repeat("x", size))
			data, err := proto.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			s := &session{edge: &Edge{}, stage: joined, flushing: true, out: outbox{limit: 1 << 20, spares: new(spares)}}
			s.push(index, &message{data: data})
			got := new(imv1.ServerFrames)
			if err := proto.Unmarshal(s.out.waiting, got); err != nil {
				t.Fatal(err)
			}
			want := &imv1.ServerFrames{Frames: []*imv1.ServerFrame{{Body: &imv1.ServerFrame_Push{Push: &imv1.Push{Entry: &imv1.UserEntry{UserIndex: index, Message: m}}}}}}
			if !proto.Equal(got, want) {
				t.Errorf("index %d, %d bytes: got %v", index, size, got)
			}
		}
	}
}

// recorded keeps each write.
type recorded struct {
	net.Conn
	writes [][]byte
}

func (r *recorded) Write(p []byte) (int, error) {
	r.writes = append(r.writes, bytes.Clone(p))
	return len(p), nil
}

func (r *recorded) SetWriteDeadline(time.Time) error { return nil }

// What is small leaves with one write, whatever the session speaks: a pong, and the messages behind it.
func TestWebSocketFramesLeaveTogether(t *testing.T) {
	contents := []string{"one", strings.Repeat("2", 200), "three", strings.Repeat("4", maxJoined), "five"}
	var chunk []byte
	for _, c := range contents {
		chunk = append(append(chunk, entry(len(c))...), c...)
	}
	for name, tt := range map[string]struct {
		json         bool
		writes, sent int
	}{
		"binary": {false, 3, 3},
		"JSON":   {true, 3, len(contents)},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := newMetrics(nil)
			if err != nil {
				t.Fatal(err)
			}
			conn := new(recorded)
			s := &session{edge: &Edge{metrics: m}, json: tt.json, link: &link{Conn: conn, timeout: time.Second}}
			if err := s.write(errand{chunk: chunk, pong: []byte("p")}); err != nil {
				t.Fatal(err)
			}
			var want []byte
			want = appendWire(want, gws.OpcodePong, []byte("p"))
			cut, opcode := nextJoined, gws.OpcodeBinary
			if tt.json {
				cut, opcode = nextSingle, gws.OpcodeText
			}
			sent := 0
			for rest := chunk; len(rest) > 0; sent++ {
				var message []byte
				message, rest = cut(rest)
				want = appendWire(want, opcode, message)
			}
			if got := bytes.Join(conn.writes, nil); !bytes.Equal(got, want) {
				t.Errorf("%d bytes were written that are not the %d of all frames in order", len(got), len(want))
			}
			if len(conn.writes) != tt.writes || sent != tt.sent {
				t.Errorf("%d messages left with %d writes, want %d and %d", sent, len(conn.writes), tt.sent, tt.writes)
			}
		})
	}
}

func TestJoinedMessagesAreCutBetweenFrames(t *testing.T) {
	o := outbox{limit: 1 << 20, spares: new(spares)}
	sizes := []int{10, maxJoined, 1000, maxJoined - 1100, 50, 60_000, 60_000}
	for _, n := range sizes {
		o.add(make([]byte, n))
	}
	chunk := o.take()
	var frames, messages int
	for rest := chunk; len(rest) > 0; {
		var message []byte
		message, rest = nextJoined(rest)
		messages++
		inside := 0
		for len(message) > 0 {
			_, _, n := protowire.ConsumeField(message)
			if n < 0 {
				t.Fatal("a message ends within a frame")
			}
			message = message[n:]
			inside++
		}
		frames += inside
	}
	if frames != len(sizes) || messages != 5 {
		t.Errorf("got %d frames in %d messages, want %d in 5", frames, messages, len(sizes))
	}
}
