package partition

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/catena-im/catena/pkg/bus"
	"github.com/catena-im/catena/pkg/im"
	"github.com/catena-im/catena/pkg/kv"
)

// Config says who owns and what there is to own.
type Config struct {
	Worker     string          // name of this worker, unique among the live ones and kept over restarts; 1 to 64 letters, digits, - and _
	Boot       string          // unique to this run of the worker; tells it from another process under the same name
	Partitions []bus.Partition // all partitions of the cluster that workers of this kind own
	TTL        time.Duration   // of leases and heartbeats, whole seconds; 0: 15 s
	Poll       time.Duration   // how often the leases are looked at, which bounds how long a clean hand-over takes; 0: 300 ms
	Keep       time.Duration   // how long streams keep what is in the store and emitted, while there is room; 0: as long as there is room
}

// maxClaims is how many leases are written at once; each is a write to the disks of a majority of the servers.
const maxClaims = 16

// Leases says who should work; *bus.Leases is one. Safety does not rest on it but on the fence.
type Leases interface {
	Acquire(ctx context.Context, key string, value []byte, ttl time.Duration) (bus.Lease, error)
	Replace(ctx context.Context, lease bus.Lease, value []byte, ttl time.Duration) (bus.Lease, error)
	Release(ctx context.Context, lease bus.Lease) error
	List(ctx context.Context) ([]bus.Lease, error)
}

// Deps is what an Owner works with.
type Deps struct {
	Store    kv.Store
	Leases   Leases
	FenceKey func(bus.Partition) []byte
	Open     func(ctx context.Context, p bus.Partition) (Stream, error)
	Start    func(ctx context.Context, p bus.Partition, epoch uint64) (Processor, error)
	// CaughtUp is told at each take-over when the store holds everything that the stream held then, and also when the
	// partition stands still, since there is nothing to wait for; may be nil.
	CaughtUp func(p bus.Partition)
	Log      *slog.Logger
	Metrics  prometheus.Registerer // nil: none
}

// Owner holds this worker's share of the partitions and runs them.
type Owner struct {
	cfg   Config
	deps  Deps
	meter *meter
	value []byte           // of this worker's leases
	now   func() time.Time // with a monotonic reading; only differences are looked at, so no clock that is set matters
	noise *rare            // lines about partitions that start over

	contact contact       // with the store
	aside   bool          // it has left its partitions to others, because the store does not answer it
	back    time.Time     // when it may come back at the earliest
	joined  time.Time     // when it came back
	pause   time.Duration // about, between the last time that it stepped aside and back

	beat    held
	seen    map[string]sighting // of every lease that was listed last
	awaits  bool                // a partition of its share is about to be handed over by another
	running map[bus.Partition]*tenure
}

// New checks the configuration.
func New(cfg Config, deps Deps) (*Owner, error) {
	if err := im.UserID(cfg.Worker).Validate(); err != nil {
		return nil, fmt.Errorf("worker name %q: %w", cfg.Worker, err)
	}
	if strings.ContainsFunc(cfg.Worker, notOfKeys) {
		return nil, fmt.Errorf("worker name %q: only letters, digits, - and _ can be part of a lease's key", cfg.Worker)
	}
	if cfg.Boot == "" {
		return nil, errors.New("boot is empty: two processes under one worker name could not be told apart")
	}
	if cfg.TTL == 0 {
		cfg.TTL = 15 * time.Second
	}
	if cfg.Poll == 0 {
		cfg.Poll = 300 * time.Millisecond
	}
	value, err := json.Marshal(holder{cfg.Worker, cfg.Boot})
	if err != nil {
		return nil, err
	}
	return &Owner{
		cfg: cfg, deps: deps, value: value, now: time.Now, noise: newRare(time.Minute),
		meter: newMeter(deps.Metrics), running: make(map[bus.Partition]*tenure),
	}, nil
}

func notOfKeys(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
}

// Run takes and runs partitions until ctx ends, then hands all of them back.
func (o *Owner) Run(ctx context.Context) error {
	watching, stop := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() { o.watch(watching) })
	defer watch.Wait()
	defer stop()
	defer o.leave()
	away := false
	for {
		err := o.round(ctx)
		if errors.Is(err, ErrNameTaken) {
			return err
		}
		// Tenures go on: the fence keeps them safe, and giving up would turn an outage of the leases into one of everything.
		switch was := away; {
		case ctx.Err() != nil:
		case err != nil && !was:
			away = true
			o.deps.Log.Warn("leases out of reach", "err", err)
		case err == nil && was:
			away = false
			o.deps.Log.Info("leases within reach again")
		}
		wait := o.cfg.Poll
		if o.awaits {
			wait /= 4
		}
		if !sleep(ctx, wait) {
			return nil
		}
	}
}

// round looks at the leases once: renews what is held, takes what is this worker's share, hands back what is not.
func (o *Owner) round(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, o.cfg.TTL/3)
	defer cancel()
	list, err := o.deps.Leases.List(ctx)
	if err != nil {
		return fmt.Errorf("list leases: %w", err)
	}
	leases := make(map[string]bus.Lease, len(list))
	live := []string{o.cfg.Worker}
	o.look(list)
	for _, l := range list {
		leases[l.Key] = l
		if name, ok := strings.CutPrefix(l.Key, beatPrefix); ok && name != o.cfg.Worker && !o.silent(l) {
			live = append(live, name)
		}
	}
	if o.away(ctx, len(live) > 1) {
		return nil
	}
	if err := o.heartbeat(ctx, leases); err != nil {
		return err
	}
	err = o.hold(ctx, o.claims(live), leases)
	o.reap(ctx) // last: it may take what is left of the round
	return err
}

// claim is a partition of this worker's share, with what is held of it or comes of trying to hold it.
type claim struct {
	part bus.Partition
	held held
	err  error
}

// claims are the partitions to hold. Those that are run and belong to others now are ended.
func (o *Owner) claims(live []string) (all []*claim) {
	for _, p := range o.cfg.Partitions {
		t, mine := o.running[p], share(p, live) == o.cfg.Worker
		switch {
		case mine && t == nil:
			all = append(all, &claim{part: p})
		case t == nil || t.ending:
		case !mine:
			t.end()
		case t.over(): // fenced out: it comes back with a lease renewed since
			all = append(all, &claim{part: p, held: held{lease: t.lease}})
		default:
			all = append(all, &claim{part: p, held: t.held})
		}
	}
	return all
}

// hold takes or renews the leases of claims, several at once: what is handed over stands still until all of them are
// taken.
func (o *Owner) hold(ctx context.Context, claims []*claim, leases map[string]bus.Lease) error {
	severalAtOnce(claims, func(c *claim) {
		c.held, c.err = o.keep(ctx, c.held, c.part.String(), leases)
	})
	o.awaits = false
	var failed error
	for _, c := range claims {
		if err := o.settle(ctx, c); err != nil {
			failed = fmt.Errorf("lease of %s: %w", c.part, err)
		}
	}
	return failed
}

// severalAtOnce calls write for each of all, maxClaims of them at once, and returns when all calls have.
func severalAtOnce[T any](all []T, write func(T)) {
	var writes sync.WaitGroup
	slots := make(chan struct{}, maxClaims)
	for _, each := range all {
		slots <- struct{}{}
		writes.Go(func() {
			write(each)
			<-slots
		})
	}
	writes.Wait()
}

// settle runs the partition of a claim as soon as, and as long as, its lease is held.
func (o *Owner) settle(ctx context.Context, c *claim) error {
	t, h, err := o.running[c.part], c.held, c.err
	switch {
	case errors.Is(err, bus.ErrHeld): // its owner will hand it back, or the lease will end
		o.awaits = true
		return nil
	case errors.Is(err, bus.ErrLost):
		if t != nil {
			o.deps.Log.Warn("lease lost", "partition", c.part.String())
			t.lease = bus.Lease{}
			t.end()
		}
		return nil
	case err != nil || h.renewed.IsZero():
		return err
	}
	if t == nil || t.over() {
		t = o.begin(ctx, c.part)
	}
	t.held = h
	return nil
}

// reap waits for the tenures that are ending, as long as ctx lasts, and hands their leases back.
func (o *Owner) reap(ctx context.Context) {
	for p, t := range o.running {
		if !t.ending {
			continue
		}
		select {
		case <-t.done:
		case <-ctx.Done():
			continue
		}
		delete(o.running, p)
		if t.lease.Key != "" {
			o.release(ctx, t.lease)
		}
	}
}

// release hands a lease back. ctx may have ended: then there is no time left to tell, and the lease ends by itself.
func (o *Owner) release(ctx context.Context, l bus.Lease) {
	ctx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	if err := o.deps.Leases.Release(ctx, l); err != nil {
		o.deps.Log.Warn("lease not handed back; it ends by itself", "lease", l.Key, "err", err)
	}
}

// leave hands everything back. The heartbeat goes first, so that the others know their new shares by the time that they
// become free, and each partition as soon as its run has ended. All of it at once: with the leases out of reach, a stop
// must not wait for each of them.
func (o *Owner) leave() {
	var all sync.WaitGroup
	hand := func(t *tenure) {
		<-t.done
		if t.lease.Key != "" {
			o.release(context.Background(), t.lease)
		}
	}
	if o.beat.lease.Key != "" {
		all.Go(func() { o.release(context.Background(), o.beat.lease) })
	}
	for _, t := range o.running {
		t.end()
		all.Go(func() { hand(t) })
	}
	all.Wait()
}
