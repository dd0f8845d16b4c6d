package sequencer

import (
	"context"
	"slices"
	"strings"

	"github.com/catena-im/catena/pkg/chain"
	"github.com/catena-im/catena/pkg/im"
)

// What a worker keeps in memory of its partition; a record takes some 200 bytes. Beyond it, what was not used for longest
// is dropped and read again when it is needed. A batch touches maxWeight of either at the most: what it has found stays.
const (
	maxCachedHeads = 16_384
	maxCachedLists = 65_536
)

// load finds what each input touches, and reads what is not in memory.
func (w *userWorker) load(ctx context.Context, inputs []input) (*userState, error) {
	missing := new(missingUser)
	var spots slab[spot]
	for i := range inputs {
		in := &inputs[i]
		switch {
		case in.refused != nil:
		case in.command != nil:
			in.at = spots.some(1)
			in.at[0] = w.want(missing, in.command.GetUserId(), im.ConversationID(in.command.GetMarkRead().GetConversationId()))
		default:
			in.at = spots.some(len(in.entry.GetUserIds()))
			for n, u := range in.entry.GetUserIds() {
				in.at[n] = w.want(missing, u, in.message.Conversation)
			}
		}
	}
	st := newUserState(slices.Clone(w.progress))
	if len(missing.chains) == 0 && len(missing.lists) == 0 {
		return st, nil
	}
	return st, read(ctx, w.deps.Store, w.layout, func(r *chain.Reader) error { return missing.read(ctx, r) })
}

// missingUser is what a batch touches and what was not in memory.
type missingUser struct {
	chains []*userChain
	lists  []*listed
}

// want finds the chain of a user and a conversation in the user's list. Names are copied before they are kept.
func (w *userWorker) want(missing *missingUser, user string, conversation im.ConversationID) spot {
	c, known := w.chains.Get(im.UserID(user))
	if !known {
		c = &userChain{user: im.UserID(strings.Clone(user))}
		w.chains.Add(c.user, c)
		missing.chains = append(missing.chains, c)
	}
	l, known := w.lists.Get(chain.ListRef{User: c.user, Conversation: conversation})
	if !known {
		l = &listed{ref: chain.ListRef{User: c.user, Conversation: im.ConversationID(strings.Clone(string(conversation)))}}
		w.lists.Add(l.ref, l)
		missing.lists = append(missing.lists, l)
	}
	return spot{c, l}
}

func (m *missingUser) read(ctx context.Context, r *chain.Reader) error {
	users := make([]im.UserID, len(m.chains))
	for i, c := range m.chains {
		users[i] = c.user
	}
	refs := make([]chain.ListRef, len(m.lists))
	for i, l := range m.lists {
		refs[i] = l.ref
	}
	heads, err := r.UserHeads(ctx, users)
	if err != nil {
		return err
	}
	records, err := r.Lists(ctx, refs)
	if err != nil {
		return err
	}
	for i, c := range m.chains {
		c.head = heads[i]
	}
	for i, l := range m.lists {
		l.record = records[i]
	}
	return nil
}
