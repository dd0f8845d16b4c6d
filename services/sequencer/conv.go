package sequencer

import (
	"context"
	"fmt"
	"log/slog"
	"slices"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"google.golang.org/protobuf/proto"

	"github.com/catena-im/catena/pkg/bus"
	"github.com/catena-im/catena/pkg/chain"
	"github.com/catena-im/catena/pkg/im"
	"github.com/catena-im/catena/pkg/kv"
	"github.com/catena-im/catena/pkg/partition"
	"github.com/catena-im/catena/pkg/refusal"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// maxCachedMembers bounds the member records that a worker keeps in memory, over all its groups. Beyond it the groups
// not used for longest are dropped and read again when they are needed.
const maxCachedMembers = 200_000

// convWorker is the processor of a conversation partition. The groups it has loaded stay in memory: while it owns the
// partition nobody else changes them, and what goes wrong with a commit ends the worker with its cache.
type convWorker struct {
	layout chain.Layout
	deps   Deps
	part   bus.Partition
	epoch  uint64
	log    *slog.Logger

	groups  *simplelru.LRU[im.ConversationID, *conversation]
	members int // in groups
}

func newConvWorker(l chain.Layout, deps Deps, p bus.Partition, epoch uint64, log *slog.Logger) *convWorker {
	w := &convWorker{layout: l, deps: deps, part: p, epoch: epoch, log: log}
	// The LRU's own bound counts groups; keep bounds their members, of which each group has one at least.
	w.groups, _ = simplelru.NewLRU(maxCachedMembers, func(_ im.ConversationID, c *conversation) { w.members -= c.cached })
	return w
}

func (w *convWorker) Close() {}

// located is a command and its place.
type located struct {
	place
	edge    string
	command *imv1.Command
	parsed  im.Conversation  // what the conversation id tells
	refused *refusal.Refusal // decided before the step
}

// decode reads the commands of msgs up to the weight of one commit, and says how many messages that took.
func (w *convWorker) decode(msgs []bus.Msg) ([]located, int) {
	var out []located
	total := 0
	for n, m := range msgs {
		commands, weight := w.decodeOne(m)
		if n > 0 && total+weight > maxWeight {
			return out, n
		}
		total += weight
		out = append(out, commands...)
	}
	return out, len(msgs)
}

// decodeOne reads one batch. What exceeds the weight of a commit within one batch is refused, which depends on the
// batch alone; an edge cuts its batches before that. A payload that is no batch, or a command that belongs elsewhere,
// did not come from an edge and is passed over.
func (w *convWorker) decodeOne(m bus.Msg) ([]located, int) {
	b := new(imv1.CommandBatch)
	if err := proto.Unmarshal(m.Data, b); err != nil {
		w.log.Error("message of the stream is no command batch; passed over", "sequence", m.Seq, "err", err)
		return nil, 0
	}
	var out []located
	weight := 0
	for i, c := range b.GetCommands() {
		id := im.ConversationID(c.GetConversationId())
		parsed, err := id.Parse()
		if err != nil || w.layout.Conversation(id) != w.part.Number {
			w.log.Error("command does not belong to the partition; passed over", "sequence", m.Seq, "conversation", id, "err", err)
			continue
		}
		l := located{place: place{m.Seq, uint32(i), m.Time.UnixMilli()}, edge: b.GetEdgeId(), command: c, parsed: parsed}
		if l.refused = oversize(c); l.refused == nil {
			if cost := 1 + len(request(c).users); weight+cost > maxWeight {
				l.refused = tooMuch()
			} else {
				weight += cost
			}
		}
		out = append(out, l)
	}
	return out, weight
}

// membership names a member record.
type membership struct {
	in   *conversation
	user im.UserID
}

// Step gives the messages their places.
func (w *convWorker) Step(ctx context.Context, msgs []bus.Msg) (partition.Effects, error) {
	commands, taken := w.decode(msgs)
	st, err := w.load(ctx, commands)
	if err != nil {
		return partition.Effects{}, err
	}
	batch := new(kv.Batch)
	out := chain.NewWriter(w.layout, batch)
	answers := make(edgeBatches)
	fan := newFanout(w.layout, w.part, w.epoch)
	heads := make(map[*conversation]struct{})
	changed := make(map[membership]struct{})
	for _, l := range commands {
		if l.refused != nil {
			answers.of(l.edge).Answers = append(answers.of(l.edge).Answers, refuse(l.command, l.refused))
			continue
		}
		answer, e := st.step(l.place, l.command)
		answers.of(l.edge).Answers = append(answers.of(l.edge).Answers, answer)
		if e == nil {
			continue
		}
		c := st.conversations[im.ConversationID(l.command.GetConversationId())]
		if c.head.GetCreatedMs() == 0 {
			c.head.CreatedMs = l.timeMs
		}
		heads[c] = struct{}{}
		out.Entry(e.entry, e.digest)
		for _, u := range e.changed {
			changed[membership{c, u}] = struct{}{}
		}
		fan.add(e.entry, e.recipients)
	}
	for c := range heads {
		out.ConversationHead(c.id, c.head)
	}
	for m := range changed {
		out.Participant(m.in.id, m.user, m.in.find(m.user).record)
	}
	w.keep(st)
	return w.effects(taken, batch, answers, fan), nil
}

// Again repeats answers and fan-out of messages that are in the chain.
func (w *convWorker) Again(ctx context.Context, msgs []bus.Msg) (partition.Effects, error) {
	commands, taken := w.decode(msgs)
	st, err := w.load(ctx, commands)
	if err != nil {
		return partition.Effects{}, err
	}
	answers := make(edgeBatches)
	fan := newFanout(w.layout, w.part, w.epoch)
	var mine []chain.Ref
	for _, l := range commands {
		c := im.ConversationID(l.command.GetConversationId())
		id := im.NewMessageID(c, im.UserID(l.command.GetUserId()), im.ClientMessageID(request(l.command).clientMessageID))
		r := st.ids[id]
		if r == nil {
			continue // it was refused; its sender asks again
		}
		answer := &imv1.Answer{Session: l.command.GetSession(), RequestId: l.command.GetRequestId()}
		sent := sentAgain(c, id, r, contentDigest(l.command))
		if r.GetSequence() == l.sequence && r.GetOrdinal() == l.ordinal {
			sent.Duplicate = false
			mine = append(mine, chain.Ref{Conversation: c, Index: im.ConversationIndex(r.GetConversationIndex())})
		}
		answer.Result = &imv1.Answer_Sent{Sent: sent}
		answers.of(l.edge).Answers = append(answers.of(l.edge).Answers, answer)
	}
	err = read(ctx, w.deps.Store, w.layout, func(r *chain.Reader) error {
		entries, err := r.Entries(ctx, mine)
		for i, e := range entries {
			if e == nil {
				return fmt.Errorf("message %d of %s is not in its chain", mine[i].Index, mine[i].Conversation)
			}
			fan.add(e, st.conversations[mine[i].Conversation].recipients(e.GetMessage()))
		}
		return err
	})
	if err != nil {
		return partition.Effects{}, err
	}
	w.keep(st)
	return w.effects(taken, nil, answers, fan), nil
}

func (w *convWorker) effects(taken int, b *kv.Batch, answers edgeBatches, fan *fanout) partition.Effects {
	eff := partition.Effects{Taken: taken, Writes: b}
	if len(answers) > 0 {
		eff.Answer = func() { w.answer(answers) }
	}
	if len(fan.batches) > 0 {
		eff.Emit = func(ctx context.Context) error { return fan.emit(ctx, w.deps.Bus) }
	}
	return eff
}

// answer tells the edges. An answer that is lost is asked for again by the client.
func (w *convWorker) answer(answers edgeBatches) {
	for edge, b := range answers {
		for part := range slices.Chunk(b.GetAnswers(), maxAnswers) {
			if err := w.deps.Bus.Publish(bus.EdgeSubject(edge), marshal(&imv1.EdgeBatch{Answers: part})); err != nil {
				w.log.Warn("answers not sent; their clients ask again", "edge", edge, "err", err)
			}
		}
	}
}

func refuse(cmd *imv1.Command, r *refusal.Refusal) *imv1.Answer {
	return &imv1.Answer{
		Session: cmd.GetSession(), RequestId: cmd.GetRequestId(), Result: &imv1.Answer_Error{Error: r.Wire()},
	}
}

// load reads everything that the commands touch.
func (w *convWorker) load(ctx context.Context, commands []located) (*convState, error) {
	st := &convState{conversations: make(map[im.ConversationID]*conversation), ids: make(map[im.MessageID]*imv1.MessageIdRecord)}
	var missing []*conversation
	var refs []chain.MessageRef
	for _, l := range commands {
		id := im.ConversationID(l.command.GetConversationId())
		if st.conversations[id] == nil && l.refused == nil {
			c, ok := w.groups.Get(id)
			if !ok {
				c = &conversation{id: id, parsed: l.parsed}
				missing = append(missing, c)
			}
			st.conversations[id] = c
		}
		ask := request(l.command)
		for _, cm := range []string{ask.clientMessageID, ask.after} {
			if cm != "" && l.refused == nil {
				refs = append(refs, chain.MessageRef{
					Conversation: id, ID: im.NewMessageID(id, im.UserID(l.command.GetUserId()), im.ClientMessageID(cm)),
				})
			}
		}
	}
	return st, read(ctx, w.deps.Store, w.layout, func(r *chain.Reader) error {
		known, err := r.MessageIDs(ctx, refs)
		if err != nil {
			return err
		}
		for i, rec := range known {
			if rec != nil {
				st.ids[refs[i].ID] = rec
			}
		}
		return loadConversations(ctx, r, missing)
	})
}

// loadConversations fills in heads, and the members of groups.
func loadConversations(ctx context.Context, r *chain.Reader, cs []*conversation) error {
	ids := make([]im.ConversationID, len(cs))
	for i, c := range cs {
		ids[i] = c.id
	}
	heads, err := r.ConversationHeads(ctx, ids)
	if err != nil {
		return err
	}
	for i, c := range cs {
		c.head = heads[i]
		if c.head == nil || c.parsed.Kind != im.KindGroup {
			continue
		}
		records, err := r.Participants(ctx, c.id)
		if err != nil {
			return err
		}
		for u, rec := range records {
			c.members = append(c.members, member{u, rec})
		}
		slices.SortFunc(c.members, func(a, b member) int { return compareMember(a, b.user) })
	}
	return nil
}

// keep puts the groups of st into the cache and lets go of what has become too much.
func (w *convWorker) keep(st *convState) {
	for id, c := range st.conversations {
		if c.parsed.Kind != im.KindGroup || c.head == nil {
			continue
		}
		w.groups.Remove(id) // its size may have changed
		c.cached = len(c.members)
		w.members += c.cached
		w.groups.Add(id, c)
	}
	for w.members > maxCachedMembers && w.groups.Len() > 0 {
		w.groups.RemoveOldest()
	}
}
