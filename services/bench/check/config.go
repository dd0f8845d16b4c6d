package check

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"time"
)

// Faults says what is done to the server and to its clients while they work.
type Faults string

// The kinds of faults.
const (
	FaultsNone       Faults = "none"
	FaultsKill       Faults = "kill"       // the server is killed and started again, or its processes are harmed
	FaultsDisconnect Faults = "disconnect" // sockets are cut, readers stall, devices restart, messages are sent again on purpose
	FaultsAll        Faults = "all"        // both, as far as the server can be killed
)

// Config says how large a run is. Zero stands for the default.
type Config struct {
	URL      string        // of the server: ws://host:port/ws
	Also     []string      // URLs of further edges; every connect goes to the next one, as behind a load balancer
	Duration time.Duration // of the load; 0: 60 s
	Settle   time.Duration // how long the server may take to come to rest after the load; 0: 60 s
	Users    int           // 0: 20; at least 3
	Groups   int           // 0: 5
	Devices  int           // of each user on the SDK, besides one on the bare wire; 0: 2
	Rate     float64       // messages per second of all devices together; 0: 150
	Seed     uint64        // of what is decided by chance; 0: one is chosen
	Faults   Faults        // "": FaultsNone
	Run      string        // what the ids of the run begin with, so that runs against one server do not meet; "": made from the seed
}

// Deps is what a run uses of its surroundings.
type Deps struct {
	// Token makes a token for a user.
	Token func(user string) (string, error)
	// Crash kills the server without warning, starts it again at the same URL and returns when it is ready; nil when
	// that cannot be done.
	Crash func(ctx context.Context) error
	// Harms are the faults of the server's processes that are injected besides, one at a time; may be empty.
	Harms []Harm
	// Sound reports a process that does not run as it should; asked between harms; may be nil.
	Sound func(ctx context.Context) error
	// Died brings the reason when the server ends by itself; may be nil.
	Died <-chan error
	// Progress gets the state of the run once a second, from one goroutine; may be nil.
	Progress func(Status)
	Log      *slog.Logger // of the SDK clients; nil: silence
}

// maxRunName keeps user ids within the 64 bytes that an id may have.
const maxRunName = 40

func (c *Config) fill() {
	c.Duration = orDefault(c.Duration, time.Minute)
	c.Settle = orDefault(c.Settle, time.Minute)
	c.Users = orDefault(c.Users, 20)
	c.Groups = orDefault(c.Groups, 5)
	c.Devices = orDefault(c.Devices, 2)
	c.Rate = orDefault(c.Rate, 150)
	c.Faults = orDefault(c.Faults, FaultsNone)
	if c.Seed == 0 {
		c.Seed = rand.Uint64N(1e9) + 1 // short enough to be typed
	}
	c.Run = orDefault(c.Run, "check"+strconv.FormatUint(c.Seed, 36))
}

func orDefault[T comparable](value, fallback T) T {
	var zero T
	if value == zero {
		return fallback
	}
	return value
}

func (c *Config) validate(d *Deps) error {
	switch {
	case c.URL == "":
		return fmt.Errorf("URL is missing")
	case d.Token == nil:
		return fmt.Errorf("Token is missing")
	case c.Duration < 0, c.Settle < 0:
		return fmt.Errorf("Duration and Settle must not be negative")
	case c.Users < 3:
		return fmt.Errorf("Users is %d; an outsider needs at least 3", c.Users)
	case c.Groups < 0, c.Devices < 1, c.Rate < 0:
		return fmt.Errorf("Groups, Devices and Rate must not be negative")
	case len(c.Run) > maxRunName:
		return fmt.Errorf("Run has %d bytes; give at most %d", len(c.Run), maxRunName)
	case c.Faults == FaultsKill && d.Crash == nil && len(d.Harms) == 0:
		return fmt.Errorf("Faults is %q and the server cannot be killed from here; spawn one", c.Faults)
	}
	switch c.Faults {
	case FaultsNone, FaultsKill, FaultsDisconnect, FaultsAll:
		return nil
	}
	return fmt.Errorf("Faults is %q; give none, kill, disconnect or all", c.Faults)
}

// fullLength is the length from which a run goes at its normal pace. A shorter one goes faster, so that it sees
// everything as well.
const fullLength = 15 * time.Second

// every is the interval d at the pace of the run.
func (c *Config) every(d time.Duration) time.Duration {
	if c.Duration >= fullLength {
		return d
	}
	return time.Duration(float64(d) * float64(c.Duration) / float64(fullLength))
}

// kills reports whether the server is killed during the run.
func (c *Config) kills(d *Deps) bool {
	return d.Crash != nil && (c.Faults == FaultsKill || c.Faults == FaultsAll)
}

// harms reports whether processes of the server are harmed during the run.
func (c *Config) harms(d *Deps) bool {
	return len(d.Harms) > 0 && (c.Faults == FaultsKill || c.Faults == FaultsAll)
}

// disturbs reports whether clients misbehave during the run.
func (c *Config) disturbs() bool { return c.Faults == FaultsDisconnect || c.Faults == FaultsAll }
