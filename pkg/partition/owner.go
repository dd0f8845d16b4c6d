package partition

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/catena-im/catena/pkg/bus"
	"github.com/catena-im/catena/pkg/im"
	"github.com/catena-im/catena/pkg/kv"
)

// Config says who owns and what there is to own.
type Config struct {
	Worker     string          // name of this worker, unique among the live ones and kept over restarts; an im id
	Boot       string          // unique to this run of the worker
	Partitions []bus.Partition // all partitions of the cluster that workers of this kind own
	TTL        time.Duration   // of leases and heartbeats, whole seconds; 0: 15 s
	Poll       time.Duration   // how often the leases are looked at; 0: 1 s
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
	// CaughtUp is told at each take-over when the store holds everything that the stream held then; may be nil.
	CaughtUp func(p bus.Partition)
	Log      *slog.Logger
	Metrics  prometheus.Registerer // nil: none
}

// Owner holds this worker's share of the partitions and runs them.
type Owner struct {
	cfg   Config
	deps  Deps
	meter *meter
	value []byte // of this worker's leases

	beat    held
	running map[bus.Partition]*tenure
}

// held is a lease that this worker holds.
type held struct {
	lease   bus.Lease
	renewed time.Time // taken before the renewal was sent
}

// tenure is one partition that this worker runs.
type tenure struct {
	held
	cancel context.CancelFunc
	done   chan struct{}
}

// holder is the value of a lease, in words that an operator can read.
type holder struct {
	Worker string `json:"worker"`
	Boot   string `json:"boot"`
}

const beatPrefix = "worker."

// New checks the configuration.
func New(cfg Config, deps Deps) (*Owner, error) {
	if err := im.UserID(cfg.Worker).Validate(); err != nil {
		return nil, fmt.Errorf("worker name %q: %w", cfg.Worker, err)
	}
	if cfg.TTL == 0 {
		cfg.TTL = 15 * time.Second
	}
	if cfg.Poll == 0 {
		cfg.Poll = time.Second
	}
	value, err := json.Marshal(holder{cfg.Worker, cfg.Boot})
	if err != nil {
		return nil, err
	}
	return &Owner{cfg: cfg, deps: deps, value: value, meter: newMeter(deps.Metrics), running: make(map[bus.Partition]*tenure)}, nil
}

// Run takes and runs partitions until ctx ends, then hands all of them back.
func (o *Owner) Run(ctx context.Context) error {
	defer o.leave(ctx)
	for {
		if err := o.round(ctx); errors.Is(err, errNameTaken) {
			return err
		} else if err != nil && ctx.Err() == nil {
			// Tenures go on: the fence keeps them safe, and giving up would turn an outage of the leases into one of everything.
			o.deps.Log.Warn("leases out of reach", "err", err)
		}
		if !sleep(ctx, o.cfg.Poll) {
			return nil
		}
	}
}

var errNameTaken = errors.New("another process runs under the same worker name; give each process a name of its own")

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
	for _, l := range list {
		leases[l.Key] = l
		if name, ok := strings.CutPrefix(l.Key, beatPrefix); ok && name != o.cfg.Worker {
			live = append(live, name)
		}
	}
	if err := o.heartbeat(ctx, leases); err != nil {
		return err
	}
	for _, p := range o.cfg.Partitions {
		if err := o.settle(ctx, p, share(p, live) == o.cfg.Worker, leases); err != nil {
			return fmt.Errorf("lease of %s: %w", p, err)
		}
	}
	return nil
}

// heartbeat keeps the key that tells other workers that this one lives.
func (o *Owner) heartbeat(ctx context.Context, leases map[string]bus.Lease) error {
	h, err := o.keep(ctx, o.beat, beatPrefix+o.cfg.Worker, leases)
	if errors.Is(err, bus.ErrLost) && o.beat.lease.Key != "" {
		return errNameTaken
	}
	if err != nil {
		return fmt.Errorf("heartbeat: %w", err)
	}
	o.beat = h
	return nil
}

// keep renews h when a third of its time has passed, or takes the lease under key if it is free or was this worker's
// in an earlier run.
func (o *Owner) keep(ctx context.Context, h held, key string, leases map[string]bus.Lease) (held, error) {
	now := time.Now()
	var err error
	switch found, ok := leases[key]; {
	case h.lease.Key != "" && now.Sub(h.renewed) < o.cfg.TTL/3:
		return h, nil
	case h.lease.Key != "":
		h.lease, err = o.deps.Leases.Replace(ctx, h.lease, o.value, o.cfg.TTL)
	case ok && heldBy(found) == o.cfg.Worker:
		h.lease, err = o.deps.Leases.Replace(ctx, found, o.value, o.cfg.TTL)
	default:
		h.lease, err = o.deps.Leases.Acquire(ctx, key, o.value, o.cfg.TTL)
	}
	h.renewed = now
	return h, err
}

// settle brings one partition to where it belongs.
func (o *Owner) settle(ctx context.Context, p bus.Partition, mine bool, leases map[string]bus.Lease) error {
	t := o.running[p]
	if !mine {
		if t != nil {
			o.stop(ctx, p, t)
		}
		return nil
	}
	var h held
	if t != nil {
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
			o.stop(ctx, p, t)
		}
		return nil
	case err != nil:
		return err
	}
	if t == nil {
		t = o.begin(ctx, p)
	}
	t.held = h
	return nil
}

// begin runs p until stop.
func (o *Owner) begin(ctx context.Context, p bus.Partition) *tenure {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	t := &tenure{cancel: cancel, done: make(chan struct{})}
	o.running[p] = t
	go func() {
		defer close(t.done)
		o.tenure(ctx, p)
	}()
	return t
}

// stop ends the run of p and hands the lease back.
func (o *Owner) stop(ctx context.Context, p bus.Partition, t *tenure) {
	t.cancel()
	<-t.done
	delete(o.running, p)
	if t.lease.Key == "" {
		return
	}
	if err := o.deps.Leases.Release(ctx, t.lease); err != nil {
		o.deps.Log.Warn("lease not handed back; it ends by itself", "partition", p.String(), "err", err)
	}
}

// leave hands everything back.
func (o *Owner) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*grace)
	defer cancel()
	for _, t := range o.running {
		t.cancel() // all at once, then wait for each
	}
	for p, t := range o.running {
		o.stop(ctx, p, t)
	}
	if o.beat.lease.Key != "" {
		if err := o.deps.Leases.Release(ctx, o.beat.lease); err != nil {
			o.deps.Log.Warn("heartbeat not taken back; it ends by itself", "err", err)
		}
	}
}

// tenure runs p again and again: whatever ended a run, the next one begins with what the store says.
func (o *Owner) tenure(ctx context.Context, p bus.Partition) {
	log := o.deps.Log.With("partition", p.String())
	for wait := 100 * time.Millisecond; ctx.Err() == nil; {
		began := time.Now()
		err := o.once(ctx, p, log)
		if ctx.Err() != nil {
			return
		}
		var broken *StreamError
		switch {
		case errors.As(err, &broken):
			log.Error("partition stands still", "err", err)
			wait = 30 * time.Second
		case time.Since(began) > 30*time.Second:
			wait = 100 * time.Millisecond
			log.Warn("partition starts over", "err", err)
		default:
			wait = min(2*wait, 5*time.Second)
			log.Warn("partition starts over", "err", err)
		}
		o.meter.restart(p)
		sleep(ctx, wait)
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
		start: o.deps.Start, caughtUp: o.deps.CaughtUp, log: log, meter: o.meter, trimmed: time.Now(),
	}
	return l.run(ctx, o.deps.FenceKey(p))
}

func heldBy(l bus.Lease) string {
	var h holder
	if json.Unmarshal(l.Value, &h) != nil {
		return ""
	}
	return h.Worker
}
