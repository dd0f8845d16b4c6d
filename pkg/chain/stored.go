package chain

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/catena-im/catena/pkg/im"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// Stored is an entry of a conversation chain as the store keeps it, taken apart only as far as it needs to be known who
// may see it. A pull hands Message on as it is. The slices belong to whoever handed the entry out.
type Stored struct {
	Index   im.ConversationIndex
	Message []byte // an encoded im.v1.Message; nil: there is no such entry

	value      []byte // an encoded im.v1.ChainEntry
	sender     []byte
	kind       imv1.MessageType
	visibility im.Visibility
}

// The numbers of the fields that are read without decoding the rest.
const (
	fieldMessage  = 1 // of im.v1.ChainEntry
	fieldSequence = 2
	fieldOrdinal  = 3

	fieldConversation = 3 // of im.v1.Message
	fieldIndex        = 4
	fieldSender       = 5
	fieldType         = 7
	fieldVisibility   = 8
	fieldServerTime   = 10

	fieldEntryConversation = 1 // of im.v1.UserChainEntry
	fieldEntryIndex        = 2
)

// storedOf takes an encoded im.v1.ChainEntry apart and keeps slices of it.
func storedOf(value []byte) (s Stored, err error) {
	s.value = value
	err = walk(value, func(num protowire.Number, content []byte, _ uint64) {
		if num == fieldMessage {
			s.Message = content
		}
	})
	var visibility []byte
	if err == nil {
		err = walk(s.Message, func(num protowire.Number, content []byte, number uint64) {
			switch num {
			case fieldIndex:
				s.Index = im.ConversationIndex(number)
			case fieldSender:
				s.sender = content
			case fieldType:
				s.kind = imv1.MessageType(number)
			case fieldVisibility:
				visibility = content
			}
		})
	}
	if err == nil && visibility != nil {
		v := new(imv1.Visibility)
		err = proto.Unmarshal(visibility, v)
		s.visibility = VisibilityOf(v)
	}
	if err != nil {
		return Stored{}, fmt.Errorf("decode chain entry: %w", err)
	}
	return s, nil
}

// Place is where a message stands in its conversation's chain, and since when.
type Place struct {
	Ref
	TimeMs int64 // milliseconds since the Unix epoch (UTC)
}

// PlaceOf reads the place out of an encoded im.v1.Message.
func PlaceOf(message []byte) (p Place, err error) {
	err = walk(message, func(num protowire.Number, content []byte, number uint64) {
		switch num {
		case fieldConversation:
			p.Conversation = im.ConversationID(content)
		case fieldIndex:
			p.Index = im.ConversationIndex(number)
		case fieldServerTime:
			p.TimeMs = int64(number)
		}
	})
	if err != nil {
		return Place{}, fmt.Errorf("decode message: %w", err)
	}
	return p, nil
}

// walk calls fn for each field of an encoded message, with its bytes or its number; others come with neither.
func walk(data []byte, fn func(num protowire.Number, content []byte, number uint64)) error {
	for len(data) > 0 {
		tag, n := varint(data)
		if n < 0 {
			return protowire.ParseError(n)
		}
		data = data[n:]
		num, typ := protowire.DecodeTag(tag)
		var content []byte
		var number uint64
		switch typ {
		case protowire.BytesType:
			if number, n = varint(data); n >= 0 && number <= uint64(len(data)-n) {
				content, n = data[n:n+int(number)], n+int(number)
			} else {
				content, n = protowire.ConsumeBytes(data) // knows what is wrong
			}
		case protowire.VarintType:
			number, n = varint(data)
		default:
			n = protowire.ConsumeFieldValue(num, typ, data)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		fn(num, content, number)
		data = data[n:]
	}
	return nil
}

// varint is protowire.ConsumeVarint, quick where most tags and lengths have one byte.
func varint(b []byte) (uint64, int) {
	if len(b) > 0 && b[0] < 0x80 {
		return uint64(b[0]), 1
	}
	return protowire.ConsumeVarint(b)
}

// Decode is the whole entry.
func (s Stored) Decode() (*imv1.ChainEntry, error) {
	e := new(imv1.ChainEntry)
	_, err := decode(s.value, e)
	return e, err
}

// CountsFor reports whether the entry, which u may see, is unread for u as long as it lies behind u's read position.
func (s Stored) CountsFor(u im.UserID) bool {
	return s.kind != imv1.MessageType_MESSAGE_TYPE_SYSTEM && string(s.sender) != string(u)
}

// Sees reports whether u, whose membership m is, may see the entry.
func (m Membership) Sees(u im.UserID, s Stored) bool {
	return m.At(s.Index) &&
		(s.visibility.Scope == im.Everyone || s.visibility.Admits(im.UserID(s.sender), u))
}
