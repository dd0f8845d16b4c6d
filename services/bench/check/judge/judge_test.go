package judge

import (
	"fmt"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	imv1 "github.com/catena-im/catena/proto/im/v1"
)

const (
	group = "g:team"
	pair  = "s:ann:bob"
)

// scene builds the Record of a server that kept the laws.
type scene struct {
	Record
	chains map[string][]*imv1.Message
	users  map[string][]Entry
	clock  int64
}

// sees says who may see what, written down per message instead of derived as the judge does it.
func (s *scene) enter(m *imv1.Message, sees ...string) *imv1.Message {
	s.clock++
	m.ConversationIndex = uint64(len(s.chains[m.GetConversationId()]) + 1)
	m.MessageId = fmt.Appendf(nil, "%016d", s.clock)
	m.ServerTimeMs = s.clock
	s.chains[m.GetConversationId()] = append(s.chains[m.GetConversationId()], m)
	for _, u := range sees {
		s.users[u] = append(s.users[u], Entry{UserIndex: uint64(len(s.users[u]) + 1), Message: m})
	}
	return m
}

func (s *scene) send(user, conversation, id string, v *imv1.Visibility, sees ...string) {
	body := &imv1.Body{Content: &imv1.Body_Text{Text: &imv1.TextBody{Text: "text of " + id}}}
	text := imv1.MessageType_MESSAGE_TYPE_TEXT
	receiver := ""
	if conversation == pair {
		receiver = map[string]string{"ann": "bob", "bob": "ann"}[user]
	}
	m := s.enter(&imv1.Message{ClientMessageId: id, ConversationId: conversation, SenderId: user, ReceiverId: receiver, Type: text, Body: body, Visibility: v}, sees...)
	s.Sends = append(s.Sends, &Send{User: user, Device: "d1", Outbox: true, Conversation: conversation, ClientMessageID: id,
		Contents: []Content{{text, body, v}}, Answers: []Answer{answer(m)}})
}

func (s *scene) command(user, id string, event imv1.SystemEvent, users []string, owner string, sees ...string) {
	title := ""
	if event == imv1.SystemEvent_SYSTEM_EVENT_GROUP_CREATED {
		title = "team"
	}
	m := s.enter(&imv1.Message{ClientMessageId: id, ConversationId: group, SenderId: user, Type: imv1.MessageType_MESSAGE_TYPE_SYSTEM,
		Body: &imv1.Body{Content: &imv1.Body_System{System: &imv1.SystemBody{Event: event, UserIds: users, Title: title, NewOwnerId: owner}}}}, sees...)
	a := answer(m)
	s.Commands = append(s.Commands, &Command{User: user, Conversation: group, Event: event, Users: users, Title: title, Answer: &a})
}

func answer(m *imv1.Message) Answer {
	return AnswerOf(&imv1.Sent{MessageId: m.GetMessageId(), ConversationId: m.GetConversationId(), ConversationIndex: m.GetConversationIndex(), ServerTimeMs: m.GetServerTimeMs()})
}

func part(users ...string) *imv1.Visibility {
	return &imv1.Visibility{Scope: imv1.VisibilityScope_VISIBILITY_SCOPE_PART, UserIds: users}
}

func self() *imv1.Visibility {
	return &imv1.Visibility{Scope: imv1.VisibilityScope_VISIBILITY_SCOPE_SELF}
}

// honest is a run with a single conversation and a group whose members change, and an outsider, dan.
func honest() *scene {
	s := &scene{chains: map[string][]*imv1.Message{}, users: map[string][]Entry{}}
	s.Seed = 7
	s.send("ann", pair, "p1", nil, "ann", "bob")
	s.send("ann", pair, "p2", self(), "ann")
	s.send("bob", pair, "p3", nil, "ann", "bob")
	s.command("ann", "g1", imv1.SystemEvent_SYSTEM_EVENT_GROUP_CREATED, []string{"ann", "bob"}, "", "ann", "bob")
	s.send("ann", group, "g2", nil, "ann", "bob")
	s.command("ann", "g3", imv1.SystemEvent_SYSTEM_EVENT_MEMBERS_ADDED, []string{"cid"}, "", "ann", "bob", "cid")
	s.send("cid", group, "g4", part("ann"), "ann", "cid")
	s.send("bob", group, "g5", nil, "ann", "bob", "cid")
	s.command("ann", "g6", imv1.SystemEvent_SYSTEM_EVENT_MEMBER_LEFT, []string{"ann"}, "bob", "ann", "bob", "cid")
	s.send("bob", group, "g7", nil, "bob", "cid")
	s.views()
	return s
}

// views writes down what an honest server shows at the end.
func (s *scene) views() {
	for _, u := range []string{"ann", "bob", "cid", "dan"} {
		entries := s.users[u]
		s.Users = append(s.Users, UserView{User: u, Entries: entries, Head: &imv1.Head{UserIndex: uint64(len(entries))}})
		s.Devices = append(s.Devices, DeviceView{User: u, Device: "d1", Applied: entries})
		s.Lists = append(s.Lists, ListView{User: u, Device: "d1"})
		list := &s.Lists[len(s.Lists)-1]
		for _, c := range []string{pair, group} {
			view := ConversationView{User: u, Conversation: c}
			for _, e := range entries {
				if e.Message.GetConversationId() == c {
					view.Messages = append(view.Messages, e.Message)
					view.Head = e.Message.GetConversationIndex()
				}
			}
			if view.Head == 0 {
				view.Refusal = imv1.ErrorCode_ERROR_CODE_NOT_A_MEMBER
			} else {
				list.Summaries = append(list.Summaries, summary(u, view))
			}
			s.Conversations = append(s.Conversations, view)
			s.Infos = append(s.Infos, info(u, c, view.Refusal))
		}
	}
	s.Marks = []Mark{{"ann", pair, 3}, {"bob", group, 2}}
	s.Reads = []Read{{"bob", group, 1, 1}, {"bob", group, 2, 2}, {"ann", pair, 3, 1}}
	s.Sightings = []Sighting{{"cid", ViaPush, 3, s.chains[group][4]}, {"ann", ViaPull, 0, s.chains[group][3]}}
}

// summary gives read positions 3 to ann in the pair, and 2 to bob in the group.
func summary(user string, view ConversationView) *imv1.ConversationSummary {
	sum := &imv1.ConversationSummary{ConversationId: view.Conversation, Kind: imv1.ConversationKind_CONVERSATION_KIND_SINGLE, Member: true,
		LastMessage: view.Messages[len(view.Messages)-1]}
	if view.Conversation == group {
		sum.Kind, sum.Title, sum.Member = imv1.ConversationKind_CONVERSATION_KIND_GROUP, "team", user != "ann"
	}
	sum.Unread = map[string]uint32{"ann" + group: 2, "cid" + group: 2, "bob" + pair: 1}[user+view.Conversation]
	sum.ReadIndex = map[string]uint64{"ann" + pair: 3, "bob" + group: 2}[user+view.Conversation]
	return sum
}

func info(user, conversation string, refusal imv1.ErrorCode) InfoView {
	v := InfoView{User: user, Conversation: conversation, Refusal: refusal}
	switch {
	case refusal != 0:
	case conversation == group && user == "ann":
		v.Refusal = imv1.ErrorCode_ERROR_CODE_NOT_A_MEMBER
	default:
		v.Info = &imv1.Conversation{ConversationId: conversation, Members: []*imv1.Member{
			{UserId: "bob", Role: imv1.MemberRole_MEMBER_ROLE_OWNER, JoinedIndex: 1},
			{UserId: "cid", Role: imv1.MemberRole_MEMBER_ROLE_MEMBER, JoinedIndex: 3}}}
	}
	return v
}

// The lookups by which tests reach into a scene.
func (s *scene) conversation(user, id string) *ConversationView {
	i := slices.IndexFunc(s.Conversations, func(v ConversationView) bool { return v.User == user && v.Conversation == id })
	return &s.Conversations[i]
}

func (s *scene) user(user string) *UserView {
	i := slices.IndexFunc(s.Users, func(v UserView) bool { return v.User == user })
	return &s.Users[i]
}

func (s *scene) device(user string) *DeviceView {
	i := slices.IndexFunc(s.Devices, func(v DeviceView) bool { return v.User == user })
	return &s.Devices[i]
}

func (s *scene) summary(user, id string) *imv1.ConversationSummary {
	i := slices.IndexFunc(s.Lists, func(v ListView) bool { return v.User == user })
	for _, sum := range s.Lists[i].Summaries {
		if sum.GetConversationId() == id {
			return sum
		}
	}
	panic("no summary")
}

func (s *scene) sent(id string) *Send {
	i := slices.IndexFunc(s.Sends, func(v *Send) bool { return v.ClientMessageID == id })
	return s.Sends[i]
}

// changed is the messages with the one at index i replaced by a copy that change was applied to.
func changed(messages []*imv1.Message, i int, change func(*imv1.Message)) []*imv1.Message {
	messages = slices.Clone(messages)
	messages[i] = proto.CloneOf(messages[i])
	change(messages[i])
	return messages
}

// inserted is the entries with m entered at i, and renumbered.
func inserted(entries []Entry, i int, m *imv1.Message) []Entry {
	return renumbered(slices.Insert(slices.Clone(entries), i, Entry{Message: m}))
}

func renumbered(entries []Entry) []Entry {
	var out []Entry
	for i, e := range entries {
		out = append(out, Entry{UserIndex: uint64(i + 1), Message: e.Message})
	}
	return out
}

// show makes user's chain, device and head be entries.
func (s *scene) show(user string, entries []Entry) {
	s.user(user).Entries, s.device(user).Applied = entries, entries
	s.user(user).Head = &imv1.Head{UserIndex: entries[len(entries)-1].UserIndex}
}

func TestDecideFindsNothingInAnHonestRun(t *testing.T) {
	v := Decide(&honest().Record)
	if v.Counts != (Counts{}) || len(v.Violations) != 0 {
		t.Errorf("Decide reports %+v: %v", v.Counts, v.Violations)
	}
	if !v.Clean() || v.Sent != 7 || v.Acked != 7 || v.Delivered != 22 {
		t.Errorf("Clean %t, sent %d, acked %d, delivered %d, want true, 7, 7, 22", v.Clean(), v.Sent, v.Acked, v.Delivered)
	}
}

func TestDecideWithNothingToCheckIsNotClean(t *testing.T) {
	if Decide(&Record{}).Clean() {
		t.Error("a run without an acknowledged message is called clean")
	}
}

func TestDecideFindsBreaches(t *testing.T) {
	tests := []struct {
		name   string
		breach func(*scene)
		want   Counts
	}{
		{"acked message is in no chain", func(s *scene) {
			s.Sends = append(s.Sends, &Send{User: "ann", Device: "d2", Conversation: pair, ClientMessageID: "p9",
				Contents: []Content{{}}, Answers: []Answer{{Conversation: pair, Index: 4}}})
		}, Counts{Lost: 1}},
		{"acked message in a hole of the chain", func(s *scene) {
			v := s.conversation("ann", pair)
			v.Messages = slices.Delete(slices.Clone(v.Messages), 1, 2)
			s.show("ann", renumbered(slices.Delete(slices.Clone(s.users["ann"]), 1, 2)))
		}, Counts{Lost: 1, IndexGaps: 1}},
		{"acked command is in no chain", func(s *scene) {
			s.Commands = append(s.Commands, &Command{User: "bob", Conversation: group, Answer: &Answer{Conversation: group, Index: 9}})
		}, Counts{Lost: 1}},
		{"message missing in one user chain", func(s *scene) {
			s.show("bob", renumbered(slices.Delete(slices.Clone(s.users["bob"]), 1, 2)))
		}, Counts{Lost: 1}},
		{"message missing for one reader of the conversation", func(s *scene) {
			v := s.conversation("bob", group)
			v.Messages = slices.Delete(slices.Clone(v.Messages), 1, 2)
		}, Counts{Lost: 1}},
		{"a former member may not pull", func(s *scene) {
			*s.conversation("ann", group) = ConversationView{User: "ann", Conversation: group, Refusal: imv1.ErrorCode_ERROR_CODE_NOT_A_MEMBER}
		}, Counts{Lost: 6}},
		{"neither acked nor refused", func(s *scene) { s.sent("g7").Answers = nil }, Counts{Unanswered: 1}},
		{"one client message id at two places", func(s *scene) {
			s.chains[pair] = append(s.chains[pair], proto.CloneOf(s.chains[pair][0]))
			again := s.chains[pair][3]
			again.ConversationIndex, again.MessageId = 4, []byte("another-id-16-by")
			for _, u := range []string{"ann", "bob"} {
				s.conversation(u, pair).Messages = append(s.conversation(u, pair).Messages, again)
				s.conversation(u, pair).Head = 4
				s.show(u, inserted(s.users[u], len(s.users[u]), again))
				s.summary(u, pair).LastMessage = again
			}
			s.summary("bob", pair).Unread++
		}, Counts{Duplicated: 1}},
		{"a place twice in one reader's pages", func(s *scene) {
			v := s.conversation("bob", pair)
			v.Messages = append(slices.Clone(v.Messages), v.Messages[1])
		}, Counts{Duplicated: 1}},
		{"a message twice in a user chain", func(s *scene) {
			s.show("bob", inserted(s.users["bob"], 1, s.chains[pair][0]))
		}, Counts{Duplicated: 1}},
		{"queue order broken", func(s *scene) {
			s.Sends[0], s.Sends[1] = s.Sends[1], s.Sends[0]
		}, Counts{Reordered: 1}},
		{"readers disagree", func(s *scene) {
			v := s.conversation("bob", group)
			v.Messages = changed(v.Messages, 3, func(m *imv1.Message) { m.MessageId, m.ClientMessageId = []byte("another-id-16-by"), "g2" })
		}, Counts{Reordered: 1}},
		{"one reader's pages are out of order", func(s *scene) {
			v := s.conversation("bob", pair)
			v.Messages = slices.Clone(v.Messages)
			slices.Reverse(v.Messages)
		}, Counts{Reordered: 1}},
		{"user chain against the conversation's order", func(s *scene) {
			entries := slices.Clone(s.users["cid"])
			entries[2], entries[3] = entries[3], entries[2]
			s.show("cid", renumbered(entries))
		}, Counts{Reordered: 1, Diverged: 1}}, // the push that was seen at index 3
		{"gap in a user chain", func(s *scene) {
			entries := renumbered(s.users["bob"])
			entries[len(entries)-1].UserIndex++
			s.show("bob", entries)
		}, Counts{IndexGaps: 1}},
		{"head of a user chain beyond its entries", func(s *scene) { s.user("bob").Head = &imv1.Head{UserIndex: 99} }, Counts{IndexGaps: 1}},
		{"device applied less", func(s *scene) { s.device("bob").Applied = s.users["bob"][:2] }, Counts{Diverged: 1}},
		{"device applied more", func(s *scene) {
			s.device("dan").Applied = []Entry{{1, s.chains[pair][0]}}
		}, Counts{Diverged: 1}},
		{"device applied other content", func(s *scene) {
			entries := renumbered(s.users["bob"])
			entries[0].Message = changed([]*imv1.Message{entries[0].Message}, 0, func(m *imv1.Message) { m.Body = nil })[0]
			s.device("bob").Applied = entries
		}, Counts{Diverged: 1}},
		{"push differs from the chain", func(s *scene) {
			s.Sightings[0].Message = changed(s.chains[group], 4, func(m *imv1.Message) { m.Body = nil })[4]
		}, Counts{Diverged: 1}},
		{"push names another place of the user chain", func(s *scene) { s.Sightings[0].UserIndex = 2 }, Counts{Diverged: 1}},
		{"leak by push", func(s *scene) {
			s.Sightings = append(s.Sightings, Sighting{"dan", ViaPush, 0, s.chains[pair][0]})
		}, Counts{VisibilityLeaks: 1}},
		{"leak by pull of a conversation", func(s *scene) {
			v := s.conversation("bob", pair)
			v.Messages = slices.Insert(slices.Clone(v.Messages), 1, s.chains[pair][1])
		}, Counts{VisibilityLeaks: 1}},
		{"leak by a user chain", func(s *scene) {
			s.show("bob", inserted(s.users["bob"], 1, s.chains[pair][1]))
		}, Counts{VisibilityLeaks: 1}},
		{"leak to who left", func(s *scene) {
			v := s.conversation("ann", group)
			v.Messages, v.Head = append(slices.Clone(v.Messages), s.chains[group][6]), 7
		}, Counts{VisibilityLeaks: 2}},
		{"leak by the head index", func(s *scene) { s.conversation("ann", group).Head = 7 }, Counts{VisibilityLeaks: 1}},
		{"leak by last message", func(s *scene) { s.summary("bob", pair).LastMessage = s.chains[pair][1] }, Counts{VisibilityLeaks: 1}},
		{"leak by the list", func(s *scene) {
			s.Lists[3].Summaries = []*imv1.ConversationSummary{{ConversationId: pair, Kind: 1}}
		}, Counts{VisibilityLeaks: 1}},
		{"leak to an outsider by an empty page", func(s *scene) { s.conversation("dan", group).Refusal = 0 }, Counts{VisibilityLeaks: 1}},
		{"leak to an outsider by another error", func(s *scene) {
			s.conversation("dan", group).Refusal = imv1.ErrorCode_ERROR_CODE_INVALID_RANGE
		}, Counts{VisibilityLeaks: 1}},
		{"leak of the members", func(s *scene) {
			i := slices.IndexFunc(s.Infos, func(v InfoView) bool { return v.User == "ann" && v.Conversation == group })
			s.Infos[i].Refusal = 0
		}, Counts{VisibilityLeaks: 1}},
		{"unread counted too low", func(s *scene) { s.summary("bob", pair).Unread-- }, Counts{UnreadDrift: 1}},
		{"hidden message counted as unread", func(s *scene) { s.summary("bob", pair).Unread++ }, Counts{UnreadDrift: 1, VisibilityLeaks: 1}},
		{"unread called capped", func(s *scene) { s.summary("bob", pair).UnreadCapped = true }, Counts{UnreadDrift: 1}},
		{"read position went back", func(s *scene) { s.summary("ann", pair).ReadIndex = 2; s.summary("ann", pair).Unread = 1 }, Counts{ReadDrift: 1}},
		{"read position nobody asked for", func(s *scene) { s.summary("bob", pair).ReadIndex = 3; s.summary("bob", pair).Unread = 0 }, Counts{ReadDrift: 1}},
		{"read positions differ between devices", func(s *scene) {
			other := proto.CloneOf(s.summary("bob", pair))
			other.ReadIndex, other.Unread = 1, 0
			s.summary("bob", pair).Unread = 1
			s.Marks = append(s.Marks, Mark{"bob", pair, 3})
			s.Lists = append(s.Lists, ListView{"bob", "d2", []*imv1.ConversationSummary{other, s.summary("bob", group)}})
		}, Counts{ReadDrift: 1}},
		{"read position fell as the list went on", func(s *scene) { s.Reads[0].Index, s.Reads[1].Index = 2, 1 }, Counts{ReadDrift: 1}},
		{"device was not told a read position", func(s *scene) { s.device("ann").Reads = map[string]uint64{pair: 2} }, Counts{ReadDrift: 1}},
		{"list forgets a conversation", func(s *scene) { s.Lists[1].Summaries = s.Lists[1].Summaries[:1] }, Counts{ListDrift: 1}},
		{"list calls who left a member", func(s *scene) { s.summary("ann", group).Member = true }, Counts{ListDrift: 1}},
		{"list shows an old last message", func(s *scene) { s.summary("bob", pair).LastMessage = s.chains[pair][0] }, Counts{ListDrift: 1}},
		{"head index behind", func(s *scene) { s.conversation("bob", group).Head = 6 }, Counts{ListDrift: 1}},
		{"members told wrong", func(s *scene) {
			i := slices.IndexFunc(s.Infos, func(v InfoView) bool { return v.User == "bob" && v.Conversation == group })
			s.Infos[i].Info.Members = s.Infos[i].Info.Members[:1]
		}, Counts{ListDrift: 1}},
		{"acked at an index that holds another message", func(s *scene) { s.sent("p3").Answers[0].Index = 2 }, Counts{Mismatched: 1}},
		{"acked with another message id", func(s *scene) { s.sent("p3").Answers[0].MessageID = "x" }, Counts{Mismatched: 1}},
		{"wrong body", func(s *scene) { s.sent("p3").Contents[0].Body = nil }, Counts{Mismatched: 1}},
		{"wrong visibility", func(s *scene) { s.sent("g4").Contents[0].Visibility = self() }, Counts{Mismatched: 1}},
		{"wrong receiver", func(s *scene) { s.chains[pair][0].ReceiverId = "cid" }, Counts{Mismatched: 1}},
		{"message of another conversation in a page", func(s *scene) {
			v := s.conversation("bob", pair)
			v.Messages = append(slices.Clone(v.Messages), s.chains[group][0])
		}, Counts{Mismatched: 1}},
		{"two readers get other content", func(s *scene) {
			v := s.conversation("bob", pair)
			v.Messages = changed(v.Messages, 1, func(m *imv1.Message) { m.Body = nil })
		}, Counts{Mismatched: 1}},
		{"command did something else", func(s *scene) { s.Commands[1].Users = []string{"dan"} }, Counts{Mismatched: 1, Invented: 1}},
		{"message nobody sent", func(s *scene) { s.Sends = s.Sends[1:] }, Counts{Invented: 1}},
		{"answer to a re-send changed", func(s *scene) {
			again := s.sent("p3").Answers[0]
			again.Late, again.Duplicate, again.ServerTimeMs = true, true, 99
			s.sent("p3").Answers = append(s.sent("p3").Answers, again)
		}, Counts{ChangedAnswers: 1, Mismatched: 1}},
		{"late re-send not called a duplicate", func(s *scene) {
			again := s.sent("p3").Answers[0]
			again.Late = true
			s.sent("p3").Answers = append(s.sent("p3").Answers, again)
		}, Counts{ChangedAnswers: 1}},
		{"other content not noticed", func(s *scene) {
			again := s.sent("p3").Answers[0]
			again.Late, again.Duplicate, again.Content = true, true, 1
			s.sent("p3").Contents = append(s.sent("p3").Contents, Content{})
			s.sent("p3").Answers = append(s.sent("p3").Answers, again)
		}, Counts{ChangedAnswers: 1}},
		{"refused and taken", func(s *scene) {
			s.sent("p3").Answers, s.sent("p3").Refusal = nil, &imv1.Error{Code: imv1.ErrorCode_ERROR_CODE_NOT_A_MEMBER}
		}, Counts{ChangedAnswers: 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := honest()
			tt.breach(s)
			v := Decide(&s.Record)
			if v.Counts != tt.want {
				t.Errorf("Decide reports %+v\nwant %+v", v.Counts, tt.want)
			}
			if len(v.Violations) != tt.want.Total() {
				t.Errorf("%d pieces of evidence for %d violations", len(v.Violations), tt.want.Total())
			}
			for _, breach := range v.Violations {
				t.Log(breach)
				if breach.Seed != 7 || breach.What == "" {
					t.Errorf("evidence without seed or text: %+v", breach)
				}
			}
			if v.Clean() {
				t.Error("the verdict is clean")
			}
		})
	}
}

func TestSenderWhoIsNotInTheConversationIsInvented(t *testing.T) {
	s := honest()
	s.send("dan", group, "g8", nil, "bob", "cid")
	s.Conversations, s.Users, s.Devices, s.Lists, s.Infos = nil, nil, nil, nil, nil
	s.views()
	got := Decide(&s.Record).Invented
	if got != 1 {
		t.Errorf("invented %d, want 1", got)
	}
}

func TestEvidenceIsBounded(t *testing.T) {
	s := honest()
	for i := range 5 * maxEvidence {
		s.Sends = append(s.Sends, &Send{User: "ann", Device: "d2", Outbox: true, Conversation: pair, ClientMessageID: fmt.Sprint("x", i)})
	}
	v := Decide(&s.Record)
	if v.Unanswered != 5*maxEvidence || len(v.Violations) != maxEvidence {
		t.Errorf("%d unanswered with %d pieces of evidence, want %d with %d", v.Unanswered, len(v.Violations), 5*maxEvidence, maxEvidence)
	}
}

func TestUnreadIsCountedUpToTheCap(t *testing.T) {
	s := honest()
	for i := range unreadCap + 1 {
		s.send("ann", pair, fmt.Sprint("m", i), nil, "ann", "bob")
	}
	s.Conversations, s.Users, s.Devices, s.Lists, s.Infos = nil, nil, nil, nil, nil
	s.views()
	s.summary("bob", pair).Unread, s.summary("bob", pair).UnreadCapped = unreadCap, true
	if v := Decide(&s.Record); v.Counts != (Counts{}) {
		t.Errorf("Decide reports %+v: %v", v.Counts, v.Violations)
	}
}
