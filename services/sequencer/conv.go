package sequencer

import (
	"context"
	"fmt"
	"log/slog"
	"slices"

	"github.com/hashicorp/golang-lru/v2/simplelru"

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
	decoded       lent[*imv1.CommandBatch] // of the step
	batch         kv.Batch                 // of the step
}

func newConvWorker(l chain.Layout, deps Deps, p bus.Partition, epoch uint64, log *slog.Logger) *convWorker {
	w := &convWorker{layout: l, deps: deps, part: p, epoch: epoch, log: log}
	// The LRU's own bound counts conversations; keep bounds their records, of which each has one at least.
	w.conversations, _ = simplelru.NewLRU(maxCachedRecords, func(_ im.ConversationID, c *conversation) { w.records -= c.cached })
	w.ids, _ = simplelru.NewLRU[im.MessageID, *imv1.MessageIdRecord](maxCachedIDs, nil)
	return w
}

func (w *convWorker) Close() {}

// located is a command and its place, and from load on what it is about.
type located struct {
	place
	edge    string
	command *imv1.Command
	asked   asked
	refused *refusal.Refusal // decided before the step; nothing is loaded then

	conversation *conversation
	id, after    im.MessageID // of the message that the command makes, and of the one that it names as the one before
}

// decode reads the commands of msgs up to the weight of one commit, and says how many messages that took. The commands
// share the memory of msgs: what is kept beyond the batch has to be copied.
func (w *convWorker) decode(msgs []bus.Msg) ([]located, int) {
	return decodeWithin(msgs, w.decodeOne)
}

// decodeOne adds the commands of one batch to out, and says what they weigh. What exceeds the weight of a commit within
// one batch is refused, which depends on the batch alone; an edge cuts its batches before that. A payload that is no
// batch, or a command that belongs elsewhere, did not come from an edge and is passed over.
func (w *convWorker) decodeOne(out []located, m bus.Msg) ([]located, int) {
	b := w.decoded.note(imv1.CommandBatchFromVTPool())
	if err := b.UnmarshalVTUnsafe(m.Data); err != nil {
		w.log.Error("message of the stream is no command batch; passed over", "sequence", m.Seq, "err", err)
		return out, 0
	}
	weight := 0
	out = slices.Grow(out, len(b.GetCommands()))
	for i, c := range b.GetCommands() {
		id := im.ConversationID(c.GetConversationId())
		if _, err := id.Parse(); err != nil || w.layout.Conversation(id) != w.part.Number {
			w.log.Error("command does not belong to the partition; passed over", "sequence", m.Seq, "conversation", id, "err", err)
			continue
		}
		l := located{place: place{m.Seq, uint32(i), m.Time.UnixMilli()}, edge: b.GetEdgeId(), command: c, asked: request(c)}
		if l.refused = oversize(c, l.asked); l.refused == nil {
			if cost := 1 + len(l.asked.users); weight+cost > maxWeight {
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
	defer w.decoded.giveBack()
	commands, taken := w.decode(msgs)
	st, err := w.load(ctx, commands)
	if err != nil {
		return partition.Effects{}, err
	}
	w.batch.Reset()
	out := chain.NewWriter(w.layout, &w.batch)
	answers := make(edgeBatches)
	fan := newFanout(w.layout, w.part, w.epoch)
	changed := make(map[membership]struct{})
	for i := range commands {
		l := &commands[i]
		if l.refused != nil {
			answers.add(l.edge, refuse(l.command, l.refused))
			continue
		}
		answer, e := st.step(l)
		answers.add(l.edge, answer)
		if e.message == nil {
			continue
		}
		c := l.conversation
		c.moved = true
		if c.head.GetCreatedMs() == 0 {
			c.head.CreatedMs = l.timeMs
		}
		encoded := out.Entry(e.message, l.sequence, l.ordinal, e.digest)
		for _, u := range e.changed {
			changed[membership{c, u}] = struct{}{}
		}
		fan.add(l.sequence, l.ordinal, encoded, e.recipients)
	}
	for _, c := range st.conversations {
		if c.moved {
			out.ConversationHead(c.id, c.head)
			c.moved = false
		}
	}
	for m := range changed {
		out.Participant(m.in.id, m.user, m.in.find(m.user).record)
	}
	w.keep(st)
	return w.effects(taken, &w.batch, answers, fan), nil
}

// Again repeats answers and fan-out of messages that are in the chain.
func (w *convWorker) Again(ctx context.Context, msgs []bus.Msg) (partition.Effects, error) {
	defer w.decoded.giveBack()
	commands, taken := w.decode(msgs)
	st, err := w.load(ctx, commands)
	if err != nil {
		return partition.Effects{}, err
	}
	answers := make(edgeBatches)
	fan := newFanout(w.layout, w.part, w.epoch)
	var mine []chain.Ref
	for _, l := range commands {
		r := st.ids[l.id]
		if r == nil || l.refused != nil {
			continue // it was refused; its sender asks again
		}
		c := l.conversation.id
		answer := &imv1.Answer{Session: l.command.GetSession(), RequestId: l.command.GetRequestId()}
		sent := sentAgain(c, l.id, r, contentDigest(l.command))
		if r.GetSequence() == l.sequence && r.GetOrdinal() == l.ordinal {
			sent.Duplicate = false
			mine = append(mine, chain.Ref{Conversation: c, Index: im.ConversationIndex(r.GetConversationIndex())})
		}
		answer.Result = &imv1.Answer_Sent{Sent: sent}
		answers.add(l.edge, answer)
	}
	err = read(ctx, w.deps.Store, w.layout, func(r *chain.Reader) error {
		entries, err := r.Entries(ctx, mine)
		for i, e := range entries {
			if e == nil {
				return fmt.Errorf("message %d of %s is not in its chain", mine[i].Index, mine[i].Conversation)
			}
			fan.add(e.GetSequence(), e.GetOrdinal(), marshal(e.GetMessage()), st.conversations[mine[i].Conversation].recipients(e.GetMessage()))
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
	if !fan.empty() {
		eff.Emit = func(ctx context.Context) error { return fan.emit(ctx, w.deps.Bus) }
	}
	return eff
}

// answer tells the edges. An answer that is lost is asked for again by the client.
func (w *convWorker) answer(answers edgeBatches) {
	for edge, b := range answers {
		for part := range slices.Chunk(b.GetAnswers(), maxAnswers) {
			if err := publish(w.deps.Bus, bus.EdgeSubject(edge), &imv1.EdgeBatch{Answers: part}); err != nil {
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
