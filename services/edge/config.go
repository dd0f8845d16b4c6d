package edge

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/catena-im/catena/services/edge/token"
)

// Config says how an edge behaves. A zero field takes the default named beside it.
type Config struct {
	// Name of the edge for people: letters, digits, - and _; "edge". The edge's id is the name and a random part, so
	// that a restarted edge is another one to the workers.
	Name string
	// ConvPartitions and UserPartitions are the cluster's partition counts; required.
	ConvPartitions, UserPartitions int
	// Tokens says which tokens are accepted; at least one key is required.
	Tokens token.Config

	// ConnectTimeout is how long a connection may take until Connect; 5 s.
	ConnectTimeout time.Duration
	// Heartbeat is the interval told to clients that wish for none; 30 s. Wishes are kept within MinHeartbeat (5 s) and
	// MaxHeartbeat (5 min). A connection silent for 2.5 of its intervals is closed.
	Heartbeat, MinHeartbeat, MaxHeartbeat time.Duration
	// WriteTimeout is how long a client may take to accept one WebSocket message; 10 s. It may get a quarter less.
	WriteTimeout time.Duration
	// AppendTimeout is how long a batch is retried, with the same id, before its senders are told that it may be lost; 35 s.
	AppendTimeout time.Duration
	// AnswerTimeout is how long a request may wait for its answer before it is told UNAVAILABLE; 45 s.
	AnswerTimeout time.Duration
	// PullTimeout is how long a pull may wait for the history service; 5 s.
	PullTimeout time.Duration
	// RenewEvery is how often the registration with the owner of each user partition is renewed; 5 s.
	RenewEvery time.Duration
	// SweepEvery is how often connections are looked at for deadlines; 1 s.
	SweepEvery time.Duration
	// DrainTimeout bounds each of the two steps of a clean stop: work in hand, then connections; 5 s.
	DrainTimeout time.Duration
	// ReconnectWithin is the time over which clients spread when told to go away; 5 s.
	ReconnectWithin time.Duration

	// MaxConnections is the most connections held at once; more get HTTP 503; 100,000.
	MaxConnections int
	// FrameBytes is the largest WebSocket message taken from a client; 256 KiB.
	FrameBytes int
	// QueueBytes is what may wait for one client to read it; 256 KiB. Pushes beyond are dropped.
	QueueBytes int
	// PendingRequests is how many requests of one connection may wait for their answers; 256.
	PendingRequests int
	// FrameRate (per second, 500) and FrameBurst (1,000) bound the frames of one connection.
	FrameRate, FrameBurst int
	// LaneCommands (8,192) and LaneBytes (8 MiB) bound what waits for one partition's stream.
	LaneCommands, LaneBytes int
	// Pulls is how many requests to the history service run at once; 256.
	Pulls int
}

func fill[T comparable](field *T, value T) {
	if *field == *new(T) {
		*field = value
	}
}

func (c Config) withDefaults() Config {
	fill(&c.Name, "edge")
	fill(&c.ConnectTimeout, 5*time.Second)
	fill(&c.Heartbeat, 30*time.Second)
	fill(&c.MinHeartbeat, 5*time.Second)
	fill(&c.MaxHeartbeat, 5*time.Minute)
	fill(&c.WriteTimeout, 10*time.Second)
	fill(&c.AppendTimeout, 35*time.Second)
	fill(&c.AnswerTimeout, 45*time.Second)
	fill(&c.PullTimeout, 5*time.Second)
	fill(&c.RenewEvery, 5*time.Second)
	fill(&c.SweepEvery, time.Second)
	fill(&c.DrainTimeout, 5*time.Second)
	fill(&c.ReconnectWithin, 5*time.Second)
	fill(&c.MaxConnections, 100_000)
	fill(&c.FrameBytes, 256<<10)
	fill(&c.QueueBytes, 256<<10)
	fill(&c.PendingRequests, 256)
	fill(&c.FrameRate, 500)
	fill(&c.FrameBurst, 1000)
	fill(&c.LaneCommands, 8192)
	fill(&c.LaneBytes, 8<<20)
	fill(&c.Pulls, 256)
	return c
}

func (c Config) validate() error {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
	if strings.Trim(c.Name, letters) != "" || len(c.Name) > 64 {
		return fmt.Errorf("name %q: give at most 64 letters, digits, - and _", c.Name)
	}
	if c.ConvPartitions < 1 || c.UserPartitions < 1 {
		return errors.New("conv partitions and user partitions: give the counts that the cluster was provisioned with")
	}
	for name, d := range map[string]time.Duration{
		"connect timeout": c.ConnectTimeout, "heartbeat": c.Heartbeat, "min heartbeat": c.MinHeartbeat,
		"max heartbeat": c.MaxHeartbeat, "write timeout": c.WriteTimeout, "append timeout": c.AppendTimeout,
		"answer timeout": c.AnswerTimeout, "pull timeout": c.PullTimeout, "renew every": c.RenewEvery,
		"sweep every": c.SweepEvery, "drain timeout": c.DrainTimeout, "reconnect within": c.ReconnectWithin,
	} {
		if d < 0 {
			return fmt.Errorf("%s is %v; give a positive duration", name, d)
		}
	}
	for name, n := range map[string]int{
		"max connections": c.MaxConnections, "frame bytes": c.FrameBytes, "queue bytes": c.QueueBytes,
		"pending requests": c.PendingRequests, "frame rate": c.FrameRate, "frame burst": c.FrameBurst,
		"lane commands": c.LaneCommands, "lane bytes": c.LaneBytes, "pulls": c.Pulls,
	} {
		if n < 0 {
			return fmt.Errorf("%s is %d; give a positive number", name, n)
		}
	}
	if c.MinHeartbeat > c.MaxHeartbeat {
		return fmt.Errorf("min heartbeat %v is above max heartbeat %v", c.MinHeartbeat, c.MaxHeartbeat)
	}
	return nil
}
