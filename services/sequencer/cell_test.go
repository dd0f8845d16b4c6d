package sequencer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/catena-im/catena/pkg/bus"
	"github.com/catena-im/catena/pkg/chain"
	"github.com/catena-im/catena/pkg/kv"
	"github.com/catena-im/catena/pkg/partition"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// cell is a whole pipeline in one goroutine: the real steps over a store and streams in memory, driven message by
// message as package partition would, and crashed wherever it pleases the test.
type cell struct {
	rng     *rand.Rand
	layout  chain.Layout
	seq     *Sequencer
	store   *memStore
	owners  map[bus.Partition]*owner
	zombies []*owner // former owners that have not noticed

	mu       sync.Mutex // guards the fields below: fan-out goes to the partitions side by side
	streams  map[bus.Partition][]bus.Msg
	failing  map[bus.Partition]int // appends to a stream until one fails; 0: none does
	largest  int                   // bytes of a payload
	sessions map[bus.Subject]func(bus.Packet)
	heard    map[string][]*imv1.EdgeBatch
	edges    map[bus.Subject]string

	calm   bool                      // nothing gets lost at random
	tamper func(partition.Processor) // before each step, to build something wrongly
	wrong  []string
}

func newCell(seed uint64, l chain.Layout) *cell {
	c := &cell{
		rng: rand.New(rand.NewPCG(seed, 11)), layout: l, store: newMemStore(),
		owners: make(map[bus.Partition]*owner), streams: make(map[bus.Partition][]bus.Msg),
		failing: make(map[bus.Partition]int), sessions: make(map[bus.Subject]func(bus.Packet)),
		heard: make(map[string][]*imv1.EdgeBatch), edges: make(map[bus.Subject]string),
	}
	for _, e := range []string{"e1", "e2"} {
		c.edges[bus.EdgeSubject(e)] = e
	}
	var err error
	if c.seq, err = New(Config{Layout: l}, Deps{Store: c.store, Bus: c, Log: slog.New(slog.DiscardHandler)}); err != nil {
		panic(err)
	}
	return c
}

func (c *cell) partitions() []bus.Partition {
	return bus.Layout{ConvPartitions: c.layout.ConvPartitions, UserPartitions: c.layout.UserPartitions}.Partitions()
}

func (c *cell) violate(format string, args ...any) {
	if len(c.wrong) < 10 {
		c.wrong = append(c.wrong, fmt.Sprintf(format, args...))
	}
}

var errAppend = errors.New("the stream does not answer")

// AppendUntil stores the payload; the first that fails may have had its effect.
func (c *cell) AppendUntil(_ context.Context, p bus.Partition, id string, payload []byte) (uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(payload) > bus.MaxPayload {
		return 0, bus.ErrTooLarge
	}
	n := c.failing[p]
	if n > 0 {
		c.failing[p] = n - 1
	}
	if n == 2 { // before its effect
		return 0, errAppend
	}
	seq := c.append(p, id, payload)
	if n == 1 { // after it
		return 0, errAppend
	}
	return seq, nil
}

// append stores a message under the next sequence, unless its id was among the last ones. Called with mu held.
func (c *cell) append(p bus.Partition, id string, payload []byte) uint64 {
	s := c.streams[p]
	for _, m := range s[max(0, len(s)-3):] {
		if m.ID == id {
			return m.Seq
		}
	}
	c.largest = max(c.largest, len(payload))
	seq := uint64(len(s)) + 1
	at := time.UnixMilli(1_700_000_000_000 + int64(len(s))*7)
	c.streams[p] = append(s, bus.Msg{Seq: seq, ID: id, Time: at, Data: slices.Clone(payload)})
	return seq
}

// Publish hears what edges are told.
func (c *cell) Publish(s bus.Subject, payload []byte) error {
	if len(payload) > bus.MaxPayload {
		return bus.ErrTooLarge
	}
	c.largest = max(c.largest, len(payload))
	if edge, ok := c.edges[s]; ok {
		b := new(imv1.EdgeBatch)
		if err := proto.Unmarshal(payload, b); err != nil {
			return err
		}
		c.heard[edge] = append(c.heard[edge], b)
	}
	return nil
}

// Subscribe takes session requests; a new owner's handler stands in the place of the former one's.
func (c *cell) Subscribe(s bus.Subject, handler func(bus.Packet)) (*bus.Subscription, error) {
	c.sessions[s] = handler
	return new(bus.Subscription), nil
}

// register asks the owner of user partition q.
func (c *cell) register(q int, r *imv1.SessionRequest) *imv1.SessionReply {
	handler := c.sessions[bus.SessionSubject(q)]
	if handler == nil {
		return nil
	}
	reply := new(imv1.SessionReply)
	handler(bus.Packet{Data: marshal(r), Respond: func(b []byte) error { return proto.Unmarshal(b, reply) }})
	return reply
}

// owner is one ownership of one partition.
type owner struct {
	c       *cell
	part    bus.Partition
	proc    partition.Processor
	fence   []byte
	record  *imv1.FenceRecord
	read    uint64
	emitted uint64
	flight  func(context.Context) error // not yet emitted; nil: nothing is under way
	last    uint64                      // of flight
	lent    []bus.Msg                   // what the processor was handed and may refer to until flight has landed
}

// own takes p over.
func (c *cell) own(p bus.Partition) *owner {
	o := &owner{c: c, part: p, fence: c.store.data[string(FenceKey(p))], record: new(imv1.FenceRecord)}
	if err := proto.Unmarshal(o.fence, o.record); err != nil {
		panic(err)
	}
	next := proto.CloneOf(o.record)
	next.Epoch++
	if err := o.commit(new(kv.Batch), next); err != nil {
		panic(err)
	}
	_ = c.store.Sync(context.Background())
	o.read, o.emitted = o.record.GetEmitted(), o.record.GetEmitted()
	var err error
	if o.proc, err = c.seq.Start(context.Background(), p, o.record.GetEpoch()); err != nil {
		panic(err)
	}
	c.owners[p] = o
	return o
}

func (o *owner) commit(b *kv.Batch, next *imv1.FenceRecord) error {
	next.Nonce++
	b.Fence, b.Expect, b.Next = FenceKey(o.part), o.fence, marshal(next)
	if err := o.c.store.Commit(context.Background(), b); err != nil {
		return err
	}
	o.fence, o.record = b.Next, next
	return nil
}

// work takes some of the messages that wait through step, commit, answer and the start of the emission.
func (o *owner) work() error {
	c, ctx := o.c, context.Background()
	msgs := c.streams[o.part][o.read:]
	if len(msgs) == 0 {
		return o.land()
	}
	msgs = lend(cut(msgs[:1+c.rng.IntN(min(len(msgs), 6))]))
	if applied := o.record.GetApplied(); msgs[0].Seq <= applied {
		msgs = msgs[:min(uint64(len(msgs)), applied-msgs[0].Seq+1)]
		eff, err := o.proc.Again(ctx, msgs)
		if err != nil {
			return err
		}
		return o.effects(msgs, eff)
	}
	if c.tamper != nil {
		c.tamper(o.proc)
	}
	eff, err := o.proc.Step(ctx, msgs)
	if err != nil {
		return err
	}
	next := proto.CloneOf(o.record)
	next.Applied, next.Emitted = msgs[eff.Taken-1].Seq, o.emitted
	if err := o.commit(eff.Writes, next); err != nil {
		return err
	}
	return o.effects(msgs, eff)
}

// cut keeps to what package partition hands over at once.
func cut(msgs []bus.Msg) []bus.Msg {
	n, size := 1, len(msgs[0].Data)
	for n < min(len(msgs), 512) && size+len(msgs[n].Data) <= 1<<20 {
		size += len(msgs[n].Data)
		n++
	}
	return msgs[:n]
}

func (o *owner) effects(msgs []bus.Msg, eff partition.Effects) error {
	if eff.Answer != nil && (o.c.calm || o.c.rng.IntN(10) > 0) { // else the process dies here, or the message is lost
		eff.Answer()
	}
	o.read = msgs[eff.Taken-1].Seq
	if err := o.land(); err != nil {
		return err
	}
	o.flight, o.last, o.lent = eff.Emit, o.read, msgs
	if eff.Emit == nil || o.c.rng.IntN(2) == 0 {
		return o.land()
	}
	return nil
}

// land finishes the emission under way.
func (o *owner) land() error {
	if o.flight != nil {
		if err := o.flight(context.Background()); err != nil {
			return err
		}
	}
	if o.last > 0 {
		o.flight, o.emitted = nil, o.last
	}
	spoil(o.lent)
	return nil
}

// lend copies messages for a processor.
func lend(msgs []bus.Msg) []bus.Msg {
	out := slices.Clone(msgs)
	for i := range out {
		out[i].Data = slices.Clone(out[i].Data)
	}
	return out
}

const spoiled = "\xff"

// spoil overwrites lent messages: a processor that still refers to one of them has kept what it should have copied.
func spoil(lent []bus.Msg) {
	for _, m := range lent {
		for i := range m.Data {
			m.Data[i] = spoiled[0]
		}
	}
}

// step has the owner of p work, whoever it is, and replaces one that failed.
func (c *cell) step(p bus.Partition) {
	o := c.owners[p]
	if o == nil {
		o = c.own(p)
	}
	if err := o.work(); err != nil {
		if !errors.Is(err, errAppend) {
			c.violate("owner of %s: %v", p, err)
		}
		c.owners[p] = nil
	}
}

// crash takes the owner of p away: its process is gone, or it stands still and comes back as a zombie.
func (c *cell) crash(p bus.Partition) {
	if o := c.owners[p]; o != nil && c.rng.IntN(2) == 0 {
		c.zombies = append(c.zombies, o)
	}
	c.owners[p] = nil
}

// haunt lets a former owner go on where it stood still. Unless nobody has followed it, it gets no commit through.
func (c *cell) haunt() {
	if len(c.zombies) == 0 {
		return
	}
	i := c.rng.IntN(len(c.zombies))
	o := c.zombies[i]
	c.zombies = append(c.zombies[:i:i], c.zombies[i+1:]...)
	if c.owners[o.part] == nil {
		c.own(o.part)
	}
	commits := len(c.store.journal)
	err := o.work()
	if len(c.store.journal) != commits {
		c.violate("a former owner of %s has written", o.part)
	}
	if err != nil && !errors.Is(err, kv.ErrFenced) && !errors.Is(err, errAppend) {
		c.violate("a former owner of %s: %v", o.part, err)
	}
}

// powerLoss ends all processes and takes back commits that no Sync confirmed. The streams are kept.
func (c *cell) powerLoss() {
	clear(c.owners)
	clear(c.sessions)
	c.zombies = nil
	c.store.lose(c.store.synced + c.rng.IntN(len(c.store.journal)-c.store.synced+1))
}

// drain works until nothing waits and everything is emitted.
func (c *cell) drain() {
	clear(c.failing)
	for busy := true; busy && len(c.wrong) == 0; {
		busy = false
		for _, p := range c.partitions() {
			if o := c.owners[p]; o == nil || o.read < uint64(len(c.streams[p])) || o.flight != nil {
				busy = true
				c.step(p)
			}
		}
	}
}

// refold is a cell with the same streams, whose store is made anew from them, cut in another way.
func (c *cell) refold(seed uint64) *cell {
	d := newCell(seed, c.layout)
	for p, s := range c.streams {
		d.streams[p] = s[:len(s):len(s)]
	}
	for _, p := range c.partitions() {
		o := d.own(p)
		for o.read < uint64(len(c.streams[p])) && len(d.wrong) == 0 {
			if err := o.fold(); err != nil {
				d.violate("fold %s: %v", p, err)
			}
		}
	}
	return d
}

// fold is work without any effect outside the store.
func (o *owner) fold() error {
	msgs := o.c.streams[o.part][o.read:]
	msgs = lend(cut(msgs[:1+o.c.rng.IntN(len(msgs))]))
	defer spoil(msgs)
	eff, err := o.proc.Step(context.Background(), msgs)
	if err != nil {
		return err
	}
	o.read = msgs[eff.Taken-1].Seq
	next := proto.CloneOf(o.record)
	next.Applied = o.read
	return o.commit(eff.Writes, next)
}
