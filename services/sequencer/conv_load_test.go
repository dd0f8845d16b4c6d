package sequencer

import (
	"log/slog"
	"testing"

	"github.com/catena-im/catena/pkg/bus"
	"github.com/catena-im/catena/pkg/chain"
	"github.com/catena-im/catena/pkg/im"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// crowd is a group whose members have all come and gone so often.
func crowd(i, members, often int) *conversation {
	c := &conversation{id: im.ConversationID(name(i, 5)), head: new(imv1.ConversationHead)}
	for n := range members {
		p := &imv1.Participant{Intervals: make([]*imv1.Interval, often)}
		c.members = append(c.members, member{im.UserID(name(n, 5)), p})
	}
	return c
}

// What a worker keeps in memory is bounded by what it takes there, whatever the records are like.
func TestCacheOfConversationsIsBounded(t *testing.T) {
	for _, c := range []struct{ groups, members, often, kept int }{
		{300, 499, 1, 200},
		{300, 499, maxIntervals, maxCachedRecords / (500 + 499*maxIntervals/2)},
		{3, maxEver, 1, 3},
		{2, maxEver, maxIntervals, 0}, // each would push all others out
	} {
		w := newConvWorker(chain.Layout{ConvPartitions: 1, UserPartitions: 1}, Deps{}, bus.Partition{Kind: bus.Conv}, 1, slog.New(slog.DiscardHandler))
		for round := range 2 {
			for i := range c.groups {
				st := newConvState(0)
				g := crowd(i, c.members, c.often)
				if known, ok := w.conversations.Get(g.id); ok {
					g = known
				}
				st.conversations[g.id] = g
				w.keep(st)
			}
			if got := w.conversations.Len(); got != c.kept {
				t.Errorf("round %d of %+v: %d groups are kept", round, c, got)
			}
		}
		for w.conversations.Len() > 0 {
			w.conversations.RemoveOldest()
		}
		if w.records != 0 {
			t.Errorf("%+v: %d records are counted when nothing is kept", c, w.records)
		}
	}
}

func TestOneLargeGroupLeavesTheOthersInMemory(t *testing.T) {
	w := newConvWorker(chain.Layout{ConvPartitions: 1, UserPartitions: 1}, Deps{}, bus.Partition{Kind: bus.Conv}, 1, slog.New(slog.DiscardHandler))
	for _, c := range []*conversation{crowd(1, 2, 1), crowd(2, maxEver, maxIntervals), crowd(3, 2, 1)} {
		st := newConvState(0)
		st.conversations[c.id] = c
		w.keep(st)
	}
	if !w.conversations.Contains(crowd(1, 0, 0).id) || w.conversations.Len() != 2 || w.records != 6 {
		t.Errorf("%v are kept, with %d records", w.conversations.Keys(), w.records)
	}
}
