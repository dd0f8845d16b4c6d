package chain

import (
	"context"
	"encoding/binary"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/catena-im/catena/pkg/im"
	"github.com/catena-im/catena/pkg/kv"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// Reader reads records from one snapshot. Absent records come back as nil without an error.
type Reader struct {
	layout Layout
	snap   kv.Snapshot
}

// NewReader reads from snap, which the caller releases.
func NewReader(l Layout, snap kv.Snapshot) *Reader { return &Reader{l, snap} }

// get reads the record under key into a new T.
func get[T any, P interface {
	*T
	proto.Message
}](ctx context.Context, r *Reader, key []byte) (P, error) {
	v, err := r.snap.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	m := P(new(T))
	if found, err := decode(v, m); !found {
		return nil, err
	}
	return m, nil
}

// batchGet reads the records under keys, in their order.
func batchGet[T any, P interface {
	*T
	proto.Message
}](ctx context.Context, r *Reader, keys [][]byte) ([]P, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	values, err := r.snap.BatchGet(ctx, keys)
	if err != nil {
		return nil, err
	}
	out := make([]P, len(keys))
	for i, v := range values {
		if v == nil {
			continue // as the ids of new messages are
		}
		out[i] = new(T)
		if _, err := decode(v, out[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Ref names an entry of a conversation chain.
type Ref struct {
	Conversation im.ConversationID
	Index        im.ConversationIndex
}

// MessageRef names a message by its id.
type MessageRef struct {
	Conversation im.ConversationID
	ID           im.MessageID
}

// ConversationHeads returns the states of cs, in their order.
func (r *Reader) ConversationHeads(ctx context.Context, cs []im.ConversationID) ([]*imv1.ConversationHead, error) {
	return batchGet[imv1.ConversationHead](ctx, r, keysOf(cs, r.layout.headKey))
}

// ConversationHead returns the state of c.
func (r *Reader) ConversationHead(ctx context.Context, c im.ConversationID) (*imv1.ConversationHead, error) {
	return get[imv1.ConversationHead](ctx, r, r.layout.headKey(nil, c))
}

// Participant returns the membership of u in c.
func (r *Reader) Participant(ctx context.Context, c im.ConversationID, u im.UserID) (*imv1.Participant, error) {
	return get[imv1.Participant](ctx, r, r.layout.participantKey(nil, c, u))
}

// Memberships returns the memberships of u in cs, in their order.
func (r *Reader) Memberships(ctx context.Context, cs []im.ConversationID, u im.UserID) ([]*imv1.Participant, error) {
	return batchGet[imv1.Participant](ctx, r, keysOf(cs, func(k []byte, c im.ConversationID) []byte {
		return r.layout.participantKey(k, c, u)
	}))
}

// Participants returns everybody who is or was in c.
func (r *Reader) Participants(ctx context.Context, c im.ConversationID) (map[im.UserID]*imv1.Participant, error) {
	out := make(map[im.UserID]*imv1.Participant)
	p := r.layout.convKey(nil, c, tagParticipant)
	err := r.snap.Scan(ctx, kv.Range{Start: p, End: end(p)}, func(key, value []byte) error {
		k, err := DecodeKey(key)
		if err != nil {
			return err
		}
		m := new(imv1.Participant)
		if _, err := decode(value, m); err != nil {
			return err
		}
		out[k.User] = m
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("participants of %s: %w", c, err)
	}
	return out, nil
}

// MessageIDs returns the records of refs, in their order.
func (r *Reader) MessageIDs(ctx context.Context, refs []MessageRef) ([]*imv1.MessageIdRecord, error) {
	return batchGet[imv1.MessageIdRecord](ctx, r, keysOf(refs, func(k []byte, m MessageRef) []byte {
		return r.layout.idKey(k, m.Conversation, m.ID)
	}))
}

// Entries returns the chain entries at refs, in their order.
func (r *Reader) Entries(ctx context.Context, refs []Ref) ([]*imv1.ChainEntry, error) {
	return batchGet[imv1.ChainEntry](ctx, r, keysOf(refs, func(k []byte, e Ref) []byte {
		return r.layout.messageKey(k, e.Conversation, e.Index)
	}))
}

// StoredEntries returns the chain entries at refs, in their order, encoded.
func (r *Reader) StoredEntries(ctx context.Context, refs []Ref) ([]Stored, error) {
	values, err := r.snap.BatchGet(ctx, keysOf(refs, func(k []byte, e Ref) []byte {
		return r.layout.messageKey(k, e.Conversation, e.Index)
	}))
	if err != nil {
		return nil, err
	}
	out := make([]Stored, len(values))
	for i, v := range values {
		if out[i], err = storedOf(v); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// ScanEntries calls fn for the entries of c from index from to index to, both included, in rising order or, with
// reverse, in falling order, until fn answers kv.Stop. An entry is valid in fn only.
func (r *Reader) ScanEntries(ctx context.Context, c im.ConversationID, from, to im.ConversationIndex, reverse bool,
	fn func(Stored) error,
) error {
	rng := kv.Range{Start: r.layout.messageKey(nil, c, from), End: append(r.layout.messageKey(nil, c, to), 0), Reverse: reverse}
	return r.snap.Scan(ctx, rng, func(_, value []byte) error {
		s, err := storedOf(value)
		if err != nil {
			return err
		}
		return fn(s)
	})
}

// UserHeads returns the states of the chains of us, in their order.
func (r *Reader) UserHeads(ctx context.Context, us []im.UserID) ([]*imv1.UserHead, error) {
	return batchGet[imv1.UserHead](ctx, r, keysOf(us, r.layout.userHeadKey))
}

// UserHead returns the state of u's chain.
func (r *Reader) UserHead(ctx context.Context, u im.UserID) (*imv1.UserHead, error) {
	return get[imv1.UserHead](ctx, r, r.layout.userHeadKey(nil, u))
}

// ScanUser calls fn for the entries of u's chain from index from to index to, both included, in rising order or, with
// reverse, in falling order, until fn answers kv.Stop.
func (r *Reader) ScanUser(ctx context.Context, u im.UserID, from, to im.UserIndex, reverse bool,
	fn func(im.UserIndex, Ref) error,
) error {
	rng := kv.Range{Start: r.layout.entryKey(nil, u, from), End: append(r.layout.entryKey(nil, u, to), 0), Reverse: reverse}
	var ref Ref // of the entry before: neighbours are often of one conversation, whose id need not be copied again
	return r.snap.Scan(ctx, rng, func(key, value []byte) error {
		ref.Index = 0
		err := walk(value, func(num protowire.Number, content []byte, number uint64) {
			switch {
			case num == fieldEntryConversation && string(content) != string(ref.Conversation):
				ref.Conversation = im.ConversationID(content)
			case num == fieldEntryIndex:
				ref.Index = im.ConversationIndex(number)
			}
		})
		if err != nil {
			return fmt.Errorf("decode entry of the chain of %s: %w", u, err)
		}
		return fn(im.UserIndex(binary.BigEndian.Uint64(key[len(key)-8:])), ref)
	})
}

// ListRef names a conversation in a user's conversation list.
type ListRef struct {
	User         im.UserID
	Conversation im.ConversationID
}

// Lists returns the list records of refs, in their order.
func (r *Reader) Lists(ctx context.Context, refs []ListRef) ([]*imv1.ListRecord, error) {
	return batchGet[imv1.ListRecord](ctx, r, keysOf(refs, func(k []byte, l ListRef) []byte {
		return r.layout.listKey(k, l.User, l.Conversation)
	}))
}

// ScanList calls fn for the conversations in u's list behind after (all when it is empty), ordered by id, until fn
// answers kv.Stop.
func (r *Reader) ScanList(ctx context.Context, u im.UserID, after im.ConversationID,
	fn func(im.ConversationID, *imv1.ListRecord) error,
) error {
	p := r.layout.userKey(nil, u, tagList)
	start := p
	if after != "" {
		start = append(r.layout.listKey(nil, u, after), 0)
	}
	return r.snap.Scan(ctx, kv.Range{Start: start, End: end(p)}, func(key, value []byte) error {
		k, err := DecodeKey(key)
		if err != nil {
			return err
		}
		rec := new(imv1.ListRecord)
		if _, err := decode(value, rec); err != nil {
			return err
		}
		return fn(k.Conversation, rec)
	})
}

// Progress returns what user partition has applied of each of the conversation partitions, by their numbers.
func (r *Reader) Progress(ctx context.Context, partition int) ([]*imv1.FanoutProgress, error) {
	keys := make([][]byte, r.layout.ConvPartitions)
	for from := range keys {
		keys[from] = progressKey(nil, partition, from)
	}
	return batchGet[imv1.FanoutProgress](ctx, r, keys)
}

// keysOf are the keys of refs, one behind the other in the same memory.
func keysOf[T any](refs []T, key func(k []byte, ref T) []byte) [][]byte {
	keys, room := make([][]byte, len(refs)), make([]byte, 0, usualKey*len(refs))
	for i, ref := range refs {
		begin := len(room)
		room = key(room, ref)
		keys[i] = room[begin:len(room):len(room)]
	}
	return keys
}

// HeadOf is h as clients get it; nil is an empty chain.
func HeadOf(h *imv1.UserHead) *imv1.Head {
	return &imv1.Head{
		UserIndex: h.GetLastIndex(), OldestUserIndex: max(h.GetOldestIndex(), 1), ListVersion: h.GetListVersion(),
	}
}

// ScanPartition calls fn for every chain entry of a conversation partition, conversation by conversation, until fn
// answers kv.Stop.
func (r *Reader) ScanPartition(ctx context.Context, partition int, fn func(*imv1.ChainEntry) error) error {
	p := prefix(nil, Conv, partition, tagNamed)
	return r.snap.Scan(ctx, kv.Range{Start: p, End: end(p)}, func(key, value []byte) error {
		k, err := DecodeKey(key)
		if err != nil || k.Record != RecordChainEntry {
			return err
		}
		e := new(imv1.ChainEntry)
		if _, err := decode(value, e); err != nil {
			return err
		}
		return fn(e)
	})
}
