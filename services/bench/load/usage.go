package load

import (
	"context"
	"os"
	"time"

	"github.com/catena-im/catena/services/bench/process"
)

// Usage is what the server has used up to a time, or between two.
type Usage struct {
	known    bool // CPU and memory are
	counted  bool // streamed is
	server   process.Usage
	own      time.Duration // processor time of the load generator
	streamed uint64        // messages that the streams took
}

// Cost is what a number of messages cost the server. A part that is not known is 0.
type Cost struct {
	CPU     float64 `json:"cpu_s_per_million"`           // seconds of processor time for a million acknowledged messages
	OwnCPU  float64 `json:"generator_cpu_s_per_million"` // the same of the load generator
	RSS     float64 `json:"rss_mb"`                      // resident memory after them, 10^6 bytes
	PeakRSS float64 `json:"peak_rss_mb"`
	// Streamed is the messages that the streams took for each acknowledged one. A stream that syncs always syncs each
	// before it is acknowledged, so it is the number of fsyncs of the streams; the store's own are not among them.
	Streamed float64 `json:"stream_messages_per_message"`
}

// usage reads what was used so far. What is not known is left out; an error is one of a server that should be there.
func (b *Bench) usage(ctx context.Context) (u Usage, err error) {
	if own, err := process.Read(os.Getpid()); err == nil {
		u.own = own.CPU
	}
	if b.deps.PID != nil {
		pid, err := b.deps.PID()
		if err != nil {
			return u, err
		}
		if u.server, err = process.Read(pid); err == nil {
			u.known = true
		}
	}
	if b.deps.Streamed != nil {
		if u.streamed, err = b.deps.Streamed(ctx); err != nil {
			return u, err
		}
		u.counted = true
	}
	return u, nil
}

// since is what was used after an earlier time. Memory is that of now.
func (u Usage) since(earlier Usage) Usage {
	u.own -= earlier.own
	u.known = u.known && earlier.known
	u.server.CPU -= earlier.server.CPU
	u.server.Written -= earlier.server.Written
	u.counted = u.counted && earlier.counted
	u.streamed -= earlier.streamed
	return u
}

// per is what each of n messages cost.
func (u Usage) per(n int64) (c Cost) {
	if n > 0 {
		c.OwnCPU = u.own.Seconds() / float64(n) * 1e6
	}
	if u.known {
		c.RSS, c.PeakRSS = mega(u.server.Resident), mega(u.server.Peak)
		if n > 0 {
			c.CPU = u.server.CPU.Seconds() / float64(n) * 1e6
		}
	}
	if u.counted && n > 0 {
		c.Streamed = float64(u.streamed) / float64(n)
	}
	return c
}

func mega(bytes int64) float64 { return float64(bytes) / 1e6 }
