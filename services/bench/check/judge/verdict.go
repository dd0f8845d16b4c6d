package judge

import (
	"cmp"
	"fmt"
)

// Kind is a way to break the laws.
type Kind string

// The kinds; each is a counter of the same name.
const (
	Lost            Kind = "lost"             // L1: acknowledged or in the chain, and missing where it must be
	Duplicated      Kind = "duplicated"       // L2: one client message id, or one place, twice
	ChangedAnswers  Kind = "changed_answers"  // L2: a re-send got another answer than the first, or a wrong flag
	Reordered       Kind = "reordered"        // L3, L4: readers disagree, or a device's queue or a user chain is out of order
	IndexGaps       Kind = "index_gaps"       // L3, L4: an index of a chain that nobody sees
	Diverged        Kind = "diverged"         // L5: what was pushed or applied is not the server's chain
	VisibilityLeaks Kind = "visibility_leaks" // L6: somebody was shown what they may not see
	UnreadDrift     Kind = "unread_drift"     // L9: unread is not what the chain and the read position give
	ReadDrift       Kind = "read_drift"       // L9: a read position moved back, differs between devices or was never asked for
	ListDrift       Kind = "list_drift"       // the conversation list or a conversation's members are not what the chains say
	Mismatched      Kind = "mismatched"       // L1: a message is not what was sent, or not where it was acknowledged
	Invented        Kind = "invented"         // a chain holds what nobody sent or what its sender may not send
	Unanswered      Kind = "unanswered"       // sent, and neither acknowledged nor refused although the faults were over
)

// Counts has one counter for each kind.
type Counts struct {
	Lost            int `json:"lost"`
	Duplicated      int `json:"duplicated"`
	Reordered       int `json:"reordered"`
	IndexGaps       int `json:"index_gaps"`
	UnreadDrift     int `json:"unread_drift"`
	VisibilityLeaks int `json:"visibility_leaks"`
	Diverged        int `json:"diverged"`
	Mismatched      int `json:"mismatched"`
	Invented        int `json:"invented"`
	ChangedAnswers  int `json:"changed_answers"`
	ReadDrift       int `json:"read_drift"`
	ListDrift       int `json:"list_drift"`
	Unanswered      int `json:"unanswered"`
}

// Kinds are all kinds, in the order in which people want to read them.
func Kinds() []Kind {
	return []Kind{Lost, Duplicated, Reordered, IndexGaps, UnreadDrift, VisibilityLeaks, Diverged, Mismatched, Invented,
		ChangedAnswers, ReadDrift, ListDrift, Unanswered}
}

// Of points to the counter of k.
func (c *Counts) Of(k Kind) *int {
	return map[Kind]*int{
		Lost: &c.Lost, Duplicated: &c.Duplicated, Reordered: &c.Reordered, IndexGaps: &c.IndexGaps,
		UnreadDrift: &c.UnreadDrift, VisibilityLeaks: &c.VisibilityLeaks, Diverged: &c.Diverged,
		Mismatched: &c.Mismatched, Invented: &c.Invented, ChangedAnswers: &c.ChangedAnswers,
		ReadDrift: &c.ReadDrift, ListDrift: &c.ListDrift, Unanswered: &c.Unanswered,
	}[k]
}

// maxEvidence bounds the violations that are kept of one kind; all are counted.
const maxEvidence = 20

// Verdict is what Decide found.
type Verdict struct {
	Counts
	Sent      int // client message ids that went out
	Acked     int // of these, acknowledged
	Refused   int // of these, refused for good
	Delivered int // user chain entries that devices applied

	Violations []Violation // at most maxEvidence of each kind
}

// Violation is one breach with what is needed to find it again.
type Violation struct {
	Kind            Kind   `json:"kind"`
	Seed            uint64 `json:"seed"`
	User            string `json:"user,omitempty"`
	Device          string `json:"device,omitempty"`
	Conversation    string `json:"conversation,omitempty"`
	Index           uint64 `json:"index,omitempty"`
	UserIndex       uint64 `json:"user_index,omitempty"`
	ClientMessageID string `json:"client_message_id,omitempty"`
	What            string `json:"what"`
}

// String is the violation on one line.
func (v Violation) String() string {
	line := fmt.Sprintf("%s: %s (seed %d", v.Kind, v.What, v.Seed)
	for _, part := range []struct {
		name  string
		value any
		shown bool
	}{
		{"user", v.User, v.User != ""}, {"device", v.Device, v.Device != ""},
		{"conversation", v.Conversation, v.Conversation != ""}, {"index", v.Index, v.Index != 0},
		{"user index", v.UserIndex, v.UserIndex != 0}, {"client message id", v.ClientMessageID, v.ClientMessageID != ""},
	} {
		if part.shown {
			line += fmt.Sprintf(", %s %v", part.name, part.value)
		}
	}
	return line + ")"
}

// Clean reports whether no law was broken and something was there to be checked.
func (v Verdict) Clean() bool { return v.Counts == (Counts{}) && v.Acked > 0 }

// Total is the sum of all counters.
func (c Counts) Total() int {
	total := 0
	for _, k := range Kinds() {
		total += *c.Of(k)
	}
	return total
}

// byKind orders evidence as Kinds does.
func byKind(a, b Violation) int { return cmp.Compare(rank(a.Kind), rank(b.Kind)) }

func rank(k Kind) int {
	for i, kind := range Kinds() {
		if kind == k {
			return i
		}
	}
	return -1
}
