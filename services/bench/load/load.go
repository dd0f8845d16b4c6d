// Package load puts load on a server and measures what it does with it: how many messages it takes, how soon it
// acknowledges and delivers them, how long pulls, logins and failures take, and what all that costs in processor time,
// memory and stream messages. It knows the server from outside only, over a lean wire client, and holds every result
// against yardsticks that it measures in the same run. Sending is an open loop. It checks on the way that what was
// acknowledged is there; package check does that thoroughly.
package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/catena-im/catena/services/bench/yardstick"
)

// Config is what all benchmarks share. Zero stands for the default.
type Config struct {
	URL  string // of the server: ws://host:port/ws
	Run  string // what user ids begin with, so that runs against one server do not meet; "": made from the time
	Body int    // bytes of a message's text; 0: 200
	// Interval says that the server syncs its streams once in a while and not before it acknowledges.
	Interval bool
	// Within is how long a benchmark should take whose length was not given, for each size of several; 0: DefaultWithin. A
	// busy machine may need longer.
	Within time.Duration
	// Yardsticks is how long each yardstick is measured; 0: 1.2 s.
	Yardsticks time.Duration
}

// Deps is what a benchmark uses of its surroundings.
type Deps struct {
	// Token makes a token for a user.
	Token func(user string) (string, error)
	// PID is the server's process on this machine; nil when it is not known.
	PID func() (int, error)
	// Streamed counts the messages that the server's streams have ever taken; nil when it is not known.
	Streamed func(ctx context.Context) (uint64, error)
	// Crash kills the server without warning, starts it again at the same URL and returns when it is ready; nil when that
	// cannot be done.
	Crash func(ctx context.Context) error
	// Died brings the reason when the server ends by itself; may be nil.
	Died <-chan error
	// Yardsticks runs what results are held against; without a Command there are none.
	Yardsticks yardstick.Runner
	// Progress gets a line about where the benchmark stands, at most some each second, from any goroutine; may be nil.
	Progress func(string)
}

// Bench runs benchmarks, one after the other.
type Bench struct {
	Config
	deps  Deps
	text  string // what bodies are cut from
	began time.Time
	calls int // of crowd: each gets users of its own
}

// DefaultWithin is how long a benchmark should take whose length was not given.
const DefaultWithin = 43 * time.Second

const (
	defaultBody = 200
	maxBody     = 60 << 10
	defaultYard = 1200 * time.Millisecond
	maxRunName  = 40
)

// New makes a Bench against a server that is ready. Without URL and Token it can measure yardsticks only.
func New(c Config, d Deps) (*Bench, error) {
	setDefault(&c.Body, defaultBody)
	setDefault(&c.Within, DefaultWithin)
	setDefault(&c.Yardsticks, defaultYard)
	if c.Run == "" {
		c.Run = "b" + strconv.FormatInt(time.Now().UnixMilli(), 36) + strconv.FormatUint(uint64(rand.Uint32()), 36)
	}
	switch {
	case c.Within < 0 || c.Yardsticks < 0:
		return nil, errors.New("bench config: times must not be negative")
	case c.Body < 1 || c.Body > maxBody:
		return nil, fmt.Errorf("bench config: a body of %d bytes; give 1 to %d", c.Body, maxBody)
	case len(c.Run) > maxRunName:
		return nil, fmt.Errorf("bench config: Run has %d bytes; give at most %d", len(c.Run), maxRunName)
	}
	return &Bench{Config: c, deps: d, text: babble(textPool + maxBody), began: time.Now()}, nil
}

func (b *Bench) say(format string, args ...any) {
	if b.deps.Progress != nil {
		b.deps.Progress(fmt.Sprintf("%3.0fs ", time.Since(b.began).Seconds()) + fmt.Sprintf(format, args...))
	}
}

// against runs f against the server, and ends its context when the server ends by itself.
func (b *Bench) against(ctx context.Context, f func(context.Context) error) error {
	if b.URL == "" || b.deps.Token == nil {
		return errors.New("bench config: URL or Token is missing")
	}
	ctx, end := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case err := <-b.deps.Died:
			end(fmt.Errorf("the server ended by itself: %w", err))
		case <-ctx.Done():
		}
	}()
	err := f(ctx)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	end(nil)
	<-done
	return err
}

// pause waits for d; false: ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
