package edge

import (
	"context"

	"github.com/catena-im/catena/pkg/bus"
)

// OnBus is a bus as Streams, Inbox and Peers of an edge.
type OnBus struct{ Bus *bus.Bus }

// AppendConversation appends to a conversation partition's stream.
func (b OnBus) AppendConversation(ctx context.Context, partition int, id string, payload []byte) error {
	_, err := b.Bus.AppendUntil(ctx, bus.Partition{Kind: bus.Conv, Number: partition}, id, payload)
	return err
}

// AppendUser appends to a user partition's stream.
func (b OnBus) AppendUser(ctx context.Context, partition int, id string, payload []byte) error {
	_, err := b.Bus.AppendUntil(ctx, bus.Partition{Kind: bus.User, Number: partition}, id, payload)
	return err
}

// Deliveries subscribes to the edge's subject.
func (b OnBus) Deliveries(edge string, handle func([]byte)) (stop func(), err error) {
	return b.subscribe(bus.EdgeSubject(edge), handle)
}

// Announcements subscribes to the calls of new owners.
func (b OnBus) Announcements(handle func([]byte)) (stop func(), err error) {
	return b.subscribe(bus.AnnounceSubject(), handle)
}

func (b OnBus) subscribe(s bus.Subject, handle func([]byte)) (func(), error) {
	sub, err := b.Bus.Subscribe(s, func(p bus.Packet) { handle(p.Data) })
	if err != nil {
		return nil, err
	}
	return sub.Stop, nil
}

// Session asks the owner of a user partition.
func (b OnBus) Session(ctx context.Context, partition int, request []byte) ([]byte, error) {
	return b.Bus.Request(ctx, bus.SessionSubject(partition), request)
}

// History asks the history service.
func (b OnBus) History(ctx context.Context, request []byte) ([]byte, error) {
	return b.Bus.Request(ctx, bus.HistorySubject(), request)
}
