package bus_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/goleak"

	"github.com/catena-im/catena/pkg/bus"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// node is a NATS server that can be stopped and started again on the same data and port.
type node struct {
	t    *testing.T
	opts server.Options
	*server.Server
}

func startNode(t *testing.T) *node {
	t.Helper()
	n := &node{t: t, opts: server.Options{
		ServerName: "test", Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: t.TempDir(), JetStreamMaxStore: 1 << 40, JetStreamMaxMemory: 1 << 20,
	}}
	n.start()
	t.Cleanup(n.stop)
	return n
}

func (n *node) start() {
	n.t.Helper()
	opts := n.opts
	s, err := server.NewServer(&opts)
	if err != nil {
		n.t.Fatal(err)
	}
	go s.Start() // ends by itself once it listens
	if !s.ReadyForConnections(10 * time.Second) {
		n.t.Fatal("the server does not get ready")
	}
	n.Server, n.opts.Port = s, opts.Port
}

func (n *node) stop() {
	n.Shutdown()
	n.WaitForShutdown()
}

// connect opens a bus that is closed before its server is.
func (n *node) connect(cfg bus.Config) *bus.Bus {
	n.t.Helper()
	cfg.URL = fmt.Sprintf("nats://127.0.0.1:%d", n.opts.Port)
	b, err := bus.Connect(n.t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(b.Close)
	return b
}

// small is the layout of most tests.
func small() bus.Layout {
	return bus.Layout{ConvPartitions: 1, UserPartitions: 1, StreamMaxBytes: 64 << 20}
}

var conv0 = bus.Partition{Kind: bus.Conv}

// provisioned starts a server with the streams of l.
func provisioned(t *testing.T, l bus.Layout) (*node, *bus.Bus) {
	t.Helper()
	n := startNode(t)
	b := n.connect(bus.Config{})
	if _, err := b.Provision(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	return n, b
}

// soon is a context that ends a test which waits for something that does not come.
func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func wantErr(t *testing.T, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Fatalf("got error %v, want %v", got, want)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
