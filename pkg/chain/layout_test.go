package chain

import (
	"errors"
	"fmt"
	"testing"

	"github.com/catena-im/catena/pkg/im"
	"github.com/catena-im/catena/pkg/kv"
	"github.com/catena-im/catena/pkg/kv/pebble"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// written is a store that was written under layout; other is a key that no version knows, or nil.
func written(t *testing.T, conversations int, other []byte) kv.Snapshot {
	t.Helper()
	store, err := pebble.New(pebble.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	b := &kv.Batch{Fence: FenceKey(Conv, 0), Next: []byte("x")}
	w := NewWriter(layout, b)
	for i := range conversations {
		u, c := im.UserID(fmt.Sprintf("user%d", i)), im.Single("ann", im.UserID(fmt.Sprintf("user%d", i)))
		id := im.NewMessageID(c, u, "1")
		w.Entry(&imv1.Message{ConversationId: string(c), ConversationIndex: 1, MessageId: id[:]}, 0, 0, 0)
		w.ConversationHead(c, &imv1.ConversationHead{LastIndex: 1})
		w.UserHead(u, &imv1.UserHead{LastIndex: 1})
		w.List(u, c, &imv1.ListRecord{SeenIndex: 1})
		w.Progress(layout.User(u), 0, &imv1.FanoutProgress{Sequence: 1})
	}
	if other != nil {
		b.Put(other, []byte("x"))
	}
	if err := store.Commit(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	snap, err := store.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		snap.Release()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return snap
}

func TestStoreOfAnotherLayoutIsNoticed(t *testing.T) {
	full, fresh := written(t, 200, nil), written(t, 0, nil)
	for _, c := range []struct {
		name  string
		snap  kv.Snapshot
		under Layout
		area  Area
		held  int
		fits  bool
	}{
		{"the same", full, layout, 0, 0, true},
		{"a store without records", fresh, Layout{1, 1}, 0, 0, true},
		{"fewer conversation partitions", full, Layout{2, 8}, Conv, 4, false},
		{"more conversation partitions", full, Layout{8, 8}, Conv, 4, false},
		{"fewer user partitions", full, Layout{4, 4}, User, 8, false},
		{"more user partitions", full, Layout{4, 9}, User, 8, false},
		{"one record beyond the last partition", written(t, 0, FenceKey(User, 8)), layout, User, 9, false},
		{"a key before all areas", written(t, 1, []byte("b")), layout, 0, 0, false},
		{"a key between the areas", written(t, 1, []byte("fc\x00\x00")), layout, 0, 0, false},
		{"a key behind all areas", written(t, 1, []byte("v")), layout, 0, 0, false},
		{"an unknown key within", written(t, 1, append(prefix(nil, Conv, 0, tagNamed), 0, 0, 'x')), layout, 0, 0, false},
	} {
		err := c.under.Verify(t.Context(), c.snap)
		misplaced, _ := errors.AsType[*Misplaced](err)
		if c.fits != (err == nil) || !c.fits && (misplaced == nil || misplaced.Area != c.area || misplaced.Held != c.held) {
			t.Errorf("%s: got %v", c.name, err)
		}
	}
}
