package sequencer

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/catena-im/catena/pkg/bus"
	"github.com/catena-im/catena/pkg/chain"
	"github.com/catena-im/catena/pkg/im"
	"github.com/catena-im/catena/pkg/partition"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

var (
	simSeed  = flag.Uint64("sim.seed", 0, "run the pipeline with this seed only")
	simSeeds = flag.Int("sim.seeds", manySeeds, "how many seeds to run the pipeline with")
)

// A pipeline that is cut, crashed, rolled back and haunted at random comes to what the streams say, and to the same
// bytes when they are folded again.
func TestPipelineKeepsTheLaws(t *testing.T) {
	first, n := uint64(1), *simSeeds
	if *simSeed != 0 {
		first, n = *simSeed, 1
	}
	for seed := first; seed < first+uint64(n); seed++ {
		c := talk(seed, nil)
		judge(c)
		if again := c.refold(seed + 1000); len(c.wrong) == 0 {
			c.wrong = append(again.wrong, differences(c.store, again.store)...)
		}
		if len(c.wrong) > 0 {
			t.Fatalf("%s\nreplay: go test ./sequencer -run '^%s$' -sim.seed=%d", strings.Join(c.wrong, "\n"), t.Name(), seed)
		}
	}
}

// A simulation that cannot fail proves nothing.
func TestPipelineReportsWhatIsBuiltWrong(t *testing.T) {
	for name, tamper := range map[string]func(partition.Processor){
		"fan-out progress ignored": func(p partition.Processor) {
			if w, ok := p.(*userWorker); ok {
				clear(w.progress)
			}
		},
		"a cache that forgets who is in": func(p partition.Processor) {
			if w, ok := p.(*convWorker); ok {
				for _, c := range w.conversations.Values() {
					c.members = c.members[:min(1, len(c.members))]
				}
			}
		},
		"a cache of heads that is behind": func(p partition.Processor) {
			if w, ok := p.(*convWorker); ok {
				for _, c := range w.conversations.Values() {
					c.head.LastIndex = max(c.head.GetLastIndex(), 1) - 1
				}
			}
		},
		"a cache of message ids that names others": func(p partition.Processor) {
			if w, ok := p.(*convWorker); ok {
				for _, r := range w.ids.Values() {
					r.ConversationIndex++
				}
			}
		},
		"a cache of user heads that is behind": func(p partition.Processor) {
			if w, ok := p.(*userWorker); ok {
				for _, c := range w.chains.Values() {
					if c.head != nil {
						c.head.LastIndex--
					}
				}
			}
		},
		"a cache of list records that is behind": func(p partition.Processor) {
			if w, ok := p.(*userWorker); ok {
				for _, l := range w.lists.Values() {
					if l.record != nil {
						l.record.ReadIndex = 0
					}
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(20) {
				c := talk(seed, tamper)
				judge(c)
				if len(c.wrong) > 0 {
					t.Logf("seed %d: %s", seed, c.wrong[0])
					return
				}
			}
			t.Error("not reported in 20 runs")
		})
	}
}

var people = []string{"ann", "ben", "cleo", "dan", "eve"}

// talker makes up what people say and do.
type talker struct {
	c      *cell
	number uint64
	sent   []*imv1.Command
	last   map[string]string // user and conversation → client id of the last message
	groups []im.ConversationID
}

// talk runs a pipeline through a few hundred events.
func talk(seed uint64, tamper func(partition.Processor)) *cell {
	c := newCell(seed, chain.Layout{ConvPartitions: 2, UserPartitions: 3})
	c.tamper = tamper
	k := &talker{c: c, last: make(map[string]string)}
	for i := range 4 {
		k.groups = append(k.groups, im.Group(im.UserID(people[i]), im.ClientMessageID(fmt.Sprint("group", i))))
	}
	parts := c.partitions()
	for range 350 {
		p := parts[c.rng.IntN(len(parts))]
		switch n := c.rng.IntN(100); {
		case n < 25:
			k.commands()
		case n < 33:
			k.reads()
		case n < 37:
			k.sessions()
		case n < 41:
			c.crash(p)
		case n < 45:
			c.haunt()
		case n < 46:
			c.powerLoss()
		case n < 49:
			c.failing[bus.Partition{Kind: bus.User, Number: c.rng.IntN(c.layout.UserPartitions)}] = 1 + c.rng.IntN(3)
		default:
			c.step(p)
		}
	}
	c.drain()
	return c
}

func (k *talker) pick(list []string) string { return list[k.c.rng.IntN(len(list))] }

func (k *talker) some() (out []string) {
	for range 1 + k.c.rng.IntN(3) {
		out = append(out, k.pick(people))
	}
	return out
}

// commands appends a batch of commands to each conversation stream that some are for.
func (k *talker) commands() {
	batches := make(map[int]*imv1.CommandBatch)
	for range 1 + k.c.rng.IntN(6) {
		cmd := k.command()
		q := k.c.layout.Conversation(im.ConversationID(cmd.GetConversationId()))
		if batches[q] == nil {
			batches[q] = &imv1.CommandBatch{EdgeId: k.pick([]string{"e1", "e2"})}
		}
		batches[q].Commands = append(batches[q].Commands, cmd)
	}
	for q := range k.c.layout.ConvPartitions {
		if b := batches[q]; b != nil {
			k.number++
			k.c.append(bus.Partition{Kind: bus.Conv, Number: q}, fmt.Sprint("b", k.number), marshal(b))
		}
	}
}

func (k *talker) command() *imv1.Command {
	k.number++
	if rng := k.c.rng; len(k.sent) > 0 && rng.IntN(4) == 0 { // sent again, now and then with other words
		cmd := proto.CloneOf(k.sent[rng.IntN(len(k.sent))])
		cmd.Session = k.number
		if s := cmd.GetSend(); s != nil && rng.IntN(5) == 0 {
			s.Body = &imv1.Body{Content: &imv1.Body_Text{Text: &imv1.TextBody{Text: "something else"}}}
		}
		return cmd
	}
	cmd := &imv1.Command{UserId: k.pick(people), Session: k.number}
	k.fill(cmd)
	k.sent = append(k.sent, cmd)
	return cmd
}

func (k *talker) fill(cmd *imv1.Command) {
	rng, cm := k.c.rng, fmt.Sprint("m", k.number)
	g := rng.IntN(len(k.groups))
	switch rng.IntN(12) {
	case 0:
		cmd.UserId, cm = people[g], fmt.Sprint("group", g)
		cmd.ConversationId = string(k.groups[g])
		cmd.Action = &imv1.Command_CreateGroup{CreateGroup: &imv1.CreateGroup{ClientMessageId: cm, Title: "t", MemberIds: k.some()}}
		return
	case 1, 2:
		cmd.ConversationId = string(k.groups[g])
		cmd.Action = &imv1.Command_AddMembers{AddMembers: &imv1.AddMembers{ClientMessageId: cm, UserIds: k.some()}}
		return
	case 3:
		cmd.ConversationId = string(k.groups[g])
		cmd.Action = &imv1.Command_RemoveMembers{RemoveMembers: &imv1.RemoveMembers{ClientMessageId: cm, UserIds: k.some()}}
		return
	case 4:
		cmd.ConversationId = string(k.groups[g])
		cmd.Action = &imv1.Command_LeaveGroup{LeaveGroup: &imv1.LeaveGroup{ClientMessageId: cm}}
		return
	case 5, 6, 7:
		cmd.ConversationId = string(im.Single(im.UserID(cmd.GetUserId()), im.UserID(k.pick(people))))
	case 8:
		cmd.ConversationId = string(im.Single(im.UserID(k.pick(people)), im.UserID(k.pick(people)))) // perhaps a stranger's
	default:
		cmd.ConversationId = string(k.groups[g])
	}
	send := &imv1.Send{
		ClientMessageId: cm, Type: imv1.MessageType_MESSAGE_TYPE_TEXT,
		Body: &imv1.Body{Content: &imv1.Body_Text{Text: &imv1.TextBody{Text: "text " + cm}}},
	}
	switch rng.IntN(8) {
	case 0:
		send.Visibility = &imv1.Visibility{Scope: imv1.VisibilityScope_VISIBILITY_SCOPE_SELF}
	case 1:
		send.Visibility = &imv1.Visibility{Scope: imv1.VisibilityScope_VISIBILITY_SCOPE_PART, UserIds: k.some()}
	}
	lane := cmd.GetUserId() + " " + cmd.GetConversationId()
	if rng.IntN(3) == 0 {
		send.After = k.last[lane]
	}
	k.last[lane] = cm
	cmd.Action = &imv1.Command_Send{Send: send}
}

// reads appends read marks, for conversations of one's own, of others, and beyond their end.
func (k *talker) reads() {
	batches := make(map[int]*imv1.UserCommandBatch)
	for range 1 + k.c.rng.IntN(4) {
		k.number++
		u := im.UserID(k.pick(people))
		id := im.Single(u, im.UserID(k.pick(people)))
		if k.c.rng.IntN(2) == 0 {
			id = k.groups[k.c.rng.IntN(len(k.groups))]
		}
		q := k.c.layout.User(u)
		if batches[q] == nil {
			batches[q] = &imv1.UserCommandBatch{EdgeId: "e1"}
		}
		batches[q].Commands = append(batches[q].Commands, &imv1.UserCommand{UserId: string(u), Session: k.number, Action: &imv1.UserCommand_MarkRead{
			MarkRead: &imv1.MarkRead{ConversationId: string(id), ReadIndex: uint64(k.c.rng.IntN(30))},
		}})
	}
	for q := range k.c.layout.UserPartitions {
		if b := batches[q]; b != nil {
			k.number++
			k.c.append(bus.Partition{Kind: bus.User, Number: q}, fmt.Sprint("b", k.number), marshal(&imv1.UserBatch{Source: &imv1.UserBatch_Commands{Commands: b}}))
		}
	}
}

// sessions registers everybody of a partition at an edge, or some users, or takes them off.
func (k *talker) sessions() {
	q := k.c.rng.IntN(k.c.layout.UserPartitions)
	r := &imv1.SessionRequest{EdgeId: k.pick([]string{"e1", "e2"}), Partition: uint32(q), Replace: k.c.rng.IntN(2) == 0}
	for _, u := range people {
		switch in := k.c.layout.User(im.UserID(u)) == q; {
		case in && k.c.rng.IntN(3) > 0:
			r.AddUserIds = append(r.AddUserIds, u)
		case in:
			r.DropUserIds = append(r.DropUserIds, u)
		}
	}
	reply := k.c.register(q, r)
	if reply.GetKnown() && len(reply.GetHeads()) != len(r.GetAddUserIds()) {
		k.c.violate("%d heads for %d users", len(reply.GetHeads()), len(r.GetAddUserIds()))
	}
}

// judge holds the store and everything that was said against the model.
func judge(c *cell) {
	m := newModel(c)
	err := read(context.Background(), c.store, c.layout, func(r *chain.Reader) error {
		for id, want := range m.conversations {
			if err := judgeConversation(c, m, r, im.ConversationID(id), want); err != nil {
				return err
			}
		}
		for _, u := range people {
			if err := judgeUser(c, m, r, im.UserID(u)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		c.violate("read the store: %v", err)
	}
	judgeAnswers(c, m)
	judgeDeliveries(c, m)
	judgeCaches(c)
}

// judgeCaches looks for names that refer to messages which were overwritten: they would keep whole batches in memory. Nor
// does a chain keep what a batch changed.
func judgeCaches(c *cell) {
	for p, o := range c.owners {
		w, ok := o.proc.(*userWorker)
		if !ok {
			continue
		}
		for _, ref := range w.lists.Keys() {
			if strings.Contains(string(ref.User)+string(ref.Conversation), spoiled) {
				c.violate("%s keeps the memory of a batch: %q", p, ref)
			}
		}
		for _, u := range w.chains.Values() {
			entered, lists := u.entered[:cap(u.entered)], u.lists[:cap(u.lists)]
			if slices.ContainsFunc(entered, func(r chain.Ref) bool { return r != chain.Ref{} }) ||
				slices.ContainsFunc(lists, func(l *listed) bool { return l != nil }) {
				c.violate("%s keeps what a batch changed of the chain of %s", p, u.user)
			}
		}
	}
}

// judgeConversation is L1, L2 and L3, and L1 again for the user chains.
func judgeConversation(c *cell, m *model, r *chain.Reader, id im.ConversationID, want *modelConversation) error {
	var got []*imv1.ChainEntry
	err := r.ScanEntries(context.Background(), id, 1, 1<<40, false, func(s chain.Stored) error {
		e, err := s.Decode()
		got = append(got, e)
		return err
	})
	if err != nil {
		return err
	}
	head, err := r.ConversationHead(context.Background(), id)
	if err != nil {
		return err
	}
	if len(got) != len(want.chain) || head.GetLastIndex() != uint64(len(want.chain)) {
		c.violate("%s has %d entries and head %d, want %d", id, len(got), head.GetLastIndex(), len(want.chain))
		return nil
	}
	for i, e := range got {
		w, msg := want.chain[i], e.GetMessage()
		mid := im.NewMessageID(id, im.UserID(w.sender), im.ClientMessageID(w.cm))
		if msg.GetConversationIndex() != uint64(w.index) || msg.GetSenderId() != w.sender || msg.GetClientMessageId() != w.cm ||
			!bytes.Equal(msg.GetMessageId(), mid[:]) || e.GetSequence() != uint64(w.seq) || e.GetOrdinal() != uint32(w.ord) {
			c.violate("%s: entry %d is %v, want %+v", id, i+1, e, *w)
		}
		if text := msg.GetBody().GetText().GetText(); text != "" && !strings.HasPrefix(w.content, "send "+text) {
			c.violate("%s: entry %d says %q, want %q", id, i+1, text, w.content)
		}
	}
	for u, owed := range m.owed(string(id)) {
		if has := m.user(u).of(string(id)); !slices.Equal(owed, has) {
			c.violate("%s: the stream of %s brought %v, and %v is owed", id, u, has, owed)
		}
	}
	for u := range m.users {
		if has := m.user(u).of(string(id)); len(has) > 0 && m.owed(string(id))[u] == nil {
			c.violate("%s: %s was told of %v and may see nothing", id, u, has)
		}
	}
	return nil
}

// of is what a user chain holds of a conversation.
func (u *modelUser) of(conversation string) (out []int) {
	for _, e := range u.chain {
		if c, i, _ := strings.Cut(e, " "); c == conversation {
			var n int
			fmt.Sscan(i, &n)
			out = append(out, n)
		}
	}
	return out
}

// judgeUser is L4 and L9.
func judgeUser(c *cell, m *model, r *chain.Reader, u im.UserID) error {
	ctx, want := context.Background(), m.user(string(u))
	var got []string
	err := r.ScanUser(ctx, u, 1, 1<<40, false, func(i im.UserIndex, e chain.Ref) error {
		if int(i) != len(got)+1 {
			c.violate("%s: entry %d stands at %d", u, len(got)+1, i)
		}
		got = append(got, fmt.Sprint(e.Conversation, " ", e.Index))
		return nil
	})
	if err != nil {
		return err
	}
	head, err := r.UserHead(ctx, u)
	if err != nil {
		return err
	}
	if !slices.Equal(got, want.chain) || int(head.GetLastIndex()) != len(want.chain) || int(head.GetListVersion()) != want.version {
		c.violate("%s: head %v, chain %v, want %v at version %d", u, head, got, want.chain, want.version)
	}
	return r.ScanList(ctx, u, "", func(id im.ConversationID, rec *imv1.ListRecord) error {
		if int(rec.GetSeenIndex()) != want.seen[string(id)] || int(rec.GetReadIndex()) != want.read[string(id)] {
			c.violate("%s: %s is %v, want seen %d, read %d", u, id, rec, want.seen[string(id)], want.read[string(id)])
		}
		n, err := unread(r, u, id, rec)
		if n != m.unread(string(u), string(id)) {
			c.violate("%s: %d unread in %s, want %d", u, n, id, m.unread(string(u), string(id)))
		}
		return err
	})
}

// unread counts as pulls do, from the records alone.
func unread(r *chain.Reader, u im.UserID, id im.ConversationID, rec *imv1.ListRecord) (n int, err error) {
	parsed, err := id.Parse()
	if err != nil {
		return 0, err
	}
	p, err := r.Participant(context.Background(), id, u)
	if err != nil {
		return 0, err
	}
	member := chain.MembershipOf(parsed, u, p)
	err = r.ScanEntries(context.Background(), id, im.ConversationIndex(rec.GetReadIndex()+1), im.ConversationIndex(rec.GetSeenIndex()), false,
		func(e chain.Stored) error {
			if member.Sees(u, e) && e.CountsFor(u) {
				n++
			}
			return nil
		})
	return n, err
}

// judgeAnswers holds every answer against what became of the command.
func judgeAnswers(c *cell, m *model) {
	for _, batches := range c.heard {
		for _, b := range batches {
			for _, a := range b.GetAnswers() {
				v, known := m.verdicts[a.GetSession()]
				if sent := a.GetSent(); sent != nil {
					if v.message == nil { // refused then, and accepted when it was sent again: the answer of a repetition
						v = m.verdictOf(sent)
					}
					if v.message == nil || int(sent.GetConversationIndex()) != v.message.index || sent.GetContentDiffers() != v.differs {
						c.violate("command %d was answered %v, want %+v", a.GetSession(), sent, v)
					}
				} else if err := a.GetError(); known && err.GetCode() != v.code {
					c.violate("command %d was refused with %v, want %+v", a.GetSession(), err, v)
				}
			}
		}
	}
}

// verdictOf finds the message that an answer speaks of.
func (m *model) verdictOf(s *imv1.Sent) verdict {
	for _, msg := range m.conversations[s.GetConversationId()].chain {
		id := im.NewMessageID(im.ConversationID(s.GetConversationId()), im.UserID(msg.sender), im.ClientMessageID(msg.cm))
		if bytes.Equal(id[:], s.GetMessageId()) {
			return verdict{message: msg, differs: s.GetContentDiffers()}
		}
	}
	return verdict{}
}

// judgeDeliveries is L6 for pushes, and that each tells the truth.
func judgeDeliveries(c *cell, m *model) {
	lanes := make(map[string]uint64)
	for edge, batches := range c.heard {
		for _, b := range batches {
			lane := fmt.Sprint(edge, b.GetUserPartition(), ".", b.GetEpoch())
			if n := b.GetLaneSequence(); n != 0 && n != 1 && n <= lanes[lane] {
				c.violate("lane %s: %d after %d", lane, n, lanes[lane])
			} else if n != 0 {
				lanes[lane] = n
			}
			for _, d := range b.GetDeliveries() {
				msg := new(imv1.Message)
				if err := proto.Unmarshal(d.GetMessage(), msg); err != nil {
					c.violate("delivery to %s: %v", edge, err)
				}
				for _, t := range d.GetTargets() {
					want := fmt.Sprint(msg.GetConversationId(), " ", msg.GetConversationIndex())
					u, at := m.users[t.GetUserId()], t.GetUserIndex()
					if u == nil || at == 0 || at > uint64(len(u.chain)) || u.chain[at-1] != want {
						c.violate("%s was pushed %s as %d", t.GetUserId(), want, at)
					}
				}
			}
		}
	}
}

// differences lists the keys that two stores do not agree on, fences apart.
func differences(a, b *memStore) (out []string) {
	for k, v := range a.data {
		if key, _ := chain.DecodeKey([]byte(k)); key.Record != chain.RecordFence && !bytes.Equal(v, b.data[k]) {
			out = append(out, fmt.Sprintf("%+v is %x here and %x there", key, v, b.data[k]))
		}
	}
	for k := range b.data {
		if _, ok := a.data[k]; !ok {
			key, _ := chain.DecodeKey([]byte(k))
			out = append(out, fmt.Sprintf("%+v is only there", key))
		}
	}
	return out[:min(len(out), 5)]
}
