package sequencer

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

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

// userWorker is the processor of a user partition. It also answers the edges that register sessions. What it has loaded
// stays in memory, as with a convWorker.
type userWorker struct {
	layout   chain.Layout
	deps     Deps
	part     bus.Partition
	epoch    uint64
	log      *slog.Logger
	sessions *sessions
	sub      *bus.Subscription
	progress []position // by conversation partition, as in the store

	chains  *simplelru.LRU[im.UserID, *userChain]
	lists   *simplelru.LRU[chain.ListRef, *listed]
	decoded lent[*imv1.UserBatch] // of the step
	batch   kv.Batch              // of the step
}

func newUserWorker(ctx context.Context, l chain.Layout, deps Deps, p bus.Partition, epoch uint64, log *slog.Logger) (*userWorker, error) {
	w := &userWorker{layout: l, deps: deps, part: p, epoch: epoch, log: log, sessions: newSessions(epoch)}
	w.chains, _ = simplelru.NewLRU[im.UserID, *userChain](maxCachedHeads, nil)
	w.lists, _ = simplelru.NewLRU[chain.ListRef, *listed](maxCachedLists, nil)
	err := read(ctx, deps.Store, l, func(r *chain.Reader) error {
		applied, err := r.Progress(ctx, p.Number)
		for _, a := range applied {
			w.progress = append(w.progress, positionOf(a))
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read fan-out progress: %w", err)
	}
	w.sub, err = deps.Bus.Subscribe(bus.SessionSubject(p.Number), w.register)
	if err != nil {
		return nil, fmt.Errorf("subscribe to session requests: %w", err)
	}
	call := marshal(&imv1.SessionCall{Partition: uint32(p.Number), Epoch: epoch})
	if err := deps.Bus.Publish(bus.AnnounceSubject(), call); err != nil {
		log.Warn("edges not called; they register with their next renewal", "err", err)
	}
	return w, nil
}

// Close stops answering edges.
func (w *userWorker) Close() { w.sub.Stop() }

// register answers an edge. The heads are read after the table is changed: what is committed later is delivered, what
// was committed before is below the head that the edge learns.
func (w *userWorker) register(p bus.Packet) {
	req := new(imv1.SessionRequest)
	if err := proto.Unmarshal(p.Data, req); err != nil || req.GetEdgeId() == "" {
		w.log.Error("session request is malformed; not answered", "err", err)
		return
	}
	reply := w.sessions.register(req, time.Now())
	if reply.GetKnown() && len(req.GetAddUserIds()) > 0 {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		heads, err := w.headsOf(ctx, req.GetAddUserIds())
		if err != nil {
			w.log.Warn("heads not read; the edge asks again", "edge", req.GetEdgeId(), "err", err)
			return
		}
		reply.Heads = heads
	}
	if err := p.Respond(marshal(reply)); err != nil {
		w.log.Debug("session request not answered", "edge", req.GetEdgeId(), "err", err)
	}
}

func (w *userWorker) headsOf(ctx context.Context, users []string) ([]*imv1.Head, error) {
	ids := make([]im.UserID, len(users))
	for i, u := range users {
		ids[i] = im.UserID(u)
	}
	out := make([]*imv1.Head, len(users))
	return out, read(ctx, w.deps.Store, w.layout, func(r *chain.Reader) error {
		heads, err := r.UserHeads(ctx, ids)
		for i, h := range heads {
			out[i] = chain.HeadOf(h)
		}
		return err
	})
}

// input is one part of the stream's messages, decoded, and from load on what it touches.
type input struct {
	from    int // conversation partition of a fan-out entry
	entry   *imv1.FanoutEntry
	message chain.Place // of entry

	edge    string
	command *imv1.UserCommand
	refused *refusal.Refusal // of command, decided before the step; nothing is loaded then

	at []spot // of each user of entry, or of the one of command
}

// decode reads msgs up to the weight of one commit, and says how many messages that took. The inputs share the memory of
// msgs: what is kept beyond the batch has to be copied.
func (w *userWorker) decode(msgs []bus.Msg) ([]input, int) {
	return decodeWithin(msgs, w.decodeOne)
}

// decodeOne adds the inputs of one batch to out, and says what they weigh. Commands that exceed the weight of a commit
// within one batch are refused, as those of conversations are; fan-out is cut where it is made.
func (w *userWorker) decodeOne(out []input, m bus.Msg) (_ []input, weight int) {
	b := w.decoded.note(imv1.UserBatchFromVTPool())
	if err := b.UnmarshalVTUnsafe(m.Data); err != nil {
		w.log.Error("message of the stream is no user batch; passed over", "sequence", m.Seq, "err", err)
		return out, 0
	}
	from := int(b.GetFanout().GetConversationPartition())
	out = slices.Grow(out, len(b.GetFanout().GetEntries())+len(b.GetCommands().GetCommands()))
	for _, e := range b.GetFanout().GetEntries() {
		place, err := chain.PlaceOf(e.GetMessage())
		if err != nil || from >= len(w.progress) {
			w.log.Error("fan-out entry is malformed; passed over", "sequence", m.Seq, "err", err)
			continue
		}
		out = append(out, input{from: from, entry: e, message: place})
		weight += 1 + len(e.GetUserIds())
	}
	for _, c := range b.GetCommands().GetCommands() {
		if u := im.UserID(c.GetUserId()); len(u) > im.MaxID || w.layout.User(u) != w.part.Number {
			w.log.Error("command does not belong to the partition; passed over", "sequence", m.Seq)
			continue
		}
		in := input{edge: b.GetCommands().GetEdgeId(), command: c}
		if _, err := im.ConversationID(c.GetMarkRead().GetConversationId()).Parse(); err != nil && c.GetMarkRead() != nil {
			in.refused = refusal.New(imv1.ErrorCode_ERROR_CODE_INVALID_ID, "%v", err)
		} else if weight == maxWeight {
			in.refused = tooMuch()
		} else {
			weight++
		}
		out = append(out, in)
	}
	return out, weight
}

// Step enters messages into the chains of their users and carries the users' commands out.
func (w *userWorker) Step(ctx context.Context, msgs []bus.Msg) (partition.Effects, error) {
	defer w.decoded.giveBack()
	inputs, taken := w.decode(msgs)
	st, err := w.load(ctx, inputs)
	if err != nil {
		return partition.Effects{}, err
	}
	out := newDeliveries(w)
	for i := range inputs {
		in := &inputs[i]
		if in.refused != nil {
			out.answer(in.edge, &imv1.Answer{
				Session: in.command.GetSession(), RequestId: in.command.GetRequestId(), Result: &imv1.Answer_Error{Error: in.refused.Wire()},
			})
		} else if in.command != nil {
			out.answer(in.edge, st.command(in.command, in.at[0]))
		} else if at := st.fanout(in.from, position{in.entry.GetSequence(), in.entry.GetOrdinal()}, in.message, in.at); len(at) > 0 {
			out.deliver(in.entry.GetMessage(), at)
		}
	}
	for ref, moved := range st.moved {
		out.moved(string(ref.User), moved)
	}
	eff := partition.Effects{Taken: taken, Writes: w.writes(st)}
	// Deliveries are hints: what is lost is pulled, so they leave with the answers and nothing waits for them.
	eff.Answer = out.send
	w.progress = st.progress
	return eff, nil
}

// Again has nothing to repeat: clients pull what was not delivered, and ask again what was not answered.
func (w *userWorker) Again(_ context.Context, msgs []bus.Msg) (partition.Effects, error) {
	return partition.Effects{Taken: len(msgs)}, nil
}

// writes is what the state changed, user by user: the store finds the place of a key more easily beside the one before.
func (w *userWorker) writes(st *userState) *kv.Batch {
	w.batch.Reset()
	out := chain.NewWriter(w.layout, &w.batch)
	slices.SortFunc(st.chains, func(a, b *userChain) int { return cmp.Compare(a.user, b.user) })
	for _, c := range st.chains {
		c.write(out)
	}
	for from, p := range st.progress {
		if p != w.progress[from] {
			out.Progress(w.part.Number, from, &imv1.FanoutProgress{Sequence: p.sequence, Ordinal: p.ordinal})
		}
	}
	return &w.batch
}
