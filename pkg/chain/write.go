package chain

import (
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/catena-im/catena/pkg/im"
	"github.com/catena-im/catena/pkg/kv"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// Writer adds records to a batch. The batch's owner commits it under the fence.
type Writer struct {
	layout Layout
	batch  *kv.Batch

	key, value []byte // room for the next record
}

// NewWriter writes into b.
func NewWriter(l Layout, b *kv.Batch) *Writer { return &Writer{layout: l, batch: b} }

// put adds a record under key, which was made in w.key.
func (w *Writer) put(key, value []byte) {
	w.key = key[:0]
	w.batch.Put(key, value)
}

// encode is the stored form of m, made in w.value.
func (w *Writer) encode(m encoder) []byte {
	w.value = appendTo(w.value[:0], m, m.SizeVT())
	return w.value
}

// Entry adds an entry to its conversation's chain, and the record of its MessageID beside it. It returns the encoded
// message.
func (w *Writer) Entry(e *imv1.ChainEntry, digest uint64) (message []byte) {
	m := e.GetMessage()
	c := im.ConversationID(m.GetConversationId())
	value, message := encodeEntry(e)
	w.put(w.layout.messageKey(w.key, c, im.ConversationIndex(m.GetConversationIndex())), value)
	w.put(w.layout.idKey(w.key, c, im.MessageID(m.GetMessageId())), w.encode(&imv1.MessageIdRecord{
		ConversationIndex: m.GetConversationIndex(),
		Sequence:          e.GetSequence(),
		Ordinal:           e.GetOrdinal(),
		ContentDigest:     digest,
		ServerTimeMs:      m.GetServerTimeMs(),
	}))
	return message
}

// encodeEntry is the stored form of e, and within it the encoded message.
func encodeEntry(e *imv1.ChainEntry) (value, message []byte) {
	size := e.GetMessage().SizeVT()
	value = protowire.AppendTag(make([]byte, 0, size+32), fieldMessage, protowire.BytesType)
	value = protowire.AppendVarint(value, uint64(size))
	begin := len(value)
	value = appendTo(value, e.GetMessage(), size)
	message = value[begin:len(value):len(value)]
	if e.GetSequence() != 0 {
		value = protowire.AppendVarint(protowire.AppendTag(value, fieldSequence, protowire.VarintType), e.GetSequence())
	}
	if e.GetOrdinal() != 0 {
		value = protowire.AppendVarint(protowire.AppendTag(value, fieldOrdinal, protowire.VarintType), uint64(e.GetOrdinal()))
	}
	return value, message
}

// ConversationHead sets the state of c.
func (w *Writer) ConversationHead(c im.ConversationID, h *imv1.ConversationHead) {
	w.put(w.layout.headKey(w.key, c), w.encode(h))
}

// Participant sets the membership of u in c.
func (w *Writer) Participant(c im.ConversationID, u im.UserID, p *imv1.Participant) {
	w.put(w.layout.participantKey(w.key, c, u), w.encode(p))
}

// UserPlace is where an entry stands in the chain of a user.
type UserPlace struct {
	User  im.UserID
	Index im.UserIndex
}

// UserEntry adds e to user chains, at the given places.
func (w *Writer) UserEntry(e *imv1.UserChainEntry, at []UserPlace) {
	value := w.encode(e)
	for _, p := range at {
		w.put(w.layout.entryKey(w.key, p.User, p.Index), value)
	}
}

// UserHead sets the state of u's chain.
func (w *Writer) UserHead(u im.UserID, h *imv1.UserHead) {
	w.put(w.layout.userHeadKey(w.key, u), w.encode(h))
}

// List sets c in the conversation list of u.
func (w *Writer) List(u im.UserID, c im.ConversationID, r *imv1.ListRecord) {
	w.put(w.layout.listKey(w.key, u, c), w.encode(r))
}

// Progress sets what user partition has applied of conversation partition from.
func (w *Writer) Progress(partition, from int, p *imv1.FanoutProgress) {
	w.put(progressKey(w.key, partition, from), w.encode(p))
}
