package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// Config says whom to connect as and how. URL, Device and Token are needed; zero stands for the default elsewhere.
type Config struct {
	URL      string                                    // ws://host:port/ws or wss://host/ws
	Device   string                                    // this installation's device id, 1 to 64 bytes; the same after a restart
	Platform string                                    // what the device is, such as "ios" or "cli", for people
	Token    func(ctx context.Context) (string, error) // a valid token; called before every connect
	Store    Store                                     // nil: a new MemoryStore

	// OnEvent gets the events in order, one at a time, from one goroutine of Run. It may call any method but Run. While
	// it blocks, later events wait, and so does the return of Run. nil: events are dropped.
	OnEvent func(Event)

	Log         *slog.Logger  // nil: silence
	Window      int           // messages in flight per conversation; 0: 16
	MaxQueued   int           // messages in the outbox; 0: 10,000
	SendTimeout time.Duration // what is not answered in this time is sent again; 0: 10 s
	Heartbeat   time.Duration // the interval to ask the server for; 0: the server's own
	MinBackoff  time.Duration // longest first wait before connecting or sending again; 0: 200 ms
	MaxBackoff  time.Duration // longest wait of all, unless the server asks for more; 0: 15 s

	// SyncFromStart makes a new device pull the whole user chain. Otherwise it starts at the chain's head, and the
	// application lists the conversations and pulls what it shows.
	SyncFromStart bool
	// Dial makes the network connections; nil: that of net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// JSON speaks catena.v1.json instead of binary frames.
	JSON bool
}

func (cfg *Config) validate() error {
	u, err := url.Parse(cfg.URL)
	switch {
	case err != nil:
		return fmt.Errorf("URL: %w", err)
	case u.Scheme != "ws" && u.Scheme != "wss", u.Host == "":
		return fmt.Errorf("URL %q is not ws://host:port/ws or wss://host/ws", cfg.URL)
	case cfg.Device == "" || len(cfg.Device) > 64:
		return errors.New("Device must have 1 to 64 bytes")
	case cfg.Token == nil:
		return errors.New("Token is missing")
	case cfg.Window < 0, cfg.MaxQueued < 0:
		return errors.New("Window and MaxQueued must not be negative")
	case cfg.SendTimeout < 0, cfg.Heartbeat < 0, cfg.MinBackoff < 0, cfg.MaxBackoff < 0:
		return errors.New("SendTimeout, Heartbeat, MinBackoff and MaxBackoff must not be negative")
	}
	return nil
}

func (cfg *Config) fill() {
	cfg.Window = orDefault(cfg.Window, 16)
	cfg.MaxQueued = orDefault(cfg.MaxQueued, 10_000)
	cfg.SendTimeout = orDefault(cfg.SendTimeout, 10*time.Second)
	cfg.MinBackoff = orDefault(cfg.MinBackoff, 200*time.Millisecond)
	cfg.MaxBackoff = max(orDefault(cfg.MaxBackoff, 15*time.Second), cfg.MinBackoff)
	if cfg.Store == nil {
		cfg.Store = NewMemoryStore()
	}
	if cfg.OnEvent == nil {
		cfg.OnEvent = func(Event) {}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Dial == nil {
		cfg.Dial = (&net.Dialer{}).DialContext
	}
}

// Client is one device of one user. Its methods may be called at the same time.
type Client struct {
	cfg      Config
	codec    *codec
	http     *http.Client
	emitter  *emitter
	position atomic.Uint64
	started  atomic.Bool
	wake     chan struct{} // holds one: there may be something to send
	storing  chan struct{} // holds one: taken while a message goes into the store and then into the outbox; guards nextSeq
	nextSeq  uint64        // 0 until the store was loaded
	stopped  chan struct{} // closed when nothing is sent any more, just before Run returns

	mu      sync.Mutex // guards the fields below
	user    string     // as stored; empty before the first connection
	outbox  *outbox
	chain   *chain
	calls   []*call                        // direct requests whose callers wait
	waiters map[uint64][]chan<- sendResult // by the Seq of the message
	results int                            // SendDone and SendFailed that wait for OnEvent
	losses  int                            // Disconnected that wait for OnEvent
	moves   int                            // changes of the list version that wait to be stored
	untold  bool                           // ListChanged is due when there is room
	up      chan struct{}                  // closed while connected
	err     error                          // why Run ended
}

// New makes a client. Nothing is loaded or connected before Run, or before the first message is queued.
func New(cfg Config) (*Client, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("client config: %w", err)
	}
	cfg.fill()
	b := backoff{cfg.MinBackoff, cfg.MaxBackoff}
	c := &Client{
		cfg: cfg, codec: &binaryCodec,
		wake: make(chan struct{}, 1), storing: make(chan struct{}, 1), stopped: make(chan struct{}),
		outbox: newOutbox(cfg.Window, cfg.SendTimeout, b), chain: newChain(cfg.SendTimeout, b),
		waiters: map[uint64][]chan<- sendResult{}, up: make(chan struct{}),
	}
	if cfg.JSON {
		c.codec = &jsonCodec
	}
	c.http = &http.Client{Transport: &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: cfg.Dial, DisableKeepAlives: true,
	}}
	c.emitter = &emitter{
		store: cfg.Store, onEvent: cfg.OnEvent, done: c.told, wake: make(chan struct{}, 1),
		stored: func(position uint64) { c.position.Store(max(position, c.position.Load())) },
	}
	return c, nil
}

// Position is the last UserIndex that was applied without gaps and stored; 0 before Run has loaded the store.
func (c *Client) Position() uint64 { return c.position.Load() }

// Ready waits until the client is connected. It returns the context's error, or ErrStopped when Run has ended.
func (c *Client) Ready(ctx context.Context) error {
	c.mu.Lock()
	up := c.up
	c.mu.Unlock()
	select {
	case <-up:
		return nil
	case <-c.stopped:
		return c.stopError()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stopError is why nothing is sent any more. stopped must be closed.
func (c *Client) stopError() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		return ErrStopped
	}
	return fmt.Errorf("%w: %w", ErrStopped, c.err)
}

// acquire takes storing and loads the store if that was not done yet. Whoever gets nil gives it back with <-c.storing.
func (c *Client) acquire(ctx context.Context) error {
	select {
	case c.storing <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	if c.nextSeq != 0 {
		return nil
	}
	state, err := c.cfg.Store.Load(ctx)
	if err != nil {
		<-c.storing
		return fmt.Errorf("load the store: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nextSeq = 1
	c.user, c.chain.have, c.chain.list = state.User, state.Position, state.ListVersion
	c.position.Store(state.Position)
	for _, q := range state.Outbox {
		c.outbox.restore(q)
		c.nextSeq = q.Seq + 1
	}
	return nil
}
