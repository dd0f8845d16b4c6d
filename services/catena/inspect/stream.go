package inspect

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/catena-im/catena/pkg/bus"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// An Item is one message of a partition's stream.
type Item struct {
	Partition string            `json:"partition"`
	Sequence  uint64            `json:"sequence"`
	Time      time.Time         `json:"time"` // when the stream took it
	ID        string            `json:"id"`   // its Nats-Msg-Id
	Bytes     int               `json:"bytes"`
	Payload   json.RawMessage   `json:"payload,omitempty"`
	Messages  []json.RawMessage `json:"messages,omitempty"` // of a fan-out: what its entries carry encoded, in their order
	Error     string            `json:"error,omitempty"`    // why the payload could not be decoded
	Raw       string            `json:"raw,omitempty"`      // then: the payload in hexadecimal

	lines []string
}

// DecodeItem decodes a message of the stream of p.
func DecodeItem(p bus.Partition, m bus.Msg) Item {
	item := Item{Partition: p.String(), Sequence: m.Seq, Time: m.Time.UTC(), ID: m.ID, Bytes: len(m.Data)}
	var err error
	if p.Kind == bus.Conv {
		err = item.commands(m.Data)
	} else {
		err = item.userBatch(m.Data)
	}
	if err != nil {
		item.Error, item.Raw = err.Error(), hex.EncodeToString(m.Data)
	}
	return item
}

func (item *Item) commands(data []byte) (err error) {
	var batch imv1.CommandBatch
	if item.Payload, err = decoded(data, &batch); err != nil {
		return err
	}
	for i, c := range batch.GetCommands() {
		item.line("%d %s of %s in %s, session %d request %d of edge %s: %s", i, kind(c), c.GetUserId(), c.GetConversationId(),
			c.GetSession(), c.GetRequestId(), batch.GetEdgeId(), action(c))
	}
	return nil
}

func (item *Item) userBatch(data []byte) (err error) {
	var batch imv1.UserBatch
	if item.Payload, err = decoded(data, &batch); err != nil {
		return err
	}
	for i, c := range batch.GetCommands().GetCommands() {
		item.line("%d %s of %s, session %d request %d of edge %s: %s", i, kind(c), c.GetUserId(), c.GetSession(), c.GetRequestId(),
			batch.GetCommands().GetEdgeId(), action(c))
	}
	from := batch.GetFanout().GetConversationPartition()
	for _, e := range batch.GetFanout().GetEntries() {
		var m imv1.Message
		text, err := decoded(e.GetMessage(), &m)
		if err != nil {
			return fmt.Errorf("entry %d/%d: %w", e.GetSequence(), e.GetOrdinal(), err)
		}
		item.Messages = append(item.Messages, text)
		item.line("fan-out of conv.%03d %d/%d to %s: %s", from, e.GetSequence(), e.GetOrdinal(), strings.Join(e.GetUserIds(), ","), text)
	}
	return nil
}

func (item *Item) line(format string, args ...any) {
	item.lines = append(item.lines, fmt.Sprintf(format, args...))
}

// kind is the name of the action that a command carries.
func kind(m proto.Message) string {
	if f := chosen(m); f != nil {
		return string(f.Name())
	}
	return "nothing"
}

// action is the action that a command carries.
func action(m proto.Message) string {
	f := chosen(m)
	if f == nil {
		return "{}"
	}
	text, err := compact(m.ProtoReflect().Get(f).Message().Interface())
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func chosen(m proto.Message) protoreflect.FieldDescriptor {
	r := m.ProtoReflect()
	return r.WhichOneof(r.Descriptor().Oneofs().ByName("action"))
}

// String is the message for people: a line about it, and one for each of its parts.
func (item Item) String() string {
	head := fmt.Sprintf("%s %d  %s  id %s, %d bytes", item.Partition, item.Sequence, item.Time.Format("2006-01-02T15:04:05.000Z"), item.ID, item.Bytes)
	if item.Error != "" {
		return head + " ! " + item.Error + ": " + item.Raw
	}
	return strings.Join(append([]string{head}, item.lines...), "\n  ")
}
