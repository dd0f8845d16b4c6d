package edge

import (
	"testing"

	"google.golang.org/protobuf/proto"

	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// BenchmarkDeliver hands the edge one message for 100 users with one binary session each, whose clients read at once.
func BenchmarkDeliver(b *testing.B) {
	e := &Edge{cfg: Config{}.withDefaults()}
	e.metrics, _ = newMetrics(nil)
	p := newPartition(e, 0)
	e.partitions = []*partition{p}
	batch := &imv1.EdgeBatch{Epoch: 1}
	m, err := proto.Marshal(textMessage("two hundred bytes or so"))
	if err != nil {
		b.Fatal(err)
	}
	d := &imv1.Delivery{Message: m}
	var sessions []*session
	for i := range 100 {
		s := &session{edge: e, stage: joined, flushing: true, out: outbox{limit: 1 << 20, spares: &e.spares}}
		sessions = append(sessions, s)
		p.users[imUser(i)] = &user{sessions: []*session{s}}
		d.Targets = append(d.Targets, &imv1.Target{UserId: string(imUser(i)), UserIndex: 1})
	}
	batch.Deliveries = append(batch.Deliveries, d)
	data, err := proto.Marshal(batch)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		e.deliver(data)
		for _, s := range sessions {
			s.out.waiting = s.out.waiting[:0]
		}
	}
}

// BenchmarkAnswer hands the edge the answer to one request of a binary session, whose client reads at once.
func BenchmarkAnswer(b *testing.B) {
	e := &Edge{cfg: Config{}.withDefaults(), sessions: make(map[uint64]*session)}
	s := &session{edge: e, flushing: true, out: outbox{limit: 1 << 20, spares: &e.spares}}
	e.sessions[1] = s
	data, err := proto.Marshal(&imv1.EdgeBatch{Answers: []*imv1.Answer{{Session: 1, RequestId: 1, Result: &imv1.Answer_Sent{
		Sent: &imv1.Sent{MessageId: make([]byte, 16), ConversationId: "s:alice:bob", ConversationIndex: 1, ServerTimeMs: 1 << 40}}}}})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		s.pending = append(s.pending, pending{id: 1})
		e.deliver(data)
		s.out.waiting = s.out.waiting[:0]
	}
}

// BenchmarkRequest takes one binary Send from its bytes to the payload of a lane.
func BenchmarkRequest(b *testing.B) {
	e := &Edge{cfg: Config{}.withDefaults()}
	e.cfg.FrameRate, e.cfg.FrameBurst = 1<<40, 1<<40
	e.metrics, _ = newMetrics(nil)
	l := newLane(e, "conv.000", wrapCommands, nil)
	e.conv = []*lane{l}
	s := &session{edge: e, authenticated: true, user: "alice"}
	f := sendFrame("m1", "bob", "a text of some length, as people write it")
	f.Id = 1
	data, err := proto.Marshal(&imv1.ClientFrames{Frames: []*imv1.ClientFrame{f}})
	if err != nil {
		b.Fatal(err)
	}
	var batch []waiting
	b.ReportAllocs()
	for b.Loop() {
		s.receive(false, data)
		s.pending = s.pending[:0]
		batch, _ = l.take(batch)
		l.encode(batch)
	}
}
