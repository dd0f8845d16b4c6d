package sequencer

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strings"

	"github.com/catena-im/catena/pkg/chain"
	"github.com/catena-im/catena/pkg/im"
	"github.com/catena-im/catena/pkg/refusal"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// place is where a command stands in its stream, and when the stream took it.
type place struct {
	sequence uint64
	ordinal  uint32
	timeMs   int64
}

// conversation is the state of one conversation as the fold has it.
type conversation struct {
	id      im.ConversationID
	parsed  im.Conversation
	head    *imv1.ConversationHead // nil: there is none yet
	members []member               // of a group, sorted by user; everybody who is or was in
	cached  int                    // records that the worker's cache counts for it
	moved   bool                   // the batch changed the head
}

// member is a user who is or was in a group.
type member struct {
	user   im.UserID
	record *imv1.Participant
}

func (m member) in() bool { return chain.MembershipOf(im.Conversation{}, m.user, m.record).Now() }

func compareMember(m member, u im.UserID) int { return strings.Compare(string(m.user), string(u)) }

// find returns the member record of u, nil when u never was in.
func (c *conversation) find(u im.UserID) *member {
	if i, ok := slices.BinarySearchFunc(c.members, u, compareMember); ok {
		return &c.members[i]
	}
	return nil
}

// in reports whether u is in the conversation now.
func (c *conversation) in(u im.UserID) bool {
	if c.parsed.Kind == im.KindSingle {
		return c.parsed.Holds(u)
	}
	m := c.find(u)
	return m != nil && m.in()
}

// owner reports whether u owns the group.
func (c *conversation) owner(u im.UserID) bool { return c.in(u) && im.UserID(c.head.GetOwnerId()) == u }

// recipients are the users who may see msg, sorted. It is a function of the message's index and the intervals, which
// are kept, so it answers the same whenever it is asked.
func (c *conversation) recipients(msg *imv1.Message) []im.UserID {
	vis, sender, at := chain.VisibilityOf(msg.GetVisibility()), im.UserID(msg.GetSenderId()), im.ConversationIndex(msg.GetConversationIndex())
	var out []im.UserID
	switch {
	case c.parsed.Kind == im.KindSingle:
		out = make([]im.UserID, 0, 2)
		for i, u := range c.parsed.Users {
			if vis.Admits(sender, u) && (i == 0 || u != c.parsed.Users[0]) {
				out = append(out, u)
			}
		}
	case vis.Scope == im.Everyone:
		out = make([]im.UserID, 0, c.head.GetMemberCount())
		for _, m := range c.members {
			if chain.MembershipOf(c.parsed, m.user, m.record).At(at) {
				out = append(out, m.user)
			}
		}
	default: // few of many: sender and named, whom Admits lets in one by one
		named := append(slices.Clone(vis.Users), sender)
		slices.Sort(named)
		for _, u := range slices.Compact(named) {
			if m := c.find(u); m != nil && chain.MembershipOf(c.parsed, u, m.record).At(at) && vis.Admits(sender, u) {
				out = append(out, u)
			}
		}
	}
	return out
}

// convState is what the conversation step folds over. It is loaded with everything that a batch touches.
type convState struct {
	conversations map[im.ConversationID]*conversation
	ids           map[im.MessageID]*imv1.MessageIdRecord // nil: no such message
	entered       []im.MessageID                         // those of ids that were made here

	answers  slab[sentAnswer]
	messages slab[imv1.Message]
}

// sentAnswer is an answer, with what it takes to say that a message was sent.
type sentAnswer struct {
	imv1.Answer
	result imv1.Answer_Sent
	sent   imv1.Sent
}

// newConvState has room for what so many commands touch.
func newConvState(commands int) *convState {
	return &convState{
		conversations: make(map[im.ConversationID]*conversation, commands),
		ids:           make(map[im.MessageID]*imv1.MessageIdRecord, 2*commands),
	}
}

// entered is what becomes of a command that takes a place in the chain.
type entered struct {
	message    *imv1.Message // nil: the command was refused, or is repeated
	digest     uint64
	recipients []im.UserID
	changed    []im.UserID // members whose record the command changed
}

// step applies one command, which load has prepared. It answers the command and, if the command took a place in the
// chain, what has to be written. It changes st accordingly. A refused command changes nothing.
func (st *convState) step(l *located) (*imv1.Answer, entered) {
	a, c := st.answers.one(), l.conversation
	a.Session, a.RequestId = l.command.GetSession(), l.command.GetRequestId()
	digest := contentDigest(l.command)
	if r := st.ids[l.id]; r != nil {
		a.Result = &imv1.Answer_Sent{Sent: sentAgain(c.id, l.id, r, digest)}
		return &a.Answer, entered{}
	}
	msg, changed, refused := st.decide(l)
	if refused != nil {
		a.Result = &imv1.Answer_Error{Error: refused.Wire()}
		return &a.Answer, entered{}
	}
	msg.MessageId = l.id[:]
	msg.ClientMessageId = l.asked.clientMessageID
	msg.ConversationId = string(c.id)
	msg.ConversationIndex = c.head.GetLastIndex()
	msg.SenderId = l.command.GetUserId()
	msg.ServerTimeMs = l.timeMs
	st.ids[l.id] = &imv1.MessageIdRecord{
		ConversationIndex: msg.GetConversationIndex(), Sequence: l.sequence, Ordinal: l.ordinal,
		ContentDigest: digest, ServerTimeMs: l.timeMs,
	}
	st.entered = append(st.entered, l.id)
	a.sent.MessageId, a.sent.ConversationId = msg.GetMessageId(), msg.GetConversationId()
	a.sent.ConversationIndex, a.sent.ServerTimeMs = msg.GetConversationIndex(), msg.GetServerTimeMs()
	a.result.Sent, a.Result = &a.sent, &a.result
	return &a.Answer, entered{message: msg, digest: digest, recipients: c.recipients(msg), changed: changed}
}

// decide carries the command out on its conversation: it takes the next index and changes members, or refuses and
// changes nothing.
func (st *convState) decide(l *located) (*imv1.Message, []im.UserID, *refusal.Refusal) {
	c, user := l.conversation, im.UserID(l.command.GetUserId())
	switch a := l.command.GetAction().(type) {
	case *imv1.Command_CreateGroup:
		return c.create(user, a.CreateGroup)
	case *imv1.Command_Send:
		msg, refused := st.send(l, a.Send)
		return msg, nil, refused
	}
	if c.parsed.Kind != im.KindGroup || !c.in(user) {
		return nil, nil, notAMember(c.id)
	}
	switch a := l.command.GetAction().(type) {
	case *imv1.Command_AddMembers:
		return c.add(user, a.AddMembers.GetUserIds())
	case *imv1.Command_RemoveMembers:
		return c.remove(user, a.RemoveMembers.GetUserIds())
	case *imv1.Command_LeaveGroup:
		return c.leave(user)
	}
	return nil, nil, refusal.New(imv1.ErrorCode_ERROR_CODE_UNKNOWN_TYPE, "this server does not know the command; a newer one may")
}

// send enters a message.
func (st *convState) send(l *located, s *imv1.Send) (*imv1.Message, *refusal.Refusal) {
	c, user := l.conversation, im.UserID(l.command.GetUserId())
	if !c.in(user) {
		return nil, notAMember(c.id)
	}
	for _, u := range s.GetVisibility().GetUserIds() {
		if !c.in(im.UserID(u)) {
			return nil, refusal.New(imv1.ErrorCode_ERROR_CODE_INVALID_VISIBILITY,
				"the visibility names %q, who is not in %s; name members only", u, c.id)
		}
	}
	if s.GetAfter() != "" && st.ids[l.after] == nil {
		return nil, refusal.New(imv1.ErrorCode_ERROR_CODE_OUT_OF_ORDER,
			"message %q, which comes before this one, is not in %s; send it first, then this one again", s.GetAfter(), c.id)
	}
	if c.head == nil {
		c.head = &imv1.ConversationHead{Kind: imv1.ConversationKind_CONVERSATION_KIND_SINGLE}
	}
	c.head.LastIndex++
	msg := st.messages.one()
	msg.Type, msg.Body, msg.Visibility = s.GetType(), s.GetBody(), s.GetVisibility()
	if c.parsed.Kind == im.KindSingle {
		msg.ReceiverId = string(c.parsed.Peer(user))
	}
	return msg, nil
}

// sentAgain is the first answer again.
func sentAgain(c im.ConversationID, id im.MessageID, r *imv1.MessageIdRecord, digest uint64) *imv1.Sent {
	return &imv1.Sent{
		MessageId: id[:], ConversationId: string(c), ConversationIndex: r.GetConversationIndex(),
		ServerTimeMs: r.GetServerTimeMs(), Duplicate: true, ContentDiffers: r.GetContentDigest() != digest,
	}
}

func notAMember(c im.ConversationID) *refusal.Refusal {
	return refusal.New(imv1.ErrorCode_ERROR_CODE_NOT_A_MEMBER,
		"%s does not exist or you are not in it; check the id, or ask its owner to add you", c)
}

// asked is what every command has in common.
type asked struct {
	clientMessageID string
	after           string   // of a Send
	users           []string // whom the command names
}

func request(cmd *imv1.Command) asked {
	switch a := cmd.GetAction().(type) {
	case *imv1.Command_Send:
		return asked{a.Send.GetClientMessageId(), a.Send.GetAfter(), a.Send.GetVisibility().GetUserIds()}
	case *imv1.Command_CreateGroup:
		return asked{clientMessageID: a.CreateGroup.GetClientMessageId(), users: a.CreateGroup.GetMemberIds()}
	case *imv1.Command_AddMembers:
		return asked{clientMessageID: a.AddMembers.GetClientMessageId(), users: a.AddMembers.GetUserIds()}
	case *imv1.Command_RemoveMembers:
		return asked{clientMessageID: a.RemoveMembers.GetClientMessageId(), users: a.RemoveMembers.GetUserIds()}
	case *imv1.Command_LeaveGroup:
		return asked{clientMessageID: a.LeaveGroup.GetClientMessageId()}
	}
	return asked{}
}

// oversize refuses a command of which a part is larger than an edge lets it be. What such a command comes to might not
// fit into a commit or a message, and then the partition could not go on.
func oversize(cmd *imv1.Command, ask asked) *refusal.Refusal {
	send := cmd.GetSend()
	long := func(id string) bool { return len(id) > im.MaxID }
	switch {
	case ask.clientMessageID == "" && cmd.GetAction() != nil, long(cmd.GetUserId()), long(ask.clientMessageID), long(ask.after):
		return refusal.New(imv1.ErrorCode_ERROR_CODE_INVALID_ID, "an id is empty, or longer than %d bytes", im.MaxID)
	case len(ask.users) > im.MaxMembers, slices.ContainsFunc(ask.users, long), len(cmd.GetCreateGroup().GetTitle()) > im.MaxTitle,
		send.GetVisibility().SizeVT() > im.MaxMembers*(im.MaxID+4):
		return refusal.New(imv1.ErrorCode_ERROR_CODE_INVALID_ARGUMENT, "the command names more, or longer, than it may: %d users, %d bytes of a title", im.MaxMembers, im.MaxTitle)
	case send.GetBody().SizeVT() > im.MaxBody:
		return refusal.New(imv1.ErrorCode_ERROR_CODE_BODY_TOO_LARGE, "the body is larger than %d bytes; send less, or a link to it", im.MaxBody)
	}
	return nil
}

func tooMuch() *refusal.Refusal {
	return refusal.New(imv1.ErrorCode_ERROR_CODE_OVERLOADED, "too much came at once; send it again")
}

// contentDigest tells one content from another under the same client message id. What says how to deliver the command
// (request id, session, after) does not count.
func contentDigest(cmd *imv1.Command) uint64 {
	var content imv1.Encoder
	var kind byte
	switch a := cmd.GetAction().(type) {
	case *imv1.Command_Send:
		kind, content = 's', &imv1.Message{Type: a.Send.GetType(), Body: a.Send.GetBody(), Visibility: a.Send.GetVisibility()}
	case *imv1.Command_CreateGroup:
		kind, content = 'c', a.CreateGroup
	case *imv1.Command_AddMembers:
		kind, content = 'a', a.AddMembers
	case *imv1.Command_RemoveMembers:
		kind, content = 'r', a.RemoveMembers
	case *imv1.Command_LeaveGroup:
		kind, content = 'l', a.LeaveGroup
	}
	if content == nil {
		return 0
	}
	var sum [sha256.Size]byte
	_ = encoded(content, func(b []byte) error { // it answers what the function does
		sum = sha256.Sum256(slices.Insert(b, 0, kind))
		return nil
	})
	return binary.BigEndian.Uint64(sum[:])
}
