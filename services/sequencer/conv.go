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

// convWorker is the processor of a conversation partition. What it has loaded stays in memory: while it owns the
// partition nobody else changes it, and what goes wrong with a commit ends the worker with its caches.
type convWorker struct {
	layout chain.Layout
	deps   Deps
	part   bus.Partition
	epoch  uint64
	log    *slog.Logger

	conversations *simplelru.LRU[im.ConversationID, *conversation]
	records       int // of conversations
	ids           *simplelru.LRU[im.MessageID, *imv1.MessageIdRecord]
	batch         kv.Batch // of the step
}

func newConvWorker(l chain.Layout, deps Deps, p bus.Partition, epoch uint64, log *slog.Logger) *convWorker {
	w := &convWorker{layout: l, deps: deps, part: p, epoch: epoch, log: log}
	// The LRU's own bound counts conversations; keep bounds their records, of which each has one at least.
	w.conversations, _ = simplelru.NewLRU(maxCachedRecords, func(_ im.ConversationID, c *conversation) { w.records -= c.cached })
	w.ids, _ = simplelru.NewLRU[im.MessageID, *imv1.MessageIdRecord](maxCachedIDs, nil)
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
	w.batch.Reset()
	out := chain.NewWriter(w.layout, &w.batch)
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
		message := out.Entry(e.entry, e.digest)
		for _, u := range e.changed {
			changed[membership{c, u}] = struct{}{}
		}
		fan.add(e.entry, message, e.recipients)
	}
	for c := range heads {
		out.ConversationHead(c.id, c.head)
	}
	for m := range changed {
		out.Participant(m.in.id, m.user, m.in.find(m.user).record)
	}
	w.keep(st)
	return w.effects(taken, &w.batch, answers, fan), nil
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
			fan.add(e, marshal(e.GetMessage()), st.conversations[mine[i].Conversation].recipients(e.GetMessage()))
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
