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
}

// NewWriter writes into b.
func NewWriter(l Layout, b *kv.Batch) *Writer { return &Writer{l, b} }

// Entry adds an entry to its conversation's chain, and the record of its MessageID beside it. It returns the encoded
// message, which the batch keeps too.
func (w *Writer) Entry(e *imv1.ChainEntry, digest uint64) (message []byte) {
	m := e.GetMessage()
	c := im.ConversationID(m.GetConversationId())
	value, message := encodeEntry(e)
	w.batch.Put(w.layout.messageKey(c, im.ConversationIndex(m.GetConversationIndex())), value)
	w.batch.Put(w.layout.idKey(c, im.MessageID(m.GetMessageId())), encode(&imv1.MessageIdRecord{
		ConversationIndex: m.GetConversationIndex(),
		Sequence:          e.GetSequence(),
		Ordinal:           e.GetOrdinal(),
		ContentDigest:     digest,
		ServerTimeMs:      m.GetServerTimeMs(),
	}))
	return message
}

// encodeEntry is encode(e), and within it the encoded message.
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
	w.batch.Put(w.layout.headKey(c), encode(h))
}

// Participant sets the membership of u in c.
func (w *Writer) Participant(c im.ConversationID, u im.UserID, p *imv1.Participant) {
	w.batch.Put(w.layout.participantKey(c, u), encode(p))
}

// UserPlace is where an entry stands in the chain of a user.
type UserPlace struct {
	User  im.UserID
	Index im.UserIndex
}

// UserEntry adds e to user chains, at the given places.
func (w *Writer) UserEntry(e *imv1.UserChainEntry, at []UserPlace) {
	value := encode(e) // shared: a batch changes nothing that it is given
	for _, p := range at {
		w.batch.Put(w.layout.entryKey(p.User, p.Index), value)
	}
}

// UserHead sets the state of u's chain.
func (w *Writer) UserHead(u im.UserID, h *imv1.UserHead) {
	w.batch.Put(w.layout.userHeadKey(u), encode(h))
}

// List sets c in the conversation list of u.
func (w *Writer) List(u im.UserID, c im.ConversationID, r *imv1.ListRecord) {
	w.batch.Put(w.layout.listKey(u, c), encode(r))
}

// Progress sets what user partition has applied of conversation partition from.
func (w *Writer) Progress(partition, from int, p *imv1.FanoutProgress) {
	w.batch.Put(progressKey(partition, from), encode(p))
}
