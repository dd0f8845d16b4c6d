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

	beat    held
	seen    map[string]sighting // of every lease that was listed last
	running map[bus.Partition]*tenure
}

// tenure is one partition that this worker runs.
type tenure struct {
	held
	cancel context.CancelFunc
	ending bool // cancelled; it is waited for at the end of a round
	done   chan struct{}
}

func (t *tenure) end() {
	t.ending = true
	t.cancel()
}

// over reports whether the run has ended.
func (t *tenure) over() bool {
	select {
	case <-t.done:
		return true
	default:
		return false
	}
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
		if !sleep(ctx, o.cfg.Poll) {
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
	if err := o.heartbeat(ctx, leases); err != nil {
		return err
	}
	var failed error
	for _, p := range o.cfg.Partitions {
		if share(p, live) != o.cfg.Worker {
			if t := o.running[p]; t != nil {
				t.end()
			}
		} else if err := o.settle(ctx, p, leases); err != nil {
			failed = fmt.Errorf("lease of %s: %w", p, err)
		}
	}
	o.reap(ctx) // last: it may take what is left of the round
	return failed
}

// settle runs one partition of this worker's share as soon as, and as long as, its lease is held.
func (o *Owner) settle(ctx context.Context, p bus.Partition, leases map[string]bus.Lease) error {
	t := o.running[p]
	var h held
	switch {
	case t == nil:
	case t.ending:
		return nil
	case t.over(): // fenced out: it comes back with a lease renewed since
		h.lease = t.lease
	default:
		h = t.held
	}
	h, err := o.keep(ctx, h, p.String(), leases)
	switch {
	case errors.Is(err, bus.ErrHeld): // its owner will hand it back, or the lease will end
		return nil
	case errors.Is(err, bus.ErrLost):
		if t != nil {
			o.deps.Log.Warn("lease lost", "partition", p.String())
			t.lease = bus.Lease{}
			t.end()
		}
		return nil
	case err != nil || h.renewed.IsZero():
		return err
	}
	if t == nil || t.over() {
		t = o.begin(ctx, p)
	}
	t.held = h
	return nil
}

// begin runs p until its tenure is ended.
func (o *Owner) begin(ctx context.Context, p bus.Partition) *tenure {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	t := &tenure{cancel: cancel, done: make(chan struct{})}
	o.running[p] = t
	go func() { // joined by reap
		defer close(t.done)
		o.tenure(ctx, p)
	}()
	return t
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

// tenure runs p again and again: whatever ended a run, the next one begins with what the store says. It returns when
// ctx has ended, or when another owner has taken over: then this one believes in a lease that it does not hold any more.
func (o *Owner) tenure(ctx context.Context, p bus.Partition) {
	log := o.deps.Log.With("partition", p.String())
	const first, most, still = 100 * time.Millisecond, time.Second, 30 * time.Second
	for wait := first; ctx.Err() == nil; {
		began := time.Now()
		err := o.once(ctx, p, log)
		if ctx.Err() != nil {
			return
		}
		o.meter.restart(p)
		var broken *StreamError
		switch {
		case errors.Is(err, kv.ErrFenced):
			log.Warn("partition taken over by another owner", "err", err)
			return
		case errors.As(err, &broken):
			log.Error("partition stands still", "err", err)
			if o.deps.CaughtUp != nil {
				o.deps.CaughtUp(p)
			}
			sleep(ctx, still)
			continue
		case time.Since(began) > still:
			wait = first
		}
		if untold, ok := o.noise.pass(); ok {
			log.Warn("partition starts over", "err", err, "untold", untold)
		} else {
			log.Debug("partition starts over", "err", err)
		}
		sleep(ctx, wait)
		wait = min(2*wait, most)
	}
}

func (o *Owner) once(ctx context.Context, p bus.Partition, log *slog.Logger) error {
	stream, err := o.deps.Open(ctx, p)
	if err != nil {
		return fmt.Errorf("open stream %s: %w", p.Stream(), err)
	}
	defer stream.Close()
	l := &loop{
		part: p, worker: o.cfg.Worker, store: o.deps.Store, stream: stream,
		start: o.deps.Start, caughtUp: o.deps.CaughtUp, keep: o.cfg.Keep, log: log, meter: o.meter,
	}
	return l.run(ctx, o.deps.FenceKey(p))
}
