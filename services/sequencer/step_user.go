package sequencer

import (
	"github.com/catena-im/catena/pkg/chain"
	"github.com/catena-im/catena/pkg/im"
	"github.com/catena-im/catena/pkg/refusal"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// userState is what the user step folds over. It is loaded with everything that a batch touches.
type userState struct {
	heads    map[im.UserID]*imv1.UserHead       // nil value: no chain yet
	lists    map[chain.ListRef]*imv1.ListRecord // nil value: not in the list
	progress []*imv1.FanoutProgress             // by conversation partition; nil: nothing applied
	touched  map[im.UserID]struct{}             // heads that changed
	listed   map[chain.ListRef]struct{}         // list records that changed
	entries  []userEntry                        // new entries
	moved    map[chain.ListRef]*imv1.ReadMoved  // read positions that moved, the last of each
}

// userEntry is a new entry of user chains.
type userEntry struct {
	entry *imv1.UserChainEntry
	at    []chain.UserPlace
}

func newUserState(progress []*imv1.FanoutProgress) *userState {
	return &userState{
		heads: make(map[im.UserID]*imv1.UserHead), lists: make(map[chain.ListRef]*imv1.ListRecord), progress: progress,
		touched: make(map[im.UserID]struct{}), listed: make(map[chain.ListRef]struct{}),
		moved: make(map[chain.ListRef]*imv1.ReadMoved),
	}
}

// fanout enters one message into the chains of the users it names, and answers where. A repeated entry answers nil.
func (st *userState) fanout(from int, e *imv1.FanoutEntry, msg *imv1.MessagePlace) []chain.UserPlace {
	if !st.advance(from, e) {
		return nil
	}
	at := make([]chain.UserPlace, len(e.GetUserIds()))
	for i, id := range e.GetUserIds() {
		u := im.UserID(id)
		h := st.head(u)
		h.LastIndex++
		r := st.list(chain.ListRef{User: u, Conversation: im.ConversationID(msg.GetConversationId())})
		r.SeenIndex, r.UpdatedMs = msg.GetConversationIndex(), msg.GetServerTimeMs()
		at[i] = chain.UserPlace{User: u, Index: im.UserIndex(h.LastIndex)}
	}
	st.entries = append(st.entries, userEntry{at: at, entry: &imv1.UserChainEntry{
		ConversationId: msg.GetConversationId(), ConversationIndex: msg.GetConversationIndex(),
	}})
	return at
}

// advance moves the progress of conversation partition from to e and reports false when e was applied before.
func (st *userState) advance(from int, e *imv1.FanoutEntry) bool {
	p := st.progress[from]
	if p != nil && (e.GetSequence() < p.GetSequence() || e.GetSequence() == p.GetSequence() && e.GetOrdinal() <= p.GetOrdinal()) {
		return false
	}
	st.progress[from] = &imv1.FanoutProgress{Sequence: e.GetSequence(), Ordinal: e.GetOrdinal()}
	return true
}

// head is the chain head of u, to be changed.
func (st *userState) head(u im.UserID) *imv1.UserHead {
	st.touched[u] = struct{}{}
	h := st.heads[u]
	if h == nil {
		h = &imv1.UserHead{OldestIndex: 1}
		st.heads[u] = h
	}
	return h
}

// list is the list record of ref, to be changed.
func (st *userState) list(ref chain.ListRef) *imv1.ListRecord {
	st.listed[ref] = struct{}{}
	r := st.lists[ref]
	if r == nil {
		r = new(imv1.ListRecord)
		st.lists[ref] = r
	}
	return r
}

// command applies one command of a user and answers it.
func (st *userState) command(cmd *imv1.UserCommand) *imv1.Answer {
	answer := &imv1.Answer{Session: cmd.GetSession(), RequestId: cmd.GetRequestId()}
	switch a := cmd.GetAction().(type) {
	case *imv1.UserCommand_MarkRead:
		st.markRead(answer, im.UserID(cmd.GetUserId()), a.MarkRead)
	default:
		answer.Result = &imv1.Answer_Error{Error: refusal.New(imv1.ErrorCode_ERROR_CODE_UNKNOWN_TYPE,
			"this server does not know the command; a newer one may").Wire()}
	}
	return answer
}

// markRead moves a read position forward, at most to the last entry that the user's chain holds of the conversation.
func (st *userState) markRead(answer *imv1.Answer, u im.UserID, r *imv1.MarkRead) {
	ref := chain.ListRef{User: u, Conversation: im.ConversationID(r.GetConversationId())}
	if st.lists[ref] == nil {
		answer.Result = &imv1.Answer_Error{Error: refusal.New(imv1.ErrorCode_ERROR_CODE_NOT_A_MEMBER,
			"%s is not in your conversation list; there is nothing to mark as read", r.GetConversationId()).Wire()}
		return
	}
	// Without a change the answer has no version: with the one of another device's change, a client would take that for
	// its own, and pass over the word of it.
	marked := &imv1.ReadMarked{ConversationId: r.GetConversationId(), ReadIndex: st.lists[ref].GetReadIndex()}
	if to := min(r.GetReadIndex(), st.lists[ref].GetSeenIndex()); to > st.lists[ref].GetReadIndex() {
		st.list(ref).ReadIndex = to
		h := st.head(u)
		h.ListVersion++
		marked.ReadIndex, marked.ListVersion = to, h.GetListVersion()
		st.moved[ref] = &imv1.ReadMoved{ConversationId: r.GetConversationId(), ReadIndex: to, ListVersion: h.GetListVersion()}
	}
	answer.Result = &imv1.Answer_ReadMarked{ReadMarked: marked}
}
