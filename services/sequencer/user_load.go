package sequencer

import (
	"context"
	"slices"

	"github.com/catena-im/catena/pkg/chain"
	"github.com/catena-im/catena/pkg/im"
)

// What a worker keeps in memory of its partition; a record takes some 200 bytes. Beyond it, what was not used for longest
// is dropped and read again when it is needed.
const (
	maxCachedHeads = 16_384
	maxCachedLists = 65_536
)

// load reads everything that the inputs touch and that is not in memory.
func (w *userWorker) load(ctx context.Context, inputs []input) (*userState, error) {
	st := newUserState(slices.Clone(w.progress))
	missing := new(absent)
	for _, in := range inputs {
		if in.refused != nil {
			continue
		}
		if in.command != nil {
			w.want(st, missing, in.command.GetUserId(), in.command.GetMarkRead().GetConversationId())
			continue
		}
		for _, u := range in.entry.GetUserIds() {
			w.want(st, missing, u, in.msg.GetConversationId())
		}
	}
	if len(missing.users) == 0 && len(missing.refs) == 0 {
		return st, nil
	}
	return st, read(ctx, w.deps.Store, w.layout, func(r *chain.Reader) error {
		heads, err := r.UserHeads(ctx, missing.users)
		if err != nil {
			return err
		}
		lists, err := r.Lists(ctx, missing.refs)
		if err != nil {
			return err
		}
		for i, h := range heads {
			st.heads[missing.users[i]] = h
		}
		for i, l := range lists {
			st.lists[missing.refs[i]] = l
		}
		return nil
	})
}

// absent is what a batch touches and what is not in memory.
type absent struct {
	users []im.UserID
	refs  []chain.ListRef
}

// want brings a user's head, and the record of one of its conversations, into st, or notes that they are to be read.
func (w *userWorker) want(st *userState, missing *absent, user, conversation string) {
	u := im.UserID(user)
	if _, ok := st.heads[u]; !ok {
		h, known := w.heads.Get(u)
		if st.heads[u] = h; !known {
			missing.users = append(missing.users, u)
		}
	}
	ref := chain.ListRef{User: u, Conversation: im.ConversationID(conversation)}
	if _, ok := st.lists[ref]; !ok {
		l, known := w.lists.Get(ref)
		if st.lists[ref] = l; !known {
			missing.refs = append(missing.refs, ref)
		}
	}
}

// keep puts what st holds into the caches.
func (w *userWorker) keep(st *userState) {
	for u, h := range st.heads {
		if h != nil {
			w.heads.Add(u, h)
		}
	}
	for ref, l := range st.lists {
		if l != nil {
			w.lists.Add(ref, l)
		}
	}
}
