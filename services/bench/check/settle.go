package check

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	imv1 "github.com/catena-im/catena/proto/im/v1"
)

const settlePoll = 50 * time.Millisecond

// settle waits until the run has come to rest: every queued message is answered, every device has come as far as its
// user chain by itself, a closing message in every conversation has reached every device, and so has every read
// position. Since a conversation's entries come in order, all that went before a closing message has come, too. What
// does not come in time is left to the judge.
func (r *run) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, r.Settle)
	defer cancel()
	r.phase("waiting for answers")
	if !until(ctx, func() bool { return r.pending() == 0 }) {
		return fmt.Errorf("%d messages were still not answered %v after the load", r.pending(), r.Settle)
	}
	if err := r.catchUp(ctx); err != nil {
		return err
	}
	r.phase("closing the conversations")
	awaited, err := r.closeConversations(ctx)
	if err != nil {
		return err
	}
	r.phase("waiting for the last messages")
	var missing string
	if !until(ctx, func() bool { missing = r.missing(awaited); return missing == "" }) {
		return fmt.Errorf("%s %v after the load", missing, r.Settle)
	}
	r.phase("waiting for read positions")
	return r.settleReads(ctx)
}

// until polls until done, and reports false when ctx ends before.
func until(ctx context.Context, done func() bool) bool {
	for !done() {
		if !pause(ctx, settlePoll) {
			return false
		}
	}
	return true
}

func (r *run) pending() (n int64) {
	for _, d := range r.devices {
		n += d.pending.Load()
	}
	return n
}

// place is what a user's devices must have applied.
type place struct{ user, conversation string }

// closeConversations sends a last message into every conversation and returns how far everybody must come: to the last
// message where they are in, to the one that took them out where they are not.
func (r *run) closeConversations(ctx context.Context) (map[place]uint64, error) {
	awaited := map[place]uint64{}
	for _, cmd := range r.journal.outgoers() {
		for _, u := range cmd.Users {
			p := place{u, cmd.Conversation}
			awaited[p] = max(awaited[p], cmd.Answer.Index)
		}
	}
	closed := map[string]uint64{}
	for _, u := range r.world.users {
		d := r.of(u)
		list, err := d.list(ctx)
		if err != nil {
			return nil, fmt.Errorf("list the conversations of %s: %w", u, err)
		}
		for _, s := range list {
			if id := s.GetConversationId(); s.GetMember() && closed[id] == 0 {
				if closed[id], err = d.close(ctx, id); err != nil {
					return nil, fmt.Errorf("send a last message to %s: %w", id, err)
				}
			}
			if s.GetMember() {
				awaited[place{u, s.GetConversationId()}] = closed[s.GetConversationId()]
			}
		}
	}
	return awaited, nil
}

// close sends the last message of a conversation and returns its index.
func (d *device) close(ctx context.Context, conversation string) (uint64, error) {
	u := d.speech.say(target{conversation: conversation})
	u.frame.Visibility = nil
	s := d.queue(u)
	done, err := d.now().Send(ctx, outgoing(u.frame))
	if err != nil {
		return 0, fmt.Errorf("%s: %w", s.ClientMessageID, err)
	}
	return done.GetConversationIndex(), nil
}

// missing says which device has not come as far as it must; empty when all have.
func (r *run) missing(awaited map[place]uint64) string {
	for p, index := range awaited {
		for _, d := range r.devicesOf(p.user) {
			if got := d.head(p.conversation); got < index {
				return fmt.Sprintf("device %s of %s had %s up to index %d of %d", d.name, d.user, p.conversation, got, index)
			}
		}
	}
	return ""
}

// catchUp waits until every device has come as far as the server's user chain. Nothing is sent meanwhile, so this shows
// a server that does not tell its devices what they missed until the next message comes.
func (r *run) catchUp(ctx context.Context) error {
	for _, d := range r.devices {
		page, err := d.now().PullUser(ctx, &imv1.PullUser{Limit: 1, NewestFirst: true})
		if err != nil {
			return fmt.Errorf("ask for the head of %s: %w", d.user, err)
		}
		head := page.GetHead().GetUserIndex()
		if !until(ctx, func() bool { return d.now().Position() >= head }) {
			return fmt.Errorf("device %s of %s had its user chain up to %d of %d %v after the load", d.name, d.user, d.now().Position(), head, r.Settle)
		}
	}
	return nil
}

// settleReads waits until every device was told the read positions of its list, by events or by a list that an event
// made it read.
func (r *run) settleReads(ctx context.Context) error {
	for _, d := range r.devices {
		var err error
		known := until(ctx, func() bool {
			if d.refreshDue() {
				_, _ = d.list(ctx)
			}
			var list []*imv1.ConversationSummary
			list, _, err = d.now().Conversations(ctx)
			return err == nil && d.knows(list)
		})
		if !known {
			return errors.Join(fmt.Errorf("device %s of %s was not told all read positions %v after the load", d.name, d.user, r.Settle), err)
		}
	}
	return nil
}

// knows reports whether the device was told the read positions in list.
func (d *device) knows(list []*imv1.ConversationSummary) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !slices.ContainsFunc(list, func(s *imv1.ConversationSummary) bool {
		return s.GetReadIndex() != d.known[s.GetConversationId()].index
	})
}
