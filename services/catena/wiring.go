package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/catena-im/catena/pkg/bus"
	"github.com/catena-im/catena/pkg/chain"
	"github.com/catena-im/catena/pkg/kv"
	"github.com/catena-im/catena/pkg/kv/pebble"
	"github.com/catena-im/catena/pkg/partition"
	"github.com/catena-im/catena/services/edge"
	"github.com/catena-im/catena/services/edge/token"
	"github.com/catena-im/catena/services/embed"
	"github.com/catena-im/catena/services/history"
	"github.com/catena-im/catena/services/sequencer"
)

// node is one process with all roles: what is embedded, and the roles on top of it.
type node struct {
	cfg    Config
	layout chain.Layout
	log    *slog.Logger
	reg    *prometheus.Registry

	server   *embed.Server
	bus      *bus.Bus
	store    *pebble.Store
	listener net.Listener
	admin    net.Listener
	edge     *edge.Edge
	pulls    gate // open while pulls are answered
}

// newNode opens everything that can be refused for a reason that a person has to mend: folders, ports, keys, counts.
func newNode(ctx context.Context, cfg Config, log *slog.Logger) (_ *node, err error) {
	n := &node{
		cfg: cfg, log: log, reg: prometheus.NewRegistry(), pulls: gate{first: make(chan struct{})},
		layout: chain.Layout{ConvPartitions: cfg.Partitions.Conv, UserPartitions: cfg.Partitions.User},
	}
	defer func() {
		if err != nil {
			n.close()
		}
	}()
	if err = n.openServer(ctx); err != nil {
		return nil, err
	}
	if n.store, err = n.openStore(); err != nil {
		return nil, err
	}
	return n, n.openEdge()
}

// openServer starts the embedded NATS server and makes streams, consumers and buckets.
func (n *node) openServer(ctx context.Context) (err error) {
	n.server, err = embed.New(embed.Config{
		Dir: n.cfg.Data, Listen: n.cfg.NATS.Listen, Fsync: n.cfg.Durability == "fsync",
	}, n.log)
	if err != nil {
		return err
	}
	n.bus, err = bus.Connect(ctx, bus.Config{Name: n.cfg.Node, Cell: n.cfg.Cell, InProcess: n.server}, n.log)
	if err != nil {
		return err
	}
	_, err = n.bus.Provision(ctx, bus.Layout{
		ConvPartitions: n.layout.ConvPartitions, UserPartitions: n.layout.UserPartitions,
		StreamMaxBytes: int64(n.cfg.Stream.MaxBytes), MaxAge: n.cfg.Stream.MaxAge, DuplicateWindow: n.cfg.Stream.DuplicateWindow,
	})
	return err
}

// openStore opens the chains. Its commits need not wait for the disk: the streams are synced first, and what a power
// loss takes from the store is folded from them again.
func (n *node) openStore() (*pebble.Store, error) {
	return pebble.New(pebble.Config{Dir: filepath.Join(n.cfg.Data, "store"), Log: n.log})
}

func (n *node) openEdge() (err error) {
	keys, err := n.cfg.TokenKeys()
	if err != nil {
		return err
	}
	if n.listener, err = listen("listen", n.cfg.Listen); err != nil {
		return err
	}
	if n.admin, err = listen("admin.listen", n.cfg.Admin.Listen); err != nil {
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
	inner, stopInner := context.WithCancel(context.WithoutCancel(ctx))
	g.Go(func() error { return n.serveAdmin(inner) })
	g.Go(func() error { return n.work(inner) })
	g.Go(func() error {
		defer stopInner()
		select {
		case <-n.pulls.first: // before that, clients would be refused, or shown less than they were told
		case <-ctx.Done():
			return nil
		}
		ready()
		return n.edge.Run(ctx)
	})
	return g.Wait()
}

// work runs the roles that use the store. A store whose disk failed is opened anew: what was acknowledged is in it or
// in the streams.
func (n *node) work(ctx context.Context) error {
	for {
		err := n.workWith(ctx, n.store)
		if closeErr := n.store.Close(); closeErr != nil {
			n.log.Warn("store not closed cleanly; it is recovered from the streams", "err", closeErr)
		}
		if n.store = nil; ctx.Err() != nil || err != nil {
			return err
		}
		n.log.Error("the store failed and is opened again; see that the disk has room", "folder", n.cfg.Data)
		for wait := time.Second; n.store == nil; wait = min(2*wait, 15*time.Second) {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(wait):
			}
			if n.store, err = n.openStore(); err != nil {
				n.log.Error("the store does not open", "err", err)
			}
		}
	}
}

// workWith runs sequencer and history until ctx ends or the store fails.
func (n *node) workWith(ctx context.Context, store *pebble.Store) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	caughtUp := newCensus(sequencer.Partitions(n.layout))
	owner, err := n.sequencer(ctx, store, caughtUp.mark)
	if err != nil {
		return err
	}
	pulls, err := history.New(history.Config{Layout: n.layout}, history.Deps{
		Store: store, Bus: n.bus, Log: n.log, Serving: n.pulls.open,
	})
	if err != nil {
		return err
	}
	g.Go(func() error { return owner.Run(ctx) })
	g.Go(func() error {
		store.SyncEvery(ctx, time.Second)
		return nil
	})
	g.Go(func() error {
		select {
		case <-caughtUp.all:
			defer n.pulls.close()
			return pulls.Run(ctx)
		case <-ctx.Done():
			return nil
		}
	})
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
		Worker: n.cfg.Node, Boot: rand.Text(), Partitions: sequencer.Partitions(n.layout),
	}, partition.Deps{
		Store: store, Leases: leases, FenceKey: sequencer.FenceKey, Log: n.log, Metrics: n.reg,
		Open:  func(ctx context.Context, p bus.Partition) (partition.Stream, error) { return n.bus.Open(ctx, p) },
		Start: seq.Start, CaughtUp: caughtUp,
	})
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

func listen(key, address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; stop what uses the port, or give another (port 0 takes a free one)", key, err)
	}
	return l, nil
}

// census tells when every partition has caught up with its stream.
type census struct {
	all chan struct{} // closed then

	mu      sync.Mutex // guards the field below
	missing map[bus.Partition]struct{}
}

func newCensus(parts []bus.Partition) *census {
	c := &census{all: make(chan struct{}), missing: make(map[bus.Partition]struct{})}
	for _, p := range parts {
		c.missing[p] = struct{}{}
	}
	return c
}

func (c *census) mark(p bus.Partition) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.missing[p]; !ok {
		return
	}
	if delete(c.missing, p); len(c.missing) == 0 {
		close(c.all)
	}
}

// gate tells whether something is done now, and when it was for the first time.
type gate struct {
	first chan struct{} // closed then

	mu  sync.Mutex // guards the fields below
	was bool
	is  bool
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.is = true; !g.was {
		g.was = true
		close(g.first)
	}
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.is = false
}

var errNotReady = errors.New("the store is being opened, or the partitions catch up with their streams")

// ready is nil while the gate is open.
func (g *gate) ready() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.is {
		return errNotReady
	}
	return nil
}

// wsURL is where clients connect.
func (n *node) wsURL() string { return "ws://" + reachable(n.listener.Addr()) + "/ws" }

// reachable is a listening address as a client on this machine can dial it.
func reachable(a net.Addr) string {
	host, port, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}
