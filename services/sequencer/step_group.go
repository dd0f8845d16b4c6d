package sequencer

import (
	"slices"
	"strings"

	"github.com/catena-im/catena/pkg/im"
	"github.com/catena-im/catena/pkg/refusal"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// The group commands. Each takes the next index for the system message that reports it, and the membership of whom it
// brings in or takes out begins or ends at that index, included.

// Members who left are kept, since what they may see is asked for ever after. These bound what a group may come to.
const (
	maxEver      = 20 * im.MaxMembers // users who are or were in
	maxIntervals = 32                 // of one user
)

func (c *conversation) create(user im.UserID, r *imv1.CreateGroup) (*imv1.Message, []im.UserID, *refusal.Refusal) {
	if c.id != im.Group(user, im.ClientMessageID(r.GetClientMessageId())) {
		return nil, nil, refusal.New(imv1.ErrorCode_ERROR_CODE_INVALID_ID, "%s is not the id of the group that this command makes", c.id)
	}
	if c.head != nil { // the id is derived from the command, so this is the same command under a kept id: see step
		return nil, nil, notAMember(c.id)
	}
	users := distinct(append([]string{string(user)}, r.GetMemberIds()...))
	if len(users) > im.MaxMembers {
		return nil, nil, groupFull(len(users))
	}
	c.head = &imv1.ConversationHead{
		Kind: imv1.ConversationKind_CONVERSATION_KIND_GROUP, LastIndex: 1, Title: strings.Clone(r.GetTitle()),
	}
	for _, u := range users {
		c.join(u)
	}
	owner := c.find(user)
	owner.record.Role, c.head.OwnerId = imv1.MemberRole_MEMBER_ROLE_OWNER, string(owner.user)
	return system(imv1.SystemEvent_SYSTEM_EVENT_GROUP_CREATED, users, &imv1.SystemBody{Title: r.GetTitle()}), users, nil
}

func (c *conversation) add(user im.UserID, named []string) (*imv1.Message, []im.UserID, *refusal.Refusal) {
	if !c.owner(user) {
		return nil, nil, refusal.New(imv1.ErrorCode_ERROR_CODE_PERMISSION_DENIED, "only the owner of a group adds members; ask %s", c.head.GetOwnerId())
	}
	users := slices.DeleteFunc(distinct(named), c.in)
	if len(users) == 0 {
		return nil, nil, refusal.New(imv1.ErrorCode_ERROR_CODE_ALREADY_MEMBER, "everybody named is in the group already; there is nothing to do")
	}
	if n := int(c.head.GetMemberCount()) + len(users); n > im.MaxMembers {
		return nil, nil, groupFull(n)
	}
	if refused := c.outgrown(users); refused != nil {
		return nil, nil, refused
	}
	c.head.LastIndex++
	for _, u := range users {
		c.join(u)
	}
	return system(imv1.SystemEvent_SYSTEM_EVENT_MEMBERS_ADDED, users, nil), users, nil
}

// outgrown refuses to take users in who would make the group's records too large.
func (c *conversation) outgrown(users []im.UserID) *refusal.Refusal {
	ever := len(c.members)
	for _, u := range users {
		m := c.find(u)
		if m == nil {
			ever++
		} else if len(m.record.GetIntervals()) >= maxIntervals {
			return refusal.New(imv1.ErrorCode_ERROR_CODE_INVALID_ARGUMENT,
				"%q has come and gone %d times, and a group keeps no more; leave them out or make another group", u, maxIntervals)
		}
	}
	if ever > maxEver {
		return refusal.New(imv1.ErrorCode_ERROR_CODE_GROUP_FULL,
			"over time the group would have had %d members, and it keeps %d; make another group", ever, maxEver)
	}
	return nil
}

func (c *conversation) remove(user im.UserID, named []string) (*imv1.Message, []im.UserID, *refusal.Refusal) {
	if !c.owner(user) {
		return nil, nil, refusal.New(imv1.ErrorCode_ERROR_CODE_PERMISSION_DENIED, "only the owner of a group removes members; ask %s", c.head.GetOwnerId())
	}
	users := distinct(named)
	if slices.Contains(users, user) {
		return nil, nil, refusal.New(imv1.ErrorCode_ERROR_CODE_INVALID_ARGUMENT, "the owner cannot be removed; leave the group instead")
	}
	users = slices.DeleteFunc(users, func(u im.UserID) bool { return !c.in(u) })
	if len(users) == 0 {
		return nil, nil, refusal.New(imv1.ErrorCode_ERROR_CODE_INVALID_ARGUMENT, "nobody named is in the group; there is nothing to do")
	}
	c.head.LastIndex++
	for _, u := range users {
		c.part(u)
	}
	return system(imv1.SystemEvent_SYSTEM_EVENT_MEMBERS_REMOVED, users, nil), users, nil
}

func (c *conversation) leave(user im.UserID) (*imv1.Message, []im.UserID, *refusal.Refusal) {
	owned := c.owner(user)
	c.head.LastIndex++
	c.part(user)
	changed := []im.UserID{user}
	body := new(imv1.SystemBody)
	if heir := c.eldest(); owned && heir != nil {
		heir.record.Role = imv1.MemberRole_MEMBER_ROLE_OWNER
		c.head.OwnerId, body.NewOwnerId = string(heir.user), string(heir.user)
		changed = append(changed, heir.user)
	} else if owned {
		c.head.OwnerId = ""
	}
	return system(imv1.SystemEvent_SYSTEM_EVENT_MEMBER_LEFT, []im.UserID{user}, body), changed, nil
}

// join opens an interval for u at the head.
func (c *conversation) join(u im.UserID) {
	i, ok := slices.BinarySearchFunc(c.members, u, compareMember)
	if !ok {
		c.members = slices.Insert(c.members, i, member{u, new(imv1.Participant)})
	}
	p := c.members[i].record
	p.Role = imv1.MemberRole_MEMBER_ROLE_MEMBER
	p.Intervals = append(p.Intervals, &imv1.Interval{JoinedIndex: c.head.GetLastIndex()})
	c.head.MemberCount++
}

// part closes the open interval of u, who is in, at the head.
func (c *conversation) part(u im.UserID) {
	p := c.find(u).record
	p.Intervals[len(p.Intervals)-1].LeftIndex = c.head.GetLastIndex()
	p.Role = imv1.MemberRole_MEMBER_ROLE_UNSPECIFIED
	c.head.MemberCount--
}

// eldest is the member who has been in longest without a break, of several the first by id; nil when nobody is in.
func (c *conversation) eldest() *member {
	since := func(m *member) uint64 { return m.record.Intervals[len(m.record.Intervals)-1].GetJoinedIndex() }
	var best *member
	for i := range c.members {
		if m := &c.members[i]; m.in() && (best == nil || since(m) < since(best)) {
			best = m
		}
	}
	return best
}

func system(event imv1.SystemEvent, users []im.UserID, body *imv1.SystemBody) *imv1.Message {
	if body == nil {
		body = new(imv1.SystemBody)
	}
	body.Event = event
	for _, u := range users {
		body.UserIds = append(body.UserIds, string(u))
	}
	return &imv1.Message{
		Type: imv1.MessageType_MESSAGE_TYPE_SYSTEM,
		Body: &imv1.Body{Content: &imv1.Body_System{System: body}},
	}
}

func groupFull(n int) *refusal.Refusal {
	return refusal.New(imv1.ErrorCode_ERROR_CODE_GROUP_FULL,
		"the group would have %d members and may have %d; remove some or make another group", n, im.MaxMembers)
}

// distinct is names without repetitions, sorted. They are copied: a group keeps the names of its members longer than the
// memory of a command lasts.
func distinct(names []string) []im.UserID {
	users := make([]im.UserID, len(names))
	for i, n := range names {
		users[i] = im.UserID(strings.Clone(n))
	}
	slices.Sort(users)
	return slices.Compact(users)
}
