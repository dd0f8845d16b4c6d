package sequencer

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/catena-im/catena/pkg/bus"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// The model says what the streams come to, in the plainest way there is: everything in maps, one command at a time,
// nothing cached, nothing cut. It shares no code with the steps.

// modelMessage is an entry of a conversation chain.
type modelMessage struct {
	index    int
	sender   string
	cm       string
	content  string
	seq, ord int
	seenBy   map[string]bool
}

type modelConversation struct {
	group   bool
	exists  bool
	owner   string
	since   map[string]int // members now → index at which they came in
	chain   []*modelMessage
	byID    map[string]*modelMessage // by sender and client id
	content map[string]string        // what was asked for, by sender and client id
}

// verdict is what became of one command.
type verdict struct {
	code    imv1.ErrorCode // of a refusal
	message *modelMessage
	differs bool
}

type model struct {
	conversations map[string]*modelConversation
	verdicts      map[uint64]verdict // by Command.session, which the tests number
	users         map[string]*modelUser
	partitions    map[bus.Partition]map[string]bool // (from, seq, ord) that a user partition has had
}

type modelUser struct {
	chain   []string // "conversation index"
	seen    map[string]int
	read    map[string]int
	version int
}

func newModel(c *cell) *model {
	m := &model{
		conversations: make(map[string]*modelConversation), verdicts: make(map[uint64]verdict),
		users: make(map[string]*modelUser), partitions: make(map[bus.Partition]map[string]bool),
	}
	for _, p := range c.partitions() {
		for _, msg := range c.streams[p] {
			if p.Kind == bus.Conv {
				m.commands(msg)
			} else {
				m.userBatch(p, msg)
			}
		}
	}
	return m
}

func (m *model) commands(msg bus.Msg) {
	b := new(imv1.CommandBatch)
	if err := proto.Unmarshal(msg.Data, b); err != nil {
		return
	}
	for i, cmd := range b.GetCommands() {
		m.verdicts[cmd.GetSession()] = m.command(int(msg.Seq), i, cmd)
	}
}

func (m *model) conversation(id string) *modelConversation {
	c := m.conversations[id]
	if c == nil {
		c = &modelConversation{
			group: id[0] == 'g', since: map[string]int{}, byID: map[string]*modelMessage{}, content: map[string]string{},
		}
		m.conversations[id] = c
	}
	if !c.group && len(c.since) == 0 {
		var a, b string
		for i := 2; i < len(id); i++ {
			if id[i] == ':' {
				a, b = id[2:i], id[i+1:]
			}
		}
		c.since[a], c.since[b] = 1, 1
	}
	return c
}

func (m *model) command(seq, ord int, cmd *imv1.Command) verdict {
	c, user := m.conversation(cmd.GetConversationId()), cmd.GetUserId()
	cm, content := asString(cmd)
	key := user + " " + cm
	if first := c.byID[key]; first != nil {
		return verdict{message: first, differs: content != c.content[key]}
	}
	out := &modelMessage{index: len(c.chain) + 1, sender: user, cm: cm, content: content, seq: seq, ord: ord, seenBy: map[string]bool{}}
	_, member := c.since[user]
	if code := m.apply(c, out, cmd, member); code != 0 {
		return verdict{code: code}
	}
	c.chain = append(c.chain, out)
	c.byID[key], c.content[key] = out, content
	return verdict{message: out}
}

// apply carries a command out on c and fills in who sees the message.
func (m *model) apply(c *modelConversation, out *modelMessage, cmd *imv1.Command, member bool) imv1.ErrorCode {
	user := cmd.GetUserId()
	if create := cmd.GetCreateGroup(); create != nil {
		c.exists, c.owner = true, user
		for _, u := range append(create.GetMemberIds(), user) {
			c.since[u] = out.index
		}
		out.show(c)
		return 0
	}
	if !member {
		return imv1.ErrorCode_ERROR_CODE_NOT_A_MEMBER
	}
	switch {
	case cmd.GetSend() != nil:
		return c.send(out, cmd.GetSend())
	case cmd.GetAddMembers() != nil:
		return c.add(out, user, cmd.GetAddMembers().GetUserIds())
	case cmd.GetRemoveMembers() != nil:
		return c.remove(out, user, cmd.GetRemoveMembers().GetUserIds())
	}
	out.show(c)
	delete(c.since, user)
	if c.owner == user {
		c.owner = ""
		for _, u := range slices.Sorted(maps.Keys(c.since)) {
			if c.owner == "" || c.since[u] < c.since[c.owner] {
				c.owner = u
			}
		}
	}
	return 0
}

// show lets everybody who is in see the message.
func (m *modelMessage) show(c *modelConversation) {
	for u := range c.since {
		m.seenBy[u] = true
	}
}

func (c *modelConversation) send(out *modelMessage, s *imv1.Send) imv1.ErrorCode {
	for _, u := range s.GetVisibility().GetUserIds() {
		if _, in := c.since[u]; !in {
			return imv1.ErrorCode_ERROR_CODE_INVALID_VISIBILITY
		}
	}
	if s.GetAfter() != "" && c.byID[out.sender+" "+s.GetAfter()] == nil {
		return imv1.ErrorCode_ERROR_CODE_OUT_OF_ORDER
	}
	switch s.GetVisibility().GetScope() {
	case imv1.VisibilityScope_VISIBILITY_SCOPE_PART:
		for _, u := range s.GetVisibility().GetUserIds() {
			out.seenBy[u] = true
		}
	case imv1.VisibilityScope_VISIBILITY_SCOPE_SELF:
	default:
		out.show(c)
	}
	out.seenBy[out.sender] = true
	return 0
}

func (c *modelConversation) add(out *modelMessage, user string, named []string) imv1.ErrorCode {
	if c.owner != user {
		return imv1.ErrorCode_ERROR_CODE_PERMISSION_DENIED
	}
	fresh := slices.DeleteFunc(slices.Clone(named), func(u string) bool { _, in := c.since[u]; return in })
	if len(fresh) == 0 {
		return imv1.ErrorCode_ERROR_CODE_ALREADY_MEMBER
	}
	for _, u := range fresh {
		c.since[u] = out.index
	}
	out.show(c)
	return 0
}

func (c *modelConversation) remove(out *modelMessage, user string, named []string) imv1.ErrorCode {
	if c.owner != user {
		return imv1.ErrorCode_ERROR_CODE_PERMISSION_DENIED
	}
	in := slices.DeleteFunc(slices.Clone(named), func(u string) bool { _, in := c.since[u]; return !in })
	if slices.Contains(named, user) || len(in) == 0 {
		return imv1.ErrorCode_ERROR_CODE_INVALID_ARGUMENT
	}
	out.show(c) // those who are taken out see that they were
	for _, u := range in {
		delete(c.since, u)
	}
	return 0
}

// asString is a command's client id and what it asks for.
func asString(cmd *imv1.Command) (cm, content string) {
	switch a := cmd.GetAction().(type) {
	case *imv1.Command_Send:
		return a.Send.GetClientMessageId(), fmt.Sprint("send ", a.Send.GetBody().GetText().GetText(), a.Send.GetVisibility().GetScope(), a.Send.GetVisibility().GetUserIds())
	case *imv1.Command_CreateGroup:
		return a.CreateGroup.GetClientMessageId(), fmt.Sprint("create ", a.CreateGroup.GetTitle(), a.CreateGroup.GetMemberIds())
	case *imv1.Command_AddMembers:
		return a.AddMembers.GetClientMessageId(), fmt.Sprint("add ", a.AddMembers.GetUserIds())
	case *imv1.Command_RemoveMembers:
		return a.RemoveMembers.GetClientMessageId(), fmt.Sprint("remove ", a.RemoveMembers.GetUserIds())
	default:
		return cmd.GetLeaveGroup().GetClientMessageId(), "leave"
	}
}

func (m *model) user(id string) *modelUser {
	u := m.users[id]
	if u == nil {
		u = &modelUser{seen: map[string]int{}, read: map[string]int{}}
		m.users[id] = u
	}
	return u
}

// userBatch enters what a user stream says; each (conversation partition, sequence, ordinal) once.
func (m *model) userBatch(p bus.Partition, msg bus.Msg) {
	b := new(imv1.UserBatch)
	if err := proto.Unmarshal(msg.Data, b); err != nil {
		return
	}
	had := m.partitions[p]
	if had == nil {
		had = make(map[string]bool)
		m.partitions[p] = had
	}
	for _, e := range b.GetFanout().GetEntries() {
		place := fmt.Sprint(b.GetFanout().GetConversationPartition(), " ", e.GetSequence(), " ", e.GetOrdinal())
		if had[place] {
			continue
		}
		had[place] = true
		inner := new(imv1.Message)
		if err := proto.Unmarshal(e.GetMessage(), inner); err != nil {
			panic(err)
		}
		for _, id := range e.GetUserIds() {
			u := m.user(id)
			u.chain = append(u.chain, fmt.Sprint(inner.GetConversationId(), " ", inner.GetConversationIndex()))
			u.seen[inner.GetConversationId()] = int(inner.GetConversationIndex())
		}
	}
	for _, cmd := range b.GetCommands().GetCommands() {
		u, r := m.user(cmd.GetUserId()), cmd.GetMarkRead()
		if to := min(int(r.GetReadIndex()), u.seen[r.GetConversationId()]); to > u.read[r.GetConversationId()] {
			u.read[r.GetConversationId()] = to
			u.version++
		}
	}
}

// unread is how many messages user has not read of c.
func (m *model) unread(user, c string) (n int) {
	u := m.users[user]
	for _, msg := range m.conversations[c].chain {
		own := msg.sender == user
		system := msg.content[:4] != "send"
		if msg.index > u.read[c] && msg.index <= u.seen[c] && msg.seenBy[user] && !own && !system {
			n++
		}
	}
	return n
}

// owed is what every user's chain must hold of conversation c, in order.
func (m *model) owed(c string) map[string][]int {
	out := make(map[string][]int)
	for _, msg := range m.conversations[c].chain {
		for u := range msg.seenBy {
			out[u] = append(out[u], msg.index)
		}
	}
	for _, list := range out {
		slices.SortFunc(list, cmp.Compare)
	}
	return out
}
