package bus_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/catena-im/catena/pkg/bus"
)

// benchBus is a bus to a server in this process that does not wait for the disk.
func benchBus(b *testing.B) (*bus.Bus, *bus.Reader) {
	b.Helper()
	s, err := server.NewServer(&server.Options{DontListen: true, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: b.TempDir(), JetStreamMaxStore: 1 << 40})
	if err != nil {
		b.Fatal(err)
	}
	s.Start()
	b.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(10 * time.Second) {
		b.Fatal("the server does not get ready")
	}
	c, err := bus.Connect(b.Context(), bus.Config{InProcess: s}, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(c.Close)
	if _, err := c.Provision(b.Context(), bus.Layout{ConvPartitions: 1, UserPartitions: 1, StreamMaxBytes: 16 << 30}); err != nil {
		b.Fatal(err)
	}
	r, err := c.Open(b.Context(), conv0)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(r.Close)
	return c, r
}

func next(b *testing.B, r *bus.Reader) int {
	batch, err := r.Next(b.Context(), 512, 1<<20)
	if err != nil {
		b.Fatal(err)
	}
	r.Ack(batch[len(batch)-1].Seq)
	return len(batch)
}

// BenchmarkHop is the latency from an append to the reader that waits for it.
func BenchmarkHop(b *testing.B) {
	c, r := benchBus(b)
	if err := r.Seek(b.Context(), 1); err != nil {
		b.Fatal(err)
	}
	payload := make([]byte, 200)
	for i := 0; b.Loop(); i++ {
		if _, err := c.Append(b.Context(), conv0, fmt.Sprint("m", i), payload); err != nil {
			b.Fatal(err)
		}
		next(b, r)
	}
}

// BenchmarkRead is the throughput of a reader that is behind.
func BenchmarkRead(b *testing.B) {
	c, r := benchBus(b)
	const stored = 20000
	payload := make([]byte, 200)
	errs := make(chan error, 16)
	for w := range cap(errs) {
		go func() {
			var err error
			for i := 0; i < stored/cap(errs) && err == nil; i++ {
				_, err = c.AppendUntil(context.Background(), conv0, fmt.Sprint("m", w, "-", i), payload)
			}
			errs <- err
		}()
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			b.Fatal(err)
		}
	}
	left, total := 0, 0
	for b.Loop() {
		if left == 0 {
			if err := r.Seek(b.Context(), 1); err != nil {
				b.Fatal(err)
			}
			left = stored
		}
		n := next(b, r)
		left, total = left-n, total+n
	}
	b.ReportMetric(float64(total)/b.Elapsed().Seconds(), "msgs/s")
}
