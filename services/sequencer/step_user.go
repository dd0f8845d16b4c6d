package sequencer

import (
	"github.com/catena-im/catena/pkg/chain"
	"github.com/catena-im/catena/pkg/im"
	"github.com/catena-im/catena/pkg/refusal"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// userState is what the user step folds over, beside the chains and lists that each of its inputs comes with.
type userState struct {
	progress []position                        // by conversation partition; zero: nothing applied
	chains   []*userChain                      // those that changed
	moved    map[chain.ListRef]*imv1.ReadMoved // read positions that moved, the last of each

	places slab[userPlace]
}

// userChain is the state of the chain of one user, and what a batch changes of it.
type userChain struct {
	user im.UserID
	head *imv1.UserHead // nil: no chain yet

	changed bool        // the head
	entered []chain.Ref // the last entries of the chain
	lists   []*listed   // those that changed
}

// listed is a conversation in a user's list.
type listed struct {
	ref     chain.ListRef
	record  *imv1.ListRecord // nil: not in the list
	changed bool             // by the batch
}

// userPlace is where an entry stands in the chain of a user.
type userPlace struct {
	user  im.UserID
	index im.UserIndex
}

// spot is what an entry or a command of a user touches.
type spot struct {
	chain *userChain
	list  *listed
}

func newUserState(progress []position) *userState {
	return &userState{progress: progress, moved: make(map[chain.ListRef]*imv1.ReadMoved)}
}

// fanout enters the message that stands at p into the chains of users, and answers where. What is repeated answers nil.
func (st *userState) fanout(from int, p position, m chain.Place, users []spot) []userPlace {
	if p.compare(st.progress[from]) <= 0 {
		return nil
	}
	st.progress[from] = p
	at := st.places.some(len(users))
	for i, s := range users {
		h := st.head(s.chain)
		h.LastIndex++
		s.chain.entered = append(s.chain.entered, m.Ref)
		r := s.record()
		r.SeenIndex, r.UpdatedMs = uint64(m.Index), m.TimeMs
		at[i] = userPlace{s.chain.user, im.UserIndex(h.LastIndex)}
	}
	return at
}

// head is the head of c, to be changed.
func (st *userState) head(c *userChain) *imv1.UserHead {
	if !c.changed {
		c.changed = true
		st.chains = append(st.chains, c)
	}
	if c.head == nil {
		c.head = &imv1.UserHead{OldestIndex: 1}
	}
	return c.head
}

// record is the list record at s, to be changed together with the head.
func (s spot) record() *imv1.ListRecord {
	if !s.list.changed {
		s.list.changed = true
		s.chain.lists = append(s.chain.lists, s.list)
	}
	if s.list.record == nil {
		s.list.record = new(imv1.ListRecord)
	}
	return s.list.record
}

// write adds what the batch changed of the chain to out, in the order of the keys.
func (c *userChain) write(out *chain.Writer) {
	first := im.UserIndex(c.head.GetLastIndex()) - im.UserIndex(len(c.entered)) + 1
	for i, ref := range c.entered {
		out.UserEntry(c.user, first+im.UserIndex(i), ref)
	}
	out.UserHead(c.user, c.head)
	for _, l := range c.lists {
		out.List(l.ref.User, l.ref.Conversation, l.record)
		l.changed = false
	}
	c.changed, c.entered, c.lists = false, again(c.entered), again(c.lists)
}

// keepChanges is for how many changes of a batch a chain in memory keeps room.
const keepChanges = 8

// again is list without what was in it.
func again[T any](list []T) []T {
	if cap(list) > keepChanges {
		return nil
	}
	clear(list)
	return list[:0]
}

// command applies one command of the user at s and answers it.
func (st *userState) command(cmd *imv1.UserCommand, s spot) *imv1.Answer {
	answer := &imv1.Answer{Session: cmd.GetSession(), RequestId: cmd.GetRequestId()}
	switch a := cmd.GetAction().(type) {
	case *imv1.UserCommand_MarkRead:
		st.markRead(answer, s, a.MarkRead.GetReadIndex())
	default:
		answer.Result = &imv1.Answer_Error{Error: refusal.New(imv1.ErrorCode_ERROR_CODE_UNKNOWN_TYPE,
			"this server does not know the command; a newer one may").Wire()}
	}
	return answer
}

// markRead moves a read position forward, at most to the last entry that the user's chain holds of the conversation.
func (st *userState) markRead(answer *imv1.Answer, s spot, to uint64) {
	c := string(s.list.ref.Conversation)
	if s.list.record == nil {
		answer.Result = &imv1.Answer_Error{Error: refusal.New(imv1.ErrorCode_ERROR_CODE_NOT_A_MEMBER,
			"%s is not in your conversation list; there is nothing to mark as read", c).Wire()}
		return
	}
	// Without a change the answer has no version: with the one of another device's change, a client would take that for
	// its own, and pass over the word of it.
	marked := &imv1.ReadMarked{ConversationId: c, ReadIndex: s.list.record.GetReadIndex()}
	if to = min(to, s.list.record.GetSeenIndex()); to > s.list.record.GetReadIndex() {
		s.record().ReadIndex = to
		h := st.head(s.chain)
		h.ListVersion++
		marked.ReadIndex, marked.ListVersion = to, h.GetListVersion()
		st.moved[s.list.ref] = &imv1.ReadMoved{ConversationId: c, ReadIndex: to, ListVersion: h.GetListVersion()}
	}
	answer.Result = &imv1.Answer_ReadMarked{ReadMarked: marked}
}
