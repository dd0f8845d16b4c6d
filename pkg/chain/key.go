package chain

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/catena-im/catena/pkg/im"
)

// The key space. A key begins with its area and the owning partition (2 bytes), so that a partition is one range, and a
// commit with its fence reaches into no other:
//
//	area | partition | f                               fence
//	c | partition | c | conversation | h               conversation head
//	c | partition | c | conversation | m | index       conversation chain
//	c | partition | c | conversation | p | user        participant
//	c | partition | i | message id (16)                message id
//	u | partition | u | user | h                       user head
//	u | partition | u | user | e | index               user chain
//	u | partition | u | user | l | conversation        conversation list
//	u | partition | s | conversation partition (2)     fan-out progress
//
// Indexes are 8 bytes, big endian; strings are escaped and terminated so that keys sort as their parts do.
const (
	areaConv = 'c'
	areaUser = 'u'

	tagFence    = 'f' // below both areas
	tagNamed    = 'c' // below areaConv: what belongs to a conversation
	tagID       = 'i' // below areaConv
	tagOfUser   = 'u' // below areaUser: what belongs to a user
	tagProgress = 's' // below areaUser

	tagHead        = 'h'
	tagMessage     = 'm'
	tagParticipant = 'p'
	tagEntry       = 'e'
	tagList        = 'l'
)

// Area is one half of the key space, and the kind of partition that owns it.
type Area byte

const (
	Conv Area = areaConv // conversation partitions
	User Area = areaUser // user partitions
)

// Record says what a key stands for.
type Record string

const (
	RecordFence            Record = "fence"
	RecordConversationHead Record = "conversation head"
	RecordChainEntry       Record = "conversation chain"
	RecordParticipant      Record = "participant"
	RecordMessageID        Record = "message id"
	RecordUserHead         Record = "user head"
	RecordUserEntry        Record = "user chain"
	RecordList             Record = "conversation list"
	RecordProgress         Record = "fan-out progress"
)

// Key is a decoded key; which fields are set follows from Record.
type Key struct {
	Record       Record
	Area         Area
	Partition    int
	Conversation im.ConversationID
	User         im.UserID
	Index        uint64
	MessageID    im.MessageID
	From         int // of a fan-out progress: the conversation partition
}

// FenceKey is the key of a partition's fence.
func FenceKey(a Area, partition int) []byte {
	return prefix(nil, a, partition, tagFence)
}

// Borders are the keys at which a store can be cut so that each partition lies in pieces of its own.
func (l Layout) Borders() (borders [][]byte) {
	for n := range l.ConvPartitions {
		borders = append(borders, partitionKey(nil, Conv, n))
	}
	for n := range l.UserPartitions {
		borders = append(borders, partitionKey(nil, User, n))
	}
	return borders
}

// usualKey is room enough for most keys, in bytes.
const usualKey = 64

// partitionKey is the beginning of the keys of a partition. It is appended to k, as all keys are.
func partitionKey(k []byte, a Area, partition int) []byte {
	return binary.BigEndian.AppendUint16(append(slices.Grow(k, usualKey), byte(a)), uint16(partition))
}

func prefix(k []byte, a Area, partition int, tag byte) []byte {
	return append(partitionKey(k, a, partition), tag)
}

func (l Layout) convKey(k []byte, c im.ConversationID, tag byte) []byte {
	return append(appendString(prefix(k, Conv, l.Conversation(c), tagNamed), string(c)), tag)
}

func (l Layout) userKey(k []byte, u im.UserID, tag byte) []byte {
	return append(appendString(prefix(k, User, l.User(u), tagOfUser), string(u)), tag)
}

func (l Layout) headKey(k []byte, c im.ConversationID) []byte { return l.convKey(k, c, tagHead) }

func (l Layout) messageKey(k []byte, c im.ConversationID, i im.ConversationIndex) []byte {
	return binary.BigEndian.AppendUint64(l.convKey(k, c, tagMessage), uint64(i))
}

func (l Layout) participantKey(k []byte, c im.ConversationID, u im.UserID) []byte {
	return appendString(l.convKey(k, c, tagParticipant), string(u))
}

func (l Layout) idKey(k []byte, c im.ConversationID, id im.MessageID) []byte {
	return append(prefix(k, Conv, l.Conversation(c), tagID), id[:]...)
}

func (l Layout) userHeadKey(k []byte, u im.UserID) []byte { return l.userKey(k, u, tagHead) }

func (l Layout) entryKey(k []byte, u im.UserID, i im.UserIndex) []byte {
	return binary.BigEndian.AppendUint64(l.userKey(k, u, tagEntry), uint64(i))
}

func (l Layout) listKey(k []byte, u im.UserID, c im.ConversationID) []byte {
	return appendString(l.userKey(k, u, tagList), string(c))
}

func progressKey(k []byte, partition, from int) []byte {
	return binary.BigEndian.AppendUint16(prefix(k, User, partition, tagProgress), uint16(from))
}

// appendString appends s so that it sorts as s does whatever follows: 0x00 becomes 0x00 0xff, the end is 0x00 0x00.
func appendString(k []byte, s string) []byte {
	for {
		zero := strings.IndexByte(s, 0)
		if zero < 0 {
			return append(append(k, s...), 0, 0)
		}
		k = append(append(k, s[:zero+1]...), 0xff)
		s = s[zero+1:]
	}
}

// end is the first key behind all keys that begin with p.
func end(p []byte) []byte {
	e := bytes.Clone(p)
	for i := len(e) - 1; i >= 0; i-- {
		if e[i]++; e[i] != 0 {
			return e[:i+1]
		}
	}
	return nil
}

var errKey = errors.New("not a key of a chain store")

// DecodeKey takes a key apart. It accepts exactly the keys that this package makes.
func DecodeKey(key []byte) (Key, error) {
	d := &decoder{rest: key}
	k := d.key()
	if d.bad || len(d.rest) != 0 {
		return Key{}, fmt.Errorf("key %x: %w", key, errKey)
	}
	return k, nil
}

// decoder reads a key from the front; bad is set when it does not fit.
type decoder struct {
	rest []byte
	bad  bool
}

func (d *decoder) take(n int) []byte {
	if d.bad || len(d.rest) < n {
		d.bad = true
		return make([]byte, n)
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) byte() byte     { return d.take(1)[0] }
func (d *decoder) partition() int { return int(binary.BigEndian.Uint16(d.take(2))) }
func (d *decoder) index() uint64  { return binary.BigEndian.Uint64(d.take(8)) }

func (d *decoder) string() string {
	var s []byte
	for !d.bad {
		c := d.byte()
		if c != 0 {
			s = append(s, c)
			continue
		}
		switch d.byte() {
		case 0:
			return string(s)
		case 0xff:
			s = append(s, 0)
		default:
			d.bad = true
		}
	}
	return ""
}

func (d *decoder) key() Key {
	switch a := d.byte(); a {
	case areaConv:
		return d.conv(Key{Area: Conv, Partition: d.partition()})
	case areaUser:
		return d.user(Key{Area: User, Partition: d.partition()})
	}
	d.bad = true
	return Key{}
}

func (d *decoder) conv(k Key) Key {
	switch d.byte() {
	case tagFence:
		k.Record = RecordFence
		return k
	case tagID:
		k.Record, k.MessageID = RecordMessageID, im.MessageID(d.take(len(im.MessageID{})))
		return k
	case tagNamed:
		k.Conversation = im.ConversationID(d.string())
		switch d.byte() {
		case tagHead:
			k.Record = RecordConversationHead
			return k
		case tagMessage:
			k.Record, k.Index = RecordChainEntry, d.index()
			return k
		case tagParticipant:
			k.Record, k.User = RecordParticipant, im.UserID(d.string())
			return k
		}
	}
	d.bad = true
	return Key{}
}

func (d *decoder) user(k Key) Key {
	switch d.byte() {
	case tagFence:
		k.Record = RecordFence
		return k
	case tagProgress:
		k.Record, k.From = RecordProgress, d.partition()
		return k
	case tagOfUser:
		k.User = im.UserID(d.string())
		switch d.byte() {
		case tagHead:
			k.Record = RecordUserHead
			return k
		case tagEntry:
			k.Record, k.Index = RecordUserEntry, d.index()
			return k
		case tagList:
			k.Record, k.Conversation = RecordList, im.ConversationID(d.string())
			return k
		}
	}
	d.bad = true
	return Key{}
}
