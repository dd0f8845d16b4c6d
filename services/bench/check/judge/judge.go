package judge

import (
	"slices"

	"google.golang.org/protobuf/proto"

	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// trial is one run of Decide.
type trial struct {
	*Record
	chains  map[string]*chain
	entries map[string][]Entry  // the user chains, by user
	told    map[position]uint64 // the furthest read positions that the server told
	asked   map[position]uint64 // the furthest read positions that were asked for
	verdict Verdict
}

// position names a read position.
type position struct{ user, conversation string }

// Decide holds r against the laws.
func Decide(r *Record) Verdict {
	t := &trial{Record: r}
	t.index()
	t.unite()
	t.judgeChains()
	t.judgeSends()
	t.judgeQueues()
	t.judgeCommands()
	t.judgeConversations()
	t.judgeUsers()
	t.judgeDevices()
	t.judgeSightings()
	t.judgeLists()
	t.judgeInfos()
	t.judgeReads()
	slices.SortStableFunc(t.verdict.Violations, byKind)
	return t.verdict
}

// index gathers what is looked up often.
func (t *trial) index() {
	t.chains, t.entries = map[string]*chain{}, map[string][]Entry{}
	t.told, t.asked = map[position]uint64{}, map[position]uint64{}
	for _, v := range t.Users {
		t.entries[v.User] = v.Entries
	}
	for _, r := range t.Reads {
		p := position{r.User, r.Conversation}
		t.told[p] = max(t.told[p], r.Index)
	}
	for _, m := range t.Marks {
		p := position{m.User, m.Conversation}
		t.asked[p] = max(t.asked[p], m.Index)
	}
}

// breach counts v and keeps it as evidence while there is room.
func (t *trial) breach(kind Kind, v Violation) {
	counter := t.verdict.Of(kind)
	*counter++
	if *counter > maxEvidence {
		return
	}
	v.Kind, v.Seed = kind, t.Seed
	t.verdict.Violations = append(t.verdict.Violations, v)
}

// of is the chain of a conversation; an empty one when nobody saw anything of it.
func (t *trial) of(conversation string) *chain {
	if c, ok := t.chains[conversation]; ok {
		return c
	}
	return newChain(conversation)
}

// same reports whether two sightings show one message. Views may share messages, so most comparisons end at once.
func same(a, b *imv1.Message) bool { return a == b || proto.Equal(a, b) }
