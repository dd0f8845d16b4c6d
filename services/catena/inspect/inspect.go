// Package inspect makes what streams and stores hold readable for operators, one line for each message or record. It
// reads only. A value that cannot be decoded is shown as it is, with the reason: that is what one inspects for.
package inspect

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/catena-im/catena/pkg/chain"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// compact is m as JSON on one line, without what is empty.
func compact(m proto.Message) (json.RawMessage, error) {
	raw, err := protojson.Marshal(m)
	if err != nil {
		return nil, err
	}
	var line bytes.Buffer // protojson varies its blanks on purpose
	err = json.Compact(&line, raw)
	return line.Bytes(), err
}

// decoded is data as the JSON of m, whose type it should be.
func decoded(data []byte, m proto.Message) (json.RawMessage, error) {
	if err := proto.Unmarshal(data, m); err != nil {
		return nil, fmt.Errorf("not a valid %s: %w", m.ProtoReflect().Descriptor().FullName(), err)
	}
	return compact(m)
}

// A Record is one key of a store with its value.
type Record struct {
	Record       string          `json:"record"` // what the key stands for, as package chain names it
	Partition    string          `json:"partition"`
	Conversation string          `json:"conversation,omitempty"`
	User         string          `json:"user,omitempty"`
	Index        uint64          `json:"index,omitempty"`
	MessageID    string          `json:"messageId,omitempty"`
	From         string          `json:"from,omitempty"` // of a fan-out progress: the conversation partition
	Value        json.RawMessage `json:"value,omitempty"`
	Bytes        int             `json:"bytes"`           // of key and value
	Error        string          `json:"error,omitempty"` // why key or value could not be decoded
	Raw          string          `json:"raw,omitempty"`   // then: both in hexadecimal
}

// DecodeRecord decodes a key and its value.
func DecodeRecord(key, value []byte) Record {
	r := Record{Bytes: len(key) + len(value)}
	k, err := chain.DecodeKey(key)
	if err == nil {
		r.name(k)
		r.Value, err = decoded(value, recordOf(k.Record))
	}
	if err != nil {
		r.Error, r.Raw = err.Error(), hex.EncodeToString(key)+" "+hex.EncodeToString(value)
	}
	return r
}

func (r *Record) name(k chain.Key) {
	r.Record, r.Partition = string(k.Record), partition(k.Area, k.Partition)
	r.Conversation, r.User, r.Index = string(k.Conversation), string(k.User), k.Index
	switch k.Record {
	case chain.RecordMessageID:
		r.MessageID = k.MessageID.String()
	case chain.RecordProgress:
		r.From = partition(chain.Conv, k.From)
	}
}

func partition(a chain.Area, n int) string {
	if a == chain.Conv {
		return fmt.Sprintf("conv.%03d", n)
	}
	return fmt.Sprintf("user.%03d", n)
}

// recordOf is an empty value of the type that is kept under a key.
func recordOf(r chain.Record) proto.Message {
	switch r {
	case chain.RecordFence:
		return new(imv1.FenceRecord)
	case chain.RecordConversationHead:
		return new(imv1.ConversationHead)
	case chain.RecordChainEntry:
		return new(imv1.ChainEntry)
	case chain.RecordParticipant:
		return new(imv1.Participant)
	case chain.RecordMessageID:
		return new(imv1.MessageIdRecord)
	case chain.RecordUserHead:
		return new(imv1.UserHead)
	case chain.RecordUserEntry:
		return new(imv1.UserChainEntry)
	case chain.RecordList:
		return new(imv1.ListRecord)
	}
	return new(imv1.FanoutProgress)
}

// String is the record for people.
func (r Record) String() string {
	parts := []string{r.Partition, r.Record}
	for _, id := range []string{r.Conversation, r.User, r.MessageID, r.From} {
		if id != "" {
			parts = append(parts, id)
		}
	}
	if r.Index > 0 {
		parts = append(parts, fmt.Sprintf("#%d", r.Index))
	}
	if r.Error != "" {
		return strings.TrimSpace(strings.Join(parts, " ")) + " ! " + r.Error + ": " + r.Raw
	}
	return strings.Join(parts, " ") + " " + string(r.Value)
}

// Filter picks records; empty fields pick all.
type Filter struct{ Record, Partition, Conversation, User string }

// Picks reports whether the filter picks r. What could not be decoded is picked always.
func (f Filter) Picks(r Record) bool {
	if r.Record == "" {
		return true
	}
	conversation := r.Conversation
	if conversation == "" && r.Value != nil && r.Record == string(chain.RecordUserEntry) {
		var entry imv1.UserChainEntry
		if protojson.Unmarshal(r.Value, &entry) == nil {
			conversation = entry.GetConversationId()
		}
	}
	return (f.Record == "" || f.Record == r.Record) && (f.Partition == "" || f.Partition == r.Partition) &&
		(f.Conversation == "" || f.Conversation == conversation) && (f.User == "" || f.User == r.User)
}

// Records are the names that Filter.Record may have.
var Records = []string{
	string(chain.RecordFence), string(chain.RecordConversationHead), string(chain.RecordChainEntry),
	string(chain.RecordParticipant), string(chain.RecordMessageID), string(chain.RecordUserHead),
	string(chain.RecordUserEntry), string(chain.RecordList), string(chain.RecordProgress),
}
