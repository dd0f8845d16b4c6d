package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"github.com/catena-im/catena/pkg/bus"
	"github.com/catena-im/catena/pkg/chain"
	"github.com/catena-im/catena/pkg/kv"
	"github.com/catena-im/catena/pkg/partition"
	"github.com/catena-im/catena/services/edge"
	"github.com/catena-im/catena/services/edge/token"
	"github.com/catena-im/catena/services/embed"
	"github.com/catena-im/catena/services/history"
	"github.com/catena-im/catena/services/sequencer"
)

// node is one process: the roles it was given, and what they stand on.
type node struct {
	cfg    Config       // settled
	layout chain.Layout // of the settled counts
	log    *slog.Logger
	reg    *prometheus.Registry

	server   *embed.Server // nil: the NATS servers are elsewhere
	bus      *bus.Bus
	store    storage      // nil without a role that needs it
	listener net.Listener // of the edge
	admin    net.Listener
	edge     *edge.Edge  // nil without that role
	pulls    gate        // open while pulls are answered
	served   atomic.Bool // clients were let in: from then on faults are waited out
	lead     lead
	stopping atomic.Bool
}

// storage is an open store.
type storage interface {
	kv.Store
	// Failed is closed when only opening the store anew helps.
	Failed() <-chan struct{}
	// Maintain does what the store needs done beside reading and writing, until ctx ends. What one process of a cluster
	// has to do it does while leads answers true.
	Maintain(ctx context.Context, leads func() bool) error
}

const (
	sayAfter = 5 * time.Second // a start may take until the log says what it waits for
	sayAgain = time.Minute     // what goes on to fail is logged once
)

// newNode opens everything that can be refused for a reason that a person has to mend: folders, ports, keys, counts.
func newNode(ctx context.Context, cfg Config, log *slog.Logger) (_ *node, err error) {
	n := &node{cfg: cfg, log: log, reg: prometheus.NewRegistry(), pulls: gate{first: make(chan struct{})}}
	n.reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	defer func() {
		if err != nil {
			n.close()
		}
	}()
	if err = n.openBus(ctx); err != nil {
		return nil, err
	}
	n.layout = chain.Layout{ConvPartitions: n.cfg.Partitions.Conv, UserPartitions: n.cfg.Partitions.User}
	if n.cfg.has(roleSequencer) || n.cfg.has(roleHistory) {
		if n.store, err = n.openStore(ctx); err != nil {
			return nil, err
		}
		if err = n.verifyStore(ctx); err != nil {
			return nil, err
		}
	}
	if err = n.provision(ctx); err != nil {
		return nil, err
	}
	if n.admin, err = listen("admin.listen", cfg.Admin.Listen); err != nil {
		return nil, err
	}
	if n.cfg.has(roleEdge) {
		err = n.openEdge()
	}
	return n, err
}

// openBus connects to the NATS servers, settles the configuration and sees that they are provisioned for it. The embedded
// one is started here, and need not be provisioned yet.
func (n *node) openBus(ctx context.Context) (err error) {
	if n.cfg.NATS.URL != "" {
		if n.bus, err = connectBus(ctx, n.cfg, n.log); err == nil {
			err = verify(ctx, n.bus, &n.cfg, n.log)
		}
		return err
	}
	n.server, err = embed.New(embed.Config{
		Dir: n.cfg.Data, Listen: n.cfg.NATS.Listen, Fsync: n.cfg.Durability == "fsync",
	}, n.log)
	if err != nil {
		return err
	}
	n.bus, err = bus.Connect(ctx, bus.Config{Name: n.cfg.Node, Cell: n.cfg.Cell, InProcess: n.server}, n.log)
	if err == nil {
		err = n.cfg.settle(ctx, n.bus, n.cfg.fresh)
	}
	if err == nil {
		err = n.bus.Verify(ctx, n.cfg.busLayout())
	}
	if errors.Is(err, bus.ErrNoStream) {
		return nil
	}
	return explainBus(err)
}

// provision makes the streams of the embedded server: nobody else could. It comes after the store was looked at, since the
// partition counts are fixed by it.
func (n *node) provision(ctx context.Context) error {
	if n.server == nil {
		return nil
	}
	_, err := n.bus.Provision(ctx, n.cfg.busLayout())
	return explainBus(err)
}

// verifyStore refuses a store that was written under another layout. One that does not answer is waited for later on.
func (n *node) verifyStore(ctx context.Context) error {
	err := verifyStore(ctx, n.store, n.layout)
	if _, misplaced := errors.AsType[*chain.Misplaced](err); err != nil && !misplaced {
		n.log.Warn("partition counts not compared with the store", "err", err)
		return nil
	}
	return err
}

func (n *node) openEdge() (err error) {
	keys, err := n.cfg.TokenKeys()
	if err != nil {
		return err
	}
	if n.listener, err = listen("listen", n.cfg.Listen); err != nil {
		return err
	}
	n.edge, err = edge.New(edge.Config{
		Name: n.cfg.Node, ConvPartitions: n.layout.ConvPartitions, UserPartitions: n.layout.UserPartitions,
		Tokens:         token.Config{Keys: keys, Audience: n.cfg.Auth.Audience},
		MaxConnections: n.cfg.Limits.Connections, QueueBytes: int(n.cfg.Limits.QueueBytes),
		FrameRate: n.cfg.Limits.FrameRate, FrameBurst: n.cfg.Limits.FrameBurst,
	}, edge.Deps{
		Listener: n.listener, Log: n.log, Metrics: n.reg,
		Streams: edge.OnBus{Bus: n.bus}, Inbox: edge.OnBus{Bus: n.bus}, Peers: edge.OnBus{Bus: n.bus},
	})
	return err
}

// run serves until ctx ends. It stops from the outside in: the edge answers what is under way while workers still
// work, then the workers hand back, then the bus and the server end.
func (n *node) run(ctx context.Context, ready func()) error {
	defer n.close()
	g, ctx := errgroup.WithContext(ctx)
	context.AfterFunc(ctx, func() { n.stopping.Store(true) })
	inner, stopInner := context.WithCancel(context.WithoutCancel(ctx))
	g.Go(func() error { return n.serveAdmin(inner) })
	g.Go(func() error { return n.work(inner) })
	g.Go(func() error {
		defer stopInner()
		if n.cfg.has(roleHistory) {
			select {
			case <-n.pulls.first: // before that, clients would be refused, or shown less than they were told
			case <-ctx.Done():
				return nil
			}
		}
		n.served.Store(true)
		ready()
		if n.edge != nil {
			return n.edge.Run(ctx)
		}
		<-ctx.Done()
		return nil
	})
	return g.Wait()
}

// work runs the roles that use the store. A store that failed is opened anew: what was acknowledged is in it or in the
// streams.
func (n *node) work(ctx context.Context) error {
	for n.store != nil {
		err := n.workWith(ctx, n.store)
		if closeErr := n.store.Close(); closeErr != nil {
			n.log.Warn("store not closed cleanly; it is recovered from the streams", "err", closeErr)
		}
		switch n.store = nil; {
		case ctx.Err() != nil && errors.Is(err, context.Canceled):
			return nil // told to stop while the roles were being made
		case ctx.Err() != nil || err != nil && (!n.served.Load() || errors.Is(err, partition.ErrNameTaken)):
			return err
		}
		n.log.Error("the store failed and is opened again; see that the disk has room", "folder", n.cfg.Data, "err", err)
		if !n.reopen(ctx) {
			return nil
		}
	}
	<-ctx.Done()
	return nil
}

// reopen opens the store as soon as it can be opened; false: ctx has ended.
func (n *node) reopen(ctx context.Context) bool {
	var said time.Time
	for wait := time.Second; ; wait = min(2*wait, 15*time.Second) {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(wait):
		}
		store, err := n.openStore(ctx)
		if err == nil {
			n.store = store
			return true
		}
		n.pulls.because(fmt.Errorf("the store does not open: %w", err))
		if said.IsZero() || time.Since(said) >= sayAgain {
			said = time.Now()
			n.log.Error("the store does not open", "err", err)
		}
	}
}

// workWith runs sequencer and history until ctx ends or the store fails.
func (n *node) workWith(ctx context.Context, store storage) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	caughtUp := newCensus(n.cfg.busLayout().Partitions())
	if n.cfg.has(roleSequencer) {
		owner, err := n.sequencer(ctx, store, caughtUp.mark)
		if err != nil {
			return err
		}
		g.Go(func() error { return owner.Run(ctx) })
	}
	if n.cfg.has(roleHistory) {
		g.Go(func() error { return n.history(ctx, store, caughtUp) })
	}
	g.Go(func() error { return store.Maintain(ctx, n.lead.is) })
	g.Go(func() error {
		select {
		case <-store.Failed():
			cancel()
		case <-ctx.Done():
		}
		return nil
	})
	return g.Wait()
}

// history answers pulls. A store of this process may lack what a kill took from it: pulls wait until it is replayed.
func (n *node) history(ctx context.Context, store storage, caughtUp *census) error {
	pulls, err := history.New(history.Config{Layout: n.layout}, history.Deps{
		Store: store, Bus: n.bus, Log: n.log, Serving: n.pulls.open,
	})
	if err != nil {
		return err
	}
	if n.cfg.Store.Driver == driverPebble && !n.await(ctx, caughtUp) {
		return nil
	}
	defer n.pulls.close()
	return pulls.Run(ctx)
}

// await waits until every partition has caught up, and says now and then which have not; false: ctx has ended.
func (n *node) await(ctx context.Context, caughtUp *census) bool {
	for {
		select {
		case <-caughtUp.all:
			return true
		case <-ctx.Done():
			return false
		case <-time.After(sayAfter):
			n.log.Warn("clients wait until all partitions have caught up with their streams", "missing", caughtUp.waiting())
		}
	}
}

// sequencer is the owner of the partitions, with their steps.
func (n *node) sequencer(ctx context.Context, store kv.Store, caughtUp func(bus.Partition)) (*partition.Owner, error) {
	leases, err := n.bus.Leases(ctx)
	if err != nil {
		return nil, err
	}
	seq, err := sequencer.New(sequencer.Config{Layout: n.layout}, sequencer.Deps{Store: store, Bus: n.bus, Log: n.log})
	if err != nil {
		return nil, err
	}
	return partition.New(partition.Config{
		Worker: n.cfg.Node, Boot: rand.Text(), Partitions: n.cfg.busLayout().Partitions(), Keep: n.cfg.Stream.MaxAge,
	}, partition.Deps{
		Store: store, Leases: leases, FenceKey: sequencer.FenceKey, Log: n.log, Metrics: n.reg,
		Open: n.openStream, Start: n.lead.watch(seq.Start), CaughtUp: caughtUp,
	})
}

// openStream opens the stream of p. A server in this process that was started again has lost its consumers, which it
// keeps in memory: they are made again, as at a start.
func (n *node) openStream(ctx context.Context, p bus.Partition) (partition.Stream, error) {
	r, err := n.bus.Open(ctx, p)
	if n.server != nil && errors.Is(err, bus.ErrNoStream) {
		if _, err = n.bus.Provision(ctx, n.cfg.busLayout()); err == nil {
			r, err = n.bus.Open(ctx, p)
		}
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

// close ends what newNode opened, the server last: nothing may outlive what it is connected to.
func (n *node) close() {
	for _, l := range []net.Listener{n.listener, n.admin} {
		if l != nil {
			_ = l.Close() // closed already when its server ran
		}
	}
	if n.store != nil {
		if err := n.store.Close(); err != nil {
			n.log.Warn("store not closed cleanly; it is recovered from the streams", "err", err)
		}
	}
	if n.bus != nil {
		n.bus.Close()
	}
	if n.server != nil {
		n.server.Close()
	}
}

// wsURL is where clients connect.
func (n *node) wsURL() string { return "ws://" + reachable(n.listener.Addr()) + "/ws" }
