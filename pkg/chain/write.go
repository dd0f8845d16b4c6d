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
	entry      imv1.UserChainEntry
}

// NewWriter writes into b.
func NewWriter(l Layout, b *kv.Batch) *Writer { return &Writer{layout: l, batch: b} }

// put adds a record under key, which was made in w.key.
func (w *Writer) put(key, value []byte) {
	w.key = key[:0]
	w.batch.Put(key, value)
}

// encode is the stored form of m, made in w.value.
// The same record makes the same bytes, so that a replay writes what was there.
func (w *Writer) encode(m imv1.Encoder) []byte {
	w.value = imv1.Append(w.value[:0], m)
	return w.value
}

// Entry adds m to its conversation's chain, with the place of its command in the stream, and the record of its MessageID
// beside it. It returns the encoded message.
func (w *Writer) Entry(m *imv1.Message, sequence uint64, ordinal uint32, digest uint64) (message []byte) {
	c := im.ConversationID(m.GetConversationId())
	value, message := encodeEntry(m, sequence, ordinal)
	w.put(w.layout.messageKey(w.key, c, im.ConversationIndex(m.GetConversationIndex())), value)
	w.put(w.layout.idKey(w.key, c, im.MessageID(m.GetMessageId())), w.encode(&imv1.MessageIdRecord{
		ConversationIndex: m.GetConversationIndex(),
		Sequence:          sequence,
		Ordinal:           ordinal,
		ContentDigest:     digest,
		ServerTimeMs:      m.GetServerTimeMs(),
	}))
	return message
}

// encodeEntry is the stored form of an im.v1.ChainEntry, and within it the encoded message.
func encodeEntry(m *imv1.Message, sequence uint64, ordinal uint32) (value, message []byte) {
	size := m.SizeVT()
	value = protowire.AppendTag(make([]byte, 0, size+32), fieldMessage, protowire.BytesType)
	value = protowire.AppendVarint(value, uint64(size))
	begin := len(value)
	value = imv1.AppendSized(value, m, size)
	message = value[begin:len(value):len(value)]
	if sequence != 0 {
		value = protowire.AppendVarint(protowire.AppendTag(value, fieldSequence, protowire.VarintType), sequence)
	}
	if ordinal != 0 {
		value = protowire.AppendVarint(protowire.AppendTag(value, fieldOrdinal, protowire.VarintType), uint64(ordinal))
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

// UserEntry adds what names a message to u's chain.
func (w *Writer) UserEntry(u im.UserID, i im.UserIndex, message Ref) {
	w.entry.ConversationId, w.entry.ConversationIndex = string(message.Conversation), uint64(message.Index)
	w.put(w.layout.entryKey(w.key, u, i), w.encode(&w.entry))
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
