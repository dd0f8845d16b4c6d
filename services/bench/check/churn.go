package check

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	imv1 "github.com/catena-im/catena/proto/im/v1"
	"github.com/catena-im/catena/services/bench/check/judge"
)

const (
	churnEvery  = time.Second
	foundWithin = 30 * time.Second // for making one group
)

// found makes the groups that are planned.
func (r *run) found(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, foundWithin)
	defer cancel()
	for _, plan := range r.world.plans {
		cmd := &judge.Command{User: plan.owner, Event: imv1.SystemEvent_SYSTEM_EVENT_GROUP_CREATED, Users: plan.members, Title: plan.title}
		r.journal.command(cmd)
		made, err := r.of(plan.owner).now().CreateGroup(ctx, plan.title, plan.members)
		if err != nil {
			return err
		}
		r.journal.obeyed(cmd, made)
		r.world.founded(&group{made.GetConversationId(), plan.owner, append([]string{plan.owner}, plan.members...)})
	}
	return nil
}

// churn changes who is in the groups until load ends. What it starts may end a little later, within ctx.
func (r *run) churn(ctx, load context.Context, rng *rand.Rand) {
	for pause(load, jitter(rng, r.every(churnEvery))) {
		groups := r.world.all()
		if len(groups) == 0 {
			return
		}
		call, cancel := context.WithTimeout(ctx, callTimeout)
		r.change(call, rng, groups[rng.IntN(len(groups))])
		cancel()
	}
}

// change brings one user into a group or takes one out.
func (r *run) change(ctx context.Context, rng *rand.Rand, g group) {
	g, ok := r.ask(ctx, g)
	if !ok {
		return
	}
	outside := slices.DeleteFunc(slices.Clone(r.world.users), func(u string) bool { return slices.Contains(g.members, u) })
	removable := slices.DeleteFunc(slices.Clone(g.members), func(u string) bool { return u == g.owner })
	switch chance := rng.IntN(100); {
	case chance < 50 && len(outside) > 1: // one outsider stays
		r.add(ctx, g, outside[rng.IntN(len(outside))])
	case chance < 75 && len(removable) > 1:
		r.remove(ctx, g, removable[rng.IntN(len(removable))])
	case len(removable) > 1:
		r.leave(ctx, g, g.members[rng.IntN(len(g.members))])
	}
}

// ask brings g up to date from the first of its members who is answered.
func (r *run) ask(ctx context.Context, g group) (group, bool) {
	for _, u := range g.members {
		info, err := r.of(u).now().Conversation(ctx, g.id)
		if err != nil {
			continue
		}
		g.members = nil
		for _, m := range info.GetMembers() {
			g.members = append(g.members, m.GetUserId())
			if m.GetRole() == imv1.MemberRole_MEMBER_ROLE_OWNER {
				g.owner = m.GetUserId()
			}
		}
		r.world.learned(g.id, g.owner, g.members)
		return g, true
	}
	return g, false
}

func (r *run) add(ctx context.Context, g group, user string) {
	cmd := &judge.Command{User: g.owner, Conversation: g.id, Event: imv1.SystemEvent_SYSTEM_EVENT_MEMBERS_ADDED, Users: []string{user}}
	r.journal.command(cmd)
	if done, err := r.of(g.owner).now().AddMembers(ctx, g.id, cmd.Users); err == nil {
		r.journal.obeyed(cmd, done)
		r.world.learned(g.id, g.owner, append(g.members, user))
	}
}

func (r *run) remove(ctx context.Context, g group, user string) {
	cmd := &judge.Command{User: g.owner, Conversation: g.id, Event: imv1.SystemEvent_SYSTEM_EVENT_MEMBERS_REMOVED, Users: []string{user}}
	r.journal.command(cmd)
	if done, err := r.of(g.owner).now().RemoveMembers(ctx, g.id, cmd.Users); err == nil {
		r.journal.obeyed(cmd, done)
		r.world.learned(g.id, g.owner, slices.DeleteFunc(g.members, func(u string) bool { return u == user }))
	}
}

func (r *run) leave(ctx context.Context, g group, user string) {
	cmd := &judge.Command{User: user, Conversation: g.id, Event: imv1.SystemEvent_SYSTEM_EVENT_MEMBER_LEFT, Users: []string{user}}
	r.journal.command(cmd)
	if done, err := r.of(user).now().LeaveGroup(ctx, g.id); err == nil {
		r.journal.obeyed(cmd, done)
		r.world.learned(g.id, g.owner, slices.DeleteFunc(g.members, func(u string) bool { return u == user }))
	}
}
