package bus_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/catena-im/catena/pkg/bus"
)

// mute starts a server that takes everything and answers nothing.
func mute(t *testing.T) *node {
	t.Helper()
	n := &node{t: t}
	n.opts.Host, n.opts.Port, n.opts.NoSigs, n.opts.NoLog = "127.0.0.1", -1, true, true
	n.start()
	t.Cleanup(n.stop)
	nc, err := nats.Connect(n.ClientURL())
	must(t, err)
	t.Cleanup(nc.Close)
	_, err = nc.Subscribe(">", func(*nats.Msg) {})
	must(t, err)
	must(t, nc.Flush())
	return n
}

// A server that is cut off from the others answers no request to JetStream. The connection goes to another one, what was
// under way is made again there, and nothing takes the move for the end of the bus.
func TestConnectionLeavesAServerThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]func(*node){
		"silent":        func(*node) {},
		"no responders": func(n *node) { n.stop(); n.start() }, // without the one who listens
	} {
		t.Run(name, func(t *testing.T) {
			good, _ := provisioned(t, small())
			bad := mute(t)
			good.stop()
			ctx := soon(t)
			b, err := bus.Connect(ctx, bus.Config{URL: bad.ClientURL() + "," + good.ClientURL()}, slog.New(slog.DiscardHandler))
			must(t, err)
			t.Cleanup(b.Close)
			b.SetPatience(300 * time.Millisecond)
			good.start()
			begin(bad)
			var all sync.WaitGroup
			for i := range 20 {
				all.Go(func() {
					if _, err := b.AppendUntil(ctx, conv0, fmt.Sprint("id-", i), []byte("x")); err != nil {
						t.Errorf("append %d: %v", i, err)
					}
				})
			}
			r, err := b.Open(ctx, conv0)
			must(t, err)
			all.Wait()
			if got := b.Server(); got != good.ClientURL() {
				t.Errorf("connected to %s, want %s", got, good.ClientURL())
			}
			st, err := r.State(ctx)
			must(t, err)
			if st.Last != 20 {
				t.Errorf("the stream holds %d messages, want 20", st.Last)
			}
		})
	}
}

// With one server there is nowhere to go: the connection stays.
func TestConnectionStaysWithTheOnlyServer(t *testing.T) {
	t.Parallel()
	bad := mute(t)
	b, err := bus.Connect(t.Context(), bus.Config{URL: bad.ClientURL()}, slog.New(slog.DiscardHandler))
	must(t, err)
	t.Cleanup(b.Close)
	b.SetPatience(time.Nanosecond)
	before := connections(t, bad)
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, err = b.Append(ctx, conv0, "id", []byte("x"))
		cancel()
		wantErr(t, err, bus.ErrUnclear)
	}
	if got := connections(t, bad); got != before || !b.Connected() {
		t.Errorf("connected %v, %d connections were made, want none", b.Connected(), got-before)
	}
}

// connections is how many clients have connected since the server started.
func connections(t *testing.T, n *node) uint64 {
	t.Helper()
	v, err := n.Varz(nil)
	must(t, err)
	return v.TotalConnections
}
