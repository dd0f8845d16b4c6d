package yardstick

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// PublishResult is what raw JetStream publish reached.
type PublishResult struct {
	Rate float64 `json:"rate"` // acknowledged messages per second
}

// Publish measures raw asynchronous JetStream publish of messages of this many bytes: one file stream without replicas on
// an embedded server, one connection within the process, without message ids. With sync every message is on the disk
// before it is acknowledged, else the server's default holds.
func (r Runner) Publish(ctx context.Context, bytes int, sync bool, d time.Duration) (PublishResult, error) {
	var result PublishResult
	err := r.measure(ctx, Task{Kind: KindPublish, Bytes: bytes, Sync: sync, Duration: d}, &result)
	return result, err
}

const (
	publishWindow = 4096 // messages in flight
	syncedWindow  = 256  // the same where each is synced: acknowledgements come in bursts of about as many
	publishWarmUp = 300 * time.Millisecond
	maxStore      = 32 << 30 // bytes that the stream may take
	readyWithin   = 10 * time.Second
)

func publish(ctx context.Context, t Task) (result PublishResult, err error) {
	s, err := server.NewServer(&server.Options{
		ServerName: "yardstick", DontListen: true, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: t.Dir, JetStreamMaxStore: maxStore, SyncAlways: t.Sync,
	})
	if err != nil {
		return result, err
	}
	s.Start()
	defer s.WaitForShutdown()
	defer s.Shutdown()
	if !s.ReadyForConnections(readyWithin) {
		return result, errors.New("the nats server is not ready")
	}
	nc, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		return result, err
	}
	defer nc.Close()
	return flood(ctx, nc, t)
}

// flood publishes for the duration of the task and counts what was acknowledged in that time.
func flood(ctx context.Context, nc *nats.Conn, t Task) (result PublishResult, err error) {
	var failed atomic.Pointer[error]
	window, lookEvery := publishWindow, 64
	if t.Sync {
		window, lookEvery = syncedWindow, 1
	}
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(window),
		jetstream.WithPublishAsyncErrHandler(func(_ jetstream.JetStream, _ *nats.Msg, err error) { failed.Store(&err) }))
	if err != nil {
		return result, err
	}
	config := jetstream.StreamConfig{Name: "Y", Subjects: []string{"y"}, MaxBytes: maxStore / 2}
	if _, err := js.CreateStream(ctx, config); err != nil {
		return result, err
	}
	acked, payload := 0, make([]byte, t.Bytes)
	var began, ended time.Time
	for start := time.Now(); ended.IsZero(); {
		if _, err := js.PublishAsync("y", payload, jetstream.WithStallWait(readyWithin)); err != nil {
			return result, fmt.Errorf("publish: %w", err)
		}
		acked++
		if acked%lookEvery != 0 {
			continue
		}
		switch now := time.Now(); {
		case ctx.Err() != nil:
			return result, context.Cause(ctx)
		case began.IsZero() && now.Sub(start) > publishWarmUp:
			acked, began = js.PublishAsyncPending(), now // these will be acknowledged within the measured time
		case !began.IsZero() && now.Sub(began) > t.Duration && acked > js.PublishAsyncPending():
			acked, ended = acked-js.PublishAsyncPending(), now
		}
	}
	if err := failed.Load(); err != nil {
		return result, fmt.Errorf("publish: %w", *err)
	}
	return PublishResult{Rate: float64(acked) / ended.Sub(began).Seconds()}, nil
}
