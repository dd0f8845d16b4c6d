package yardstick

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/catena-im/catena/services/bench/latency"
	"github.com/catena-im/catena/services/bench/socket"
)

// EchoResult is what a bare gws server reaches that sends every message back.
type EchoResult struct {
	RoundTrip latency.Quantiles `json:"round_trip"` // one connection, one message at a time
	Rate      float64           `json:"rate"`       // messages per second there and back over many connections
}

const (
	echoConnections = 50
	echoWindow      = 8 // messages in flight on each connection
)

// Echo measures a gws server with messages of this many bytes: its round trip for d, then its throughput for d.
func (r Runner) Echo(ctx context.Context, bytes int, d time.Duration) (result EchoResult, err error) {
	err = r.GWS(ctx, func(ctx context.Context, s Server) (err error) {
		if result.RoundTrip, err = roundTrip(ctx, s.URL, bytes, d); err != nil {
			return err
		}
		result.Rate, err = echoRate(ctx, s.URL, bytes, d)
		return err
	})
	return result, err
}

func roundTrip(ctx context.Context, url string, bytes int, d time.Duration) (latency.Quantiles, error) {
	c, err := socket.Dial(ctx, socket.Config{URL: url})
	if err != nil {
		return latency.Quantiles{}, err
	}
	defer func() { _ = c.Close() }()
	var took latency.Recorder
	payload := make([]byte, bytes)
	for start := time.Now(); time.Since(start) < d && ctx.Err() == nil; {
		sent := time.Now()
		if err := c.Write(payload); err != nil {
			return latency.Quantiles{}, err
		}
		if _, err := c.Read(); err != nil {
			return latency.Quantiles{}, err
		}
		took.Record(0, time.Since(sent))
	}
	return took.Quantiles(), context.Cause(ctx)
}

func echoRate(ctx context.Context, url string, bytes int, d time.Duration) (float64, error) {
	conns := make([]*socket.Conn, echoConnections)
	for i := range conns {
		c, err := socket.Dial(ctx, socket.Config{URL: url})
		if err != nil {
			return 0, err
		}
		defer func() { _ = c.Close() }()
		conns[i] = c
	}
	var back atomic.Int64
	var loops sync.WaitGroup
	var failed atomic.Pointer[error]
	start := time.Now()
	for _, c := range conns {
		loops.Go(func() {
			if err := pingPong(c, make([]byte, bytes), &back, func() bool { return time.Since(start) < d && ctx.Err() == nil }); err != nil {
				failed.Store(&err)
			}
		})
	}
	loops.Wait()
	took := time.Since(start)
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	return float64(back.Load()) / took.Seconds(), context.Cause(ctx)
}

// pingPong keeps a window of messages in flight while more says so, and counts those that came back.
func pingPong(c *socket.Conn, payload []byte, back *atomic.Int64, more func() bool) error {
	flying := 0
	for ; flying < echoWindow; flying++ {
		if err := c.Write(payload); err != nil {
			return err
		}
	}
	for flying > 0 {
		if _, err := c.Read(); err != nil {
			return err
		}
		back.Add(1)
		if flying--; !more() {
			continue
		}
		if err := c.Write(payload); err != nil {
			return err
		}
		flying++
	}
	return nil
}
