// Package edge holds the connections of clients. It authenticates them, checks every request and hands commands to the
// partition streams in batches; it passes pulls on to the history service, and answers and pushes back to the sessions.
// It promises order per connection and partition, bounds on everything that waits, and an answer, possibly "try again",
// to every request of a connection that lives. It decides nothing about conversations and keeps no state that outlives
// it: a push that it drops is a gap that the client is told to pull.
package edge

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lxzan/gws"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/catena-im/catena/services/edge/socket"
	"github.com/catena-im/catena/services/edge/token"
)

// Streams takes commands to the partition streams. A nil error means that the payload is in the stream. Whatever is
// unclear is retried with the same id until ctx ends; other errors come back at once. The payload may be kept.
//
// An append that fails may have been made all the same, unless the error is bus.ErrFull and not bus.ErrUnclear.
type Streams interface {
	// AppendConversation takes an encoded CommandBatch to a conversation partition. It keeps nothing of payload.
	AppendConversation(ctx context.Context, partition int, id string, payload []byte) error
	// AppendUser takes an encoded UserBatch to a user partition. It keeps nothing of payload.
	AppendUser(ctx context.Context, partition int, id string, payload []byte) error
}

// Inbox brings what workers say. A handler is called for one message at a time, in the order sent, and does not block;
// data is the handler's to keep. After stop returns the handler is not called again.
type Inbox interface {
	// Deliveries brings encoded EdgeBatches for the edge.
	Deliveries(edge string, handle func(data []byte)) (stop func(), err error)
	// Announcements brings encoded SessionCalls.
	Announcements(handle func(data []byte)) (stop func(), err error)
}

// Peers answers requests; an error means that nobody did.
type Peers interface {
	// Session takes an encoded SessionRequest to the owner of a user partition and returns its SessionReply.
	Session(ctx context.Context, partition int, request []byte) ([]byte, error)
	// History takes an encoded HistoryRequest to the history service and returns its HistoryReply.
	History(ctx context.Context, request []byte) ([]byte, error)
}

// Deps are what an edge works with.
type Deps struct {
	// Listener accepts the connections; Run closes it. TLS is the listener's matter.
	Listener net.Listener
	Streams  Streams
	Inbox    Inbox
	Peers    Peers
	// Log may be nil: nothing is logged.
	Log *slog.Logger
	// Metrics may be nil: nothing is exported.
	Metrics prometheus.Registerer
}

// Edge serves WebSocket clients.
type Edge struct {
	cfg      Config
	deps     Deps
	log      *slog.Logger
	id       string
	started  time.Time // the zero of the edge's clock
	tokens   *token.Verifier
	upgrader *gws.Upgrader
	metrics  *metrics

	conv       []*lane      // by conversation partition
	user       []*lane      // by user partition
	partitions []*partition // by user partition
	cadence    cadence
	reading    reading
	sockets    *socket.Poller // of Run
	spares     spares
	pulls      chan struct{} // a slot per running history request

	work     context.Context // of Run; ends when the edge has drained
	draining atomic.Bool     // requests are refused with GOING_AWAY
	running  sync.WaitGroup  // one per session

	mu          sync.RWMutex // guards the fields below; a session's lock may be taken under it
	sessions    map[uint64]*session
	opened      uint64 // number of the newest session
	connections int    // sessions, and connections on their way to one
	stopped     bool   // there may be no more
}

// New makes an edge; Run serves.
func New(cfg Config, deps Deps) (*Edge, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("edge config: %w", err)
	}
	if deps.Listener == nil || deps.Streams == nil || deps.Inbox == nil || deps.Peers == nil {
		return nil, errors.New("edge deps: listener, streams, inbox and peers are required")
	}
	tokens, err := token.NewVerifier(cfg.Tokens)
	if err != nil {
		return nil, fmt.Errorf("edge config: tokens: %w", err)
	}
	m, err := newMetrics(deps.Metrics)
	if err != nil {
		return nil, fmt.Errorf("edge metrics: %w", err)
	}
	places := runtime.GOMAXPROCS(0)
	e := &Edge{
		cfg: cfg, deps: deps, log: deps.Log, tokens: tokens, metrics: m, started: time.Now(),
		id:       cfg.Name + "-" + strings.ToLower(rand.Text()[:10]),
		sessions: make(map[uint64]*session),
		cadence:  newCadence(places),
		reading:  reading{busy: busyReading * places},
		pulls:    make(chan struct{}, cfg.Pulls),
	}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	e.log = e.log.With("edge", e.id)
	e.upgrader = newUpgrader()
	for p := range cfg.ConvPartitions {
		e.conv = append(e.conv, newLane(e, fmt.Sprintf("conv.%03d", p), wrapCommands, appender(deps.Streams.AppendConversation, p)))
	}
	for p := range cfg.UserPartitions {
		e.user = append(e.user, newLane(e, fmt.Sprintf("user.%03d", p), wrapUserCommands, appender(deps.Streams.AppendUser, p)))
		e.partitions = append(e.partitions, newPartition(e, p))
	}
	return e, nil
}

// ID names the edge to the workers; it is another one after each start.
func (e *Edge) ID() string { return e.id }

// now is the edge's clock. Unlike the time of day it does not jump, which would make all clients look silent.
func (e *Edge) now() time.Duration { return time.Since(e.started) }

func appender(f func(context.Context, int, string, []byte) error, partition int) appendFunc {
	return func(ctx context.Context, id string, payload []byte) error { return f(ctx, partition, id, payload) }
}
