package edge

import (
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/catena-im/catena/pkg/im"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// deliver takes an encoded EdgeBatch of a worker, which it reads in place. It never waits for a client.
func (e *Edge) deliver(data []byte) {
	batch := imv1.EdgeBatchFromVTPool()
	defer batch.ReturnToVTPool()
	if err := batch.UnmarshalVTUnsafe(data); err != nil {
		e.log.Error("delivery", "err", err)
		return
	}
	for _, a := range batch.GetAnswers() {
		e.passAnswer(a)
	}
	if len(batch.GetDeliveries()) == 0 && len(batch.GetReads()) == 0 && batch.GetLaneSequence() == 0 {
		return
	}
	if int(batch.GetUserPartition()) >= len(e.partitions) {
		e.log.Error("delivery of an unknown partition", "partition", batch.GetUserPartition())
		return
	}
	e.partitions[batch.GetUserPartition()].deliver(batch)
	if len(batch.GetDeliveries()) > 0 {
		e.cadence.delivered()
	}
}

func (e *Edge) passAnswer(a *imv1.Answer) {
	s := e.session(a.GetSession())
	if s == nil {
		return
	}
	f := &imv1.ServerFrame{Id: a.GetRequestId()}
	switch result := a.GetResult().(type) {
	case *imv1.Answer_Sent:
		f.Body = &imv1.ServerFrame_Sent{Sent: result.Sent}
	case *imv1.Answer_Error:
		f.Body = &imv1.ServerFrame_Error{Error: result.Error}
	case *imv1.Answer_ReadMarked:
		f.Body = &imv1.ServerFrame_ReadMarked{ReadMarked: result.ReadMarked}
	default:
		return
	}
	s.answer(f)
}

func (p *partition) deliver(batch *imv1.EdgeBatch) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.lane.arrived(batch.GetEpoch(), batch.GetLaneSequence()) {
		p.edge.metrics.lost.Inc()
		p.announce = true
		p.poke()
	}
	for _, d := range batch.GetDeliveries() {
		m := message{data: d.GetMessage()}
		for _, t := range d.GetTargets() {
			u := p.users[im.UserID(t.GetUserId())]
			if u == nil {
				continue
			}
			u.head.index = max(u.head.index, t.GetUserIndex())
			for _, s := range u.sessions {
				s.push(t.GetUserIndex(), &m)
			}
		}
	}
	for _, r := range batch.GetReads() {
		u := p.users[im.UserID(r.GetUserId())]
		if u == nil {
			continue
		}
		u.head.list = max(u.head.list, r.GetMoved().GetListVersion())
		for _, s := range u.sessions {
			s.readMoved(r.GetMoved())
		}
	}
}

// message is a message on its way to many sessions: the bytes are the same for all of them.
type message struct {
	data    []byte
	decoded *imv1.Message // for JSON sessions; nil until one needs it
}

func (m *message) decode() (*imv1.Message, error) {
	if m.decoded == nil {
		decoded := new(imv1.Message)
		if err := proto.Unmarshal(m.data, decoded); err != nil {
			return nil, err
		}
		m.decoded = decoded
	}
	return m.decoded, nil
}

// push sends an entry of the user chain, or drops it when the client reads too slowly: it will be told to pull.
func (s *session) push(index uint64, m *message) {
	if !s.json {
		s.addBinaryPush(index, m.data)
		return
	}
	decoded, err := m.decode()
	if err != nil {
		s.edge.log.Error("delivery", "err", err)
		return
	}
	s.addPush(s.encode(&imv1.ServerFrame{Body: &imv1.ServerFrame_Push{
		Push: &imv1.Push{Entry: &imv1.UserEntry{UserIndex: index, Message: decoded}}}}))
}

func (s *session) readMoved(m *imv1.ReadMoved) {
	s.addPush(s.encode(&imv1.ServerFrame{Body: &imv1.ServerFrame_ReadMoved{ReadMoved: m}}))
}

// addPush queues a push. A session that has not joined yet needs none: it will be told the head.
func (s *session) addPush(frame []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stage != joined || s.parting != nil {
		return
	}
	if !s.out.addPush(frame) {
		s.edge.metrics.dropped.Inc()
	}
	s.startFlush()
}

// The numbers of the fields from ServerFrames down to the message of a push.
const (
	fieldFrame     = 1  // ServerFrames.frames
	fieldPush      = 11 // ServerFrame.push
	fieldEntry     = 1  // Push.entry
	fieldUserIndex = 1  // UserEntry.user_index
	fieldMessage   = 2  // UserEntry.message
)

// addBinaryPush is addPush, composing the frame around the message's bytes in the outbox itself.
func (s *session) addBinaryPush(index uint64, data []byte) {
	entry := protowire.SizeTag(fieldUserIndex) + protowire.SizeVarint(index) + protowire.SizeTag(fieldMessage) + protowire.SizeBytes(len(data))
	push := protowire.SizeTag(fieldEntry) + protowire.SizeBytes(entry)
	frame := protowire.SizeTag(fieldPush) + protowire.SizeBytes(push)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stage != joined || s.parting != nil {
		return
	}
	if s.out.roomForPush(frame) {
		b := protowire.AppendVarint(protowire.AppendTag(s.out.buffer(), fieldFrame, protowire.BytesType), uint64(frame))
		b = protowire.AppendVarint(protowire.AppendTag(b, fieldPush, protowire.BytesType), uint64(push))
		b = protowire.AppendVarint(protowire.AppendTag(b, fieldEntry, protowire.BytesType), uint64(entry))
		b = protowire.AppendVarint(protowire.AppendTag(b, fieldUserIndex, protowire.VarintType), index)
		s.out.waiting = protowire.AppendBytes(protowire.AppendTag(b, fieldMessage, protowire.BytesType), data)
	} else {
		s.edge.metrics.dropped.Inc()
	}
	s.startFlush()
}
