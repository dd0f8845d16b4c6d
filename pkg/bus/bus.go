// Package bus carries everything that moves between processes: the partitioned streams with their one reader each, the
// core messages and requests between edges and owners, the history service and the ownership leases. It alone knows
// subjects, stream and bucket names, and it alone imports nats.go. It promises order and at-least-once for streams,
// nothing for core messages, and leaves the meaning of payloads to its callers.
package bus

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// MaxPayload is the largest payload, in bytes, that Append, Publish and Request take: what servers accept, less the room
// that headers need.
const MaxPayload = maxMessage - 4<<10

const (
	maxMessage     = 1 << 20         // bytes, header included; the streams' MaxMsgSize and the servers' max_payload
	connectTimeout = 5 * time.Second // of one attempt to reach one server
	apiTimeout     = 5 * time.Second // of one request to JetStream whose context has no earlier deadline
	reconnectWait  = 100 * time.Millisecond
	pingInterval   = 10 * time.Second // two without an answer end a half-dead connection
	drainTimeout   = 5 * time.Second
)

// DefaultCell is the cell of a configuration that names none.
const DefaultCell = "local"

// Config says how to reach the NATS servers. The zero value is a server without authentication on this machine.
type Config struct {
	URL       string      // comma separated; default nats://127.0.0.1:4222
	Name      string      // shown by `nats server report connections`
	Cell      string      // the region's name, one subject token; default "local"
	InProcess InProcess   // a server in this process; URL is not used then
	TLS       *tls.Config // nil: what the URL's scheme says
	Inbox     string      // begin of the subjects that answers come to, for users who may subscribe to these only; default "_INBOX"

	// Authentication, at most one of the three.
	CredentialsFile string // JWT and seed, as nsc writes it
	NKeyFile        string // seed of an nkey
	User, Password  string
}

// InProcess is a NATS server in this process. It hands out one end of a pipe for every connection.
type InProcess interface {
	InProcessConn() (net.Conn, error)
}

// Bus is a connection to the NATS servers of one cell. Safe for concurrent use.
type Bus struct {
	nc     *nats.Conn
	js     jetstream.JetStream
	cell   string
	log    *slog.Logger
	link   *link
	closed chan struct{} // closed once the connection is gone for good

	quiet quiet
}

// Connect reaches a server, with one attempt at each that the URL names, and from then on reconnects for ever. While the
// connection is away nothing is buffered: what is published then fails at once.
func Connect(ctx context.Context, cfg Config, log *slog.Logger) (*Bus, error) {
	if cfg.Cell == "" {
		cfg.Cell = DefaultCell
	}
	if !validToken(cfg.Cell) {
		return nil, fmt.Errorf("%w: cell %q is not one subject token", ErrInvalid, cfg.Cell)
	}
	if cfg.URL == "" {
		cfg.URL = nats.DefaultURL
	}
	b := &Bus{cell: cfg.Cell, log: log, link: newLink(), closed: make(chan struct{})}
	opts, err := b.options(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if b.nc, err = nats.Connect(cfg.URL, opts...); err != nil {
		return nil, fmt.Errorf("connect to nats at %s: %w", cfg.where(), err)
	}
	if b.js, err = jetstream.New(b.nc); err != nil {
		b.Close()
		return nil, fmt.Errorf("open jetstream: %w", err)
	}
	if _, err := b.link.await(ctx); err != nil {
		b.Close()
		return nil, fmt.Errorf("connect to nats at %s: %w", cfg.where(), err)
	}
	return b, nil
}

func (c Config) where() string {
	if c.InProcess != nil {
		return "the server in this process"
	}
	return c.URL
}

func (b *Bus) options(ctx context.Context, cfg Config) ([]nats.Option, error) {
	timeout := connectTimeout
	if deadline, ok := ctx.Deadline(); ok {
		timeout = min(timeout, time.Until(deadline))
	}
	if timeout <= 0 || ctx.Err() != nil {
		return nil, fmt.Errorf("connect to nats at %s: %w", cfg.where(), cmp.Or(context.Cause(ctx), context.DeadlineExceeded))
	}
	opts := []nats.Option{
		nats.Name(cfg.Name),
		nats.Timeout(timeout),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectBufSize(-1), // a late send out of a buffer would overtake what its caller decided meanwhile
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(2),
		nats.DrainTimeout(drainTimeout),
		nats.ConnectHandler(func(*nats.Conn) { b.link.rise() }),
		nats.DisconnectErrHandler(b.disconnected),
		nats.ReconnectHandler(b.reconnected),
		nats.ClosedHandler(b.ended),
		nats.ErrorHandler(b.asyncError),
	}
	if cfg.InProcess != nil {
		opts = append(opts, nats.InProcessServer(cfg.InProcess))
	}
	if cfg.TLS != nil {
		opts = append(opts, nats.Secure(cfg.TLS))
	}
	if cfg.Inbox != "" {
		opts = append(opts, nats.CustomInboxPrefix(cfg.Inbox))
	}
	auth, err := cfg.authentication()
	return append(opts, auth...), err
}

func (c Config) authentication() ([]nats.Option, error) {
	var opts []nats.Option
	if c.CredentialsFile != "" {
		opts = append(opts, nats.UserCredentials(c.CredentialsFile))
	}
	if c.NKeyFile != "" {
		opt, err := nats.NkeyOptionFromSeed(c.NKeyFile)
		if err != nil {
			return nil, fmt.Errorf("read nkey %s: %w", c.NKeyFile, err)
		}
		opts = append(opts, opt)
	}
	if c.User != "" {
		opts = append(opts, nats.UserInfo(c.User, c.Password))
	}
	if len(opts) > 1 {
		return nil, fmt.Errorf("%w: credentials file, nkey file and user exclude one another", ErrInvalid)
	}
	return opts, nil
}

func (b *Bus) disconnected(_ *nats.Conn, err error) {
	b.link.fall(errDisconnected)
	if err != nil {
		b.log.Warn("nats connection lost", "err", err)
	}
}

func (b *Bus) reconnected(nc *nats.Conn) {
	b.quiet.broken()
	b.link.rise()
	b.log.Info("nats connection restored", "server", nc.ConnectedUrlRedacted())
}

func (b *Bus) ended(*nats.Conn) {
	b.link.close()
	close(b.closed)
}

// asyncError logs what has no caller to be returned to: a subscription that dropped messages, a denied subject.
func (b *Bus) asyncError(_ *nats.Conn, sub *nats.Subscription, err error) {
	if sub == nil {
		b.log.Warn("nats error", "err", err)
		return
	}
	b.log.Warn("nats subscription error", "subject", sub.Subject, "err", err)
}

// Connected reports whether the connection stands now, as far as this end has noticed.
func (b *Bus) Connected() bool { return b.link.alive().Err() == nil }

// Close lets what was received be handled and what was published leave, for at most 5 s, and ends the connection.
// Everything that waits in the bus then returns ErrClosed. Close twice is fine.
func (b *Bus) Close() {
	if err := b.nc.Drain(); err != nil {
		b.nc.Close() // drained already, or away: there is nothing to wait for
	}
	<-b.closed
}

// bounded ends ctx when the connection is lost, so that nobody waits for an answer that cannot come any more, and after
// limit at the latest. The returned function frees it.
func (b *Bus) bounded(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	alive := b.link.alive()
	ctx, cancel := context.WithCancelCause(ctx)
	ctx, free := context.WithTimeout(ctx, limit)
	stop := context.AfterFunc(alive, func() { cancel(context.Cause(alive)) })
	return ctx, func() {
		stop()
		free()
		cancel(nil)
	}
}
