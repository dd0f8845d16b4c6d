package partition

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/catena-im/catena/pkg/bus"
	"github.com/catena-im/catena/pkg/kv"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// The simulation: workers (real Owners) over a store, streams and leases that keep their state in memory, fail as the
// real ones may, and check the promises of this package at every commit, emission, acknowledgement and purge. It runs on
// the fake clock of synctest, so minutes take milliseconds.

var (
	simSeed  = flag.Uint64("sim.seed", 0, "run the simulation with this seed only")
	simSeeds = flag.Int("sim.seeds", manySeeds, "how many seeds to run the simulation with")
)

// seeds runs the simulation once for each seed, in a bubble of its own, and tells how to run a failed one again. (What
// happens within one nanosecond of the fake clock is up to the scheduler; it may take a few runs.)
func seeds(t *testing.T, run func(seed uint64) *world) {
	first, n := uint64(1), *simSeeds
	if *simSeed != 0 {
		first, n = *simSeed, 1
	}
	for seed := first; seed < first+uint64(n) && !t.Failed(); seed++ {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			var w *world
			synctest.Test(t, func(*testing.T) { w = run(seed) })
			for _, s := range w.wrong {
				t.Error(s)
			}
			if t.Failed() {
				name, _, _ := strings.Cut(t.Name(), "/")
				t.Logf("replay: go test ./partition -count=5 -run '^%s$' -sim.seed=%d", name, seed)
			}
		})
	}
}

// faults says how often, out of 1,000 operations, each thing goes wrong.
type faults struct {
	unavailable int // store: no effect
	unknown     int // store: with, without or with a late effect
	emit        int // emission fails, with or without effect
	hang        int // the other side does not answer emissions, for a while
	stream      int // reading is interrupted, repeats or skips
	lease       int // error, with or without effect
	crash       int // the worker dies, before or after the effect
	pause       int // the worker stands still for up to 40 s
}

// mutation is a way to build the system wrongly, to see that the simulation tells.
type mutation int

const (
	sound         mutation = iota
	fenceIgnored           // the store commits whatever the fence holds
	emittedEarly           // the processor emits within the step
	notRepeated            // the processor emits nothing for what is applied already
	appliedTwice           // the processor folds again what is applied already
	identityFaked          // the stream claims every message id
)

// world is everything outside the workers.
type world struct {
	rng      *rand.Rand // guarded by mu, as everything that the simulated parts keep
	mu       sync.Mutex
	faults   faults
	mutation mutation

	keep   time.Duration // of the streams
	silent time.Time     // until when the other side does not answer emissions

	parts   []bus.Partition
	store   *simStore
	streams map[bus.Partition]*simStream
	leases  *simLeases
	hosts   []*host
	clock   func() time.Time // of the hosts that are booted; nil: time.Now

	wrong  []string // promises that were broken
	broken map[bus.Partition]*StreamError
}

func newWorld(seed uint64, partitions int) *world {
	w := &world{
		rng: rand.New(rand.NewPCG(seed, 7)), streams: make(map[bus.Partition]*simStream), broken: make(map[bus.Partition]*StreamError),
	}
	for n := range partitions {
		p := bus.Partition{Kind: bus.Conv, Number: n}
		w.parts = append(w.parts, p)
		w.streams[p] = newSimStream(w, p)
	}
	w.store, w.leases = newSimStore(w), newSimLeases(w)
	return w
}

// violate notes a broken promise. Called with mu held.
func (w *world) violate(format string, args ...any) {
	if len(w.wrong) < 10 {
		w.wrong = append(w.wrong, fmt.Sprintf(format, args...))
	}
}

// chance is true n times out of 1,000. Called with mu held.
func (w *world) chance(n int) bool { return n > 0 && w.rng.IntN(1000) < n }

// upTo is a random duration. Called with mu held.
func (w *world) upTo(d time.Duration) time.Duration { return time.Duration(w.rng.Int64N(int64(d)) + 1) }

// pick draws a duration from outside.
func (w *world) pick(d time.Duration) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.upTo(d)
}

func (w *world) draw(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rng.IntN(n)
}

// last is the last sequence of the stream of p, checkpoint what the store holds of p.
func (w *world) last(p bus.Partition) uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.streams[p].last()
}

func (w *world) checkpoint(p bus.Partition) *imv1.FenceRecord {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.store.fence(p)
}

// set changes the world from outside.
func (w *world) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

// heal ends all faults.
func (w *world) heal() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults = faults{}
	for _, h := range w.hosts {
		h.resume, h.cut = time.Time{}, time.Time{}
	}
	w.leases.away = false
}

// host is one process: what it does ends with it.
type host struct {
	w      *world
	name   string
	cancel context.CancelFunc
	done   chan struct{} // closed when its Run has returned
	err    error         // what Run returned

	dead    bool // killed: nothing it does has an effect any more
	resume  time.Time
	cut     time.Time        // until when the store does not answer it
	ops     int              // operations begun
	dieAt   int              // dies at this operation, 0: never
	after   bool             // after its effect
	clock   func() time.Time // nil: time.Now
	meter   *meter           // of a loop that is run by hand; nil: one of its own
	stopAt  string           // stands still before the next operation of this name …
	stopped chan bool        // … which it says here, until it is read again
}

var errDead = fmt.Errorf("%w: this process is dead", kv.ErrUnavailable)

// op is one operation of the process with the outside: it takes a while, it may be where the process dies or stands
// still, and do is its effect, which is called with mu held.
func (h *host) op(name string, do func() error) error {
	w := h.w
	time.Sleep(w.pick(3 * time.Millisecond))
	w.mu.Lock()
	h.ops++
	h.stop(name)
	for {
		wait := time.Until(h.resume)
		if h.dead || wait <= 0 {
			break
		}
		w.mu.Unlock()
		time.Sleep(wait) // a process that stands still does not notice that its contexts end
		w.mu.Lock()
	}
	defer w.mu.Unlock()
	if w.chance(w.faults.pause) {
		h.resume = time.Now().Add(w.upTo(40 * time.Second))
	}
	crash := h.ops == h.dieAt || w.chance(w.faults.crash)
	if crash && h.dies() {
		h.kill()
	}
	if h.dead {
		return errDead
	}
	err := do()
	if crash {
		h.kill()
		return errDead
	}
	return err
}

// stop waits at a named operation, for forced interleavings. Called with mu held.
func (h *host) stop(name string) {
	if h.stopAt != name || h.dead {
		return
	}
	h.stopAt = ""
	h.w.mu.Unlock()
	h.stopped <- true
	h.stopped <- true
	h.w.mu.Lock()
}

// dies reports whether the crash comes before the effect.
func (h *host) dies() bool {
	if h.dieAt != 0 {
		return !h.after
	}
	return h.w.chance(500)
}

// kill ends the process. Called with mu held.
func (h *host) kill() {
	h.dead = true
	h.cancel()
}

// boot starts an Owner as a process of its own.
func (w *world) boot(name string) *host {
	w.mu.Lock()
	defer w.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	h := &host{w: w, name: name, cancel: cancel, done: make(chan struct{}), clock: w.clock}
	w.hosts = append(w.hosts, h)
	boot := fmt.Sprint(w.rng.Uint64())
	go func() {
		defer close(h.done)
		o, err := New(Config{Worker: name, Boot: boot, Partitions: w.parts, Keep: w.keep}, Deps{
			Store: &hostStore{h}, Leases: &hostLeases{h}, Log: slog.New(h),
			FenceKey: fenceKey,
			Open:     func(_ context.Context, p bus.Partition) (Stream, error) { return h.open(p), nil },
			Start: func(_ context.Context, p bus.Partition, _ uint64) (Processor, error) {
				return &folder{h: h, part: p}, nil
			},
		})
		if err == nil && h.clock != nil {
			o.now = h.clock
		}
		if err == nil {
			err = o.Run(ctx)
		}
		h.err = err
	}()
	return h
}

// halt kills the process and waits until all its goroutines are gone.
func (h *host) halt() {
	h.w.mu.Lock()
	h.kill()
	h.w.mu.Unlock()
	<-h.done
}

// halted reports whether the process is gone.
func (h *host) halted() bool {
	select {
	case <-h.done:
		return true
	default:
		return false
	}
}

// The host is the log handler of its process: it watches for partitions that stand still.
func (h *host) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelError }
func (h *host) WithAttrs([]slog.Attr) slog.Handler           { return h }
func (h *host) WithGroup(string) slog.Handler                { return h }

func (h *host) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		var broken *StreamError
		if err, ok := a.Value.Any().(error); ok && errors.As(err, &broken) {
			h.w.mu.Lock()
			h.w.broken[broken.Partition] = broken
			h.w.mu.Unlock()
		}
		return true
	})
	return nil
}

func fenceKey(p bus.Partition) []byte { return []byte("f." + p.String()) }
func stateKey(p bus.Partition) []byte { return []byte("s." + p.String()) }

// fold is the state after one more message. It depends on every message before and on their order.
func fold(state string, m bus.Msg) string {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s|%d|%s|%s", state, m.Seq, m.ID, m.Data[:min(len(m.Data), 16)])
	return fmt.Sprintf("%d:%x", m.Seq, h.Sum64())
}

// folder is the processor: its state is the fold of all messages. It keeps the state in memory as real ones do.
type folder struct {
	h     *host
	part  bus.Partition
	state string
	known bool
}

func (f *folder) Close() {}

func (f *folder) Step(ctx context.Context, msgs []bus.Msg) (Effects, error) {
	if !f.known {
		snap, err := (&hostStore{f.h}).Snapshot(ctx)
		if err != nil {
			return Effects{}, err
		}
		defer snap.Release()
		v, err := snap.Get(ctx, stateKey(f.part))
		if err != nil {
			return Effects{}, err
		}
		f.state, f.known = string(v), true
	}
	take := 1 + f.h.w.draw(len(msgs))
	for _, m := range msgs[:take] {
		f.state = fold(f.state, m)
	}
	b := new(kv.Batch)
	b.Put(stateKey(f.part), []byte(f.state))
	eff := Effects{Taken: take, Writes: b, Emit: f.emit(msgs[:take])}
	if f.h.w.mutation == emittedEarly {
		emit := eff.Emit
		eff.Emit = nil
		return eff, emit(ctx)
	}
	return eff, nil
}

func (f *folder) Again(ctx context.Context, msgs []bus.Msg) (Effects, error) {
	switch f.h.w.mutation {
	case notRepeated:
		return Effects{Taken: len(msgs)}, nil
	case appliedTwice:
		if _, err := f.Step(ctx, msgs[:1]); err != nil {
			return Effects{}, err
		}
	}
	take := 1 + f.h.w.draw(len(msgs))
	return Effects{Taken: take, Emit: f.emit(msgs[:take])}, nil
}

func (f *folder) emit(msgs []bus.Msg) func(context.Context) error {
	if f.h.w.draw(8) == 0 { // a batch that comes to nothing outside
		return func(ctx context.Context) error { return f.h.emit(ctx, f.part, msgs, true) }
	}
	return func(ctx context.Context) error { return f.h.emit(ctx, f.part, msgs, false) }
}

// emit brings messages to the other side, one by one or all at once.
func (h *host) emit(ctx context.Context, p bus.Partition, msgs []bus.Msg, atOnce bool) error {
	for len(msgs) > 0 {
		n := 1
		if atOnce {
			n = len(msgs)
		}
		err := h.op("emit", func() error { return h.deliver(p, msgs[:n]) })
		switch {
		case err == nil:
			msgs = msgs[n:]
		case !errors.Is(err, errHang):
			return err
		case !sleep(ctx, time.Second):
			return ctx.Err()
		}
	}
	return nil
}

var (
	errEmit = errors.New("the other stream refuses")
	errHang = errors.New("the other stream does not answer")
)

// deliver is the effect of an emission. Called with mu held.
func (h *host) deliver(p bus.Partition, msgs []bus.Msg) error {
	w := h.w
	if w.chance(w.faults.hang) {
		w.silent = time.Now().Add(w.upTo(20 * time.Second))
	}
	if time.Now().Before(w.silent) {
		return errHang
	}
	fail := w.chance(w.faults.emit)
	if fail && w.chance(500) {
		return errEmit
	}
	for _, m := range msgs {
		w.streams[p].emitted(m.Seq)
	}
	if fail {
		return errEmit
	}
	return nil
}

// settle waits, at most so long, until everything in the streams is folded and emitted.
func (w *world) settle(limit time.Duration) (missing string) {
	for end := time.Now().Add(limit); ; time.Sleep(time.Second) {
		synctest.Wait()
		if missing = w.missing(); missing == "" || time.Now().After(end) {
			return missing
		}
	}
}

func (w *world) missing() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for _, p := range w.parts {
		s := w.streams[p]
		if r := w.store.fence(p); r.GetApplied() != s.last() || s.reached != s.last() {
			out = append(out, fmt.Sprintf("%s: %d in the stream, %d applied, %d emitted", p, s.last(), r.GetApplied(), s.reached))
		}
	}
	return strings.Join(out, "; ")
}

// retire stops the workers in the regular way and checks what they leave behind.
func (w *world) retire() {
	for _, h := range w.hosts {
		h.cancel()
	}
	for _, h := range w.hosts {
		<-h.done
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, h := range w.hosts {
		if !h.dead && h.err != nil {
			w.violate("%s ended with: %v", h.name, h.err)
		}
	}
	for _, p := range w.parts {
		if r := w.store.fence(p); w.broken[p] == nil && r.GetEmitted() != r.GetApplied() {
			w.violate("%s: after a clean stop emitted is %d and applied %d", p, r.GetEmitted(), r.GetApplied())
		}
	}
	for key, l := range w.leases.held {
		if w.leases.now().Before(l.expires) {
			w.violate("after a clean stop lease %s is held: %s", key, l.Value)
		}
	}
}
