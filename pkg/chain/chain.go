// Package chain reads and writes the conversation chains and user chains, and all state beside them, over a kv store.
// It owns the key codec and the record encoding, and nobody else knows a key. What is written when is decided by the
// sequencer's steps; who may commit is decided by the fence.
package chain

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/catena-im/catena/pkg/im"
)

// Layout maps ids to the partitions that own them. The counts are fixed when the cluster is provisioned.
type Layout struct {
	ConvPartitions int
	UserPartitions int
}

// Conversation is the partition that owns c.
func (l Layout) Conversation(c im.ConversationID) int { return im.Partition(c, l.ConvPartitions) }

// User is the partition that owns u.
func (l Layout) User(u im.UserID) int { return im.Partition(u, l.UserPartitions) }

// decode reads a stored value into m; nil leaves m as it is and answers false.
func decode(value []byte, m proto.Message) (bool, error) {
	if value == nil {
		return false, nil
	}
	if err := proto.Unmarshal(value, m); err != nil {
		return false, fmt.Errorf("decode %T: %w", m, err)
	}
	return true, nil
}
