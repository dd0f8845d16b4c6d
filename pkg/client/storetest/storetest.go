// Package storetest holds the tests that every client.Store must pass. It promises nothing about speed.
package storetest

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/catena-im/catena/pkg/client"
	imv1 "github.com/catena-im/catena/proto/im/v1"
	"google.golang.org/protobuf/proto"
)

// Run tests a kind of Store. open opens an empty one for the test; reopen, which it returns as well, gives the same
// store as the next start of the process would see it, and ends the use of the one before.
func Run(t *testing.T, open func(t *testing.T) (store client.Store, reopen func() client.Store)) {
	for _, tc := range []struct {
		name    string
		changes []client.Change
		want    client.State
	}{
		{name: "an empty store has the zero state"},
		{
			name: "the outbox keeps its order",
			changes: []client.Change{
				{Enqueued: []client.Queued{queued(1), queued(2)}},
				{Enqueued: []client.Queued{queued(10)}},
				{Enqueued: []client.Queued{queued(9)}},
			},
			want: client.State{Outbox: []client.Queued{queued(1), queued(2), queued(9), queued(10)}},
		},
		{
			name: "removing takes out what is named and nothing else",
			changes: []client.Change{
				{Enqueued: []client.Queued{queued(1), queued(2), queued(3)}},
				{Removed: []uint64{2, 77}},
			},
			want: client.State{Outbox: []client.Queued{queued(1), queued(3)}},
		},
		{
			name: "zero fields change nothing",
			changes: []client.Change{
				{User: "alice", Position: 7, ListVersion: 3, Enqueued: []client.Queued{queued(1)}},
				{},
				{Position: 8},
				{ListVersion: 4},
			},
			want: client.State{User: "alice", Position: 8, ListVersion: 4, Outbox: []client.Queued{queued(1)}},
		},
		{
			name: "a change may do everything at once",
			changes: []client.Change{
				{User: "alice", Enqueued: []client.Queued{queued(1)}},
				{
					Position: 2, ListVersion: 1 << 40, Enqueued: []client.Queued{queued(2)}, Removed: []uint64{1},
					Received: []*imv1.UserEntry{{UserIndex: 1}, {UserIndex: 2}},
				},
			},
			want: client.State{User: "alice", Position: 2, ListVersion: 1 << 40, Outbox: []client.Queued{queued(2)}},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			store, reopen := open(t)
			for _, change := range tc.changes {
				apply(t, store, change)
			}
			check(t, store, tc.want)
			check(t, reopen(), tc.want)
		})
	}
	t.Run("changes at the same time all count", func(t *testing.T) {
		store, reopen := open(t)
		var want client.State
		var wg sync.WaitGroup
		for i := range uint64(20) {
			want.Outbox = append(want.Outbox, queued(i+1))
			wg.Go(func() { apply(t, store, client.Change{Enqueued: []client.Queued{queued(i + 1)}}) })
		}
		wg.Wait()
		check(t, store, want)
		check(t, reopen(), want)
	})
}

func queued(seq uint64) client.Queued {
	kind, body := client.TextBody(fmt.Sprintf("text %d", seq))
	return client.Queued{Seq: seq, Send: &imv1.Send{
		ConversationId: "s:alice:bob", ClientMessageId: fmt.Sprintf("m%d", seq), Type: kind, Body: body,
		Visibility: &imv1.Visibility{Scope: imv1.VisibilityScope_VISIBILITY_SCOPE_PART, UserIds: []string{"bob"}},
	}}
}

func apply(t *testing.T, store client.Store, change client.Change) {
	t.Helper()
	if err := store.Apply(context.Background(), change); err != nil {
		t.Errorf("apply %+v: %v", change, err)
	}
}

func check(t *testing.T, store client.Store, want client.State) {
	t.Helper()
	got, err := store.Load(context.Background())
	if err != nil {
		t.Fatalf("load: %v", err)
	}
	if got.User != want.User || got.Position != want.Position || got.ListVersion != want.ListVersion {
		t.Errorf("got %q, position %d, list version %d; want %q, %d, %d",
			got.User, got.Position, got.ListVersion, want.User, want.Position, want.ListVersion)
	}
	if len(got.Outbox) != len(want.Outbox) {
		t.Fatalf("got %d messages in the outbox, want %d", len(got.Outbox), len(want.Outbox))
	}
	for i, w := range want.Outbox {
		if g := got.Outbox[i]; g.Seq != w.Seq || !proto.Equal(g.Send, w.Send) {
			t.Errorf("message %d of the outbox: got %v, want %v", i, g, w)
		}
	}
}
