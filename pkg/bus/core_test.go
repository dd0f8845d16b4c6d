package bus_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/catena-im/catena/pkg/bus"
)

func TestPublishReachesItsSubscribersInOrder(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	from, to, abroad := n.connect(bus.Config{}), n.connect(bus.Config{}), n.connect(bus.Config{Cell: "east"})
	got := make(chan string, 100)
	sub, err := to.Subscribe(bus.EdgeSubject("e1"), func(p bus.Packet) {
		if p.Respond != nil {
			t.Error("a message without reply subject can be answered")
		}
		got <- string(p.Data)
	})
	must(t, err)
	_, err = to.Subscribe(bus.EdgeSubject("e2"), func(bus.Packet) { t.Error("got a message of another edge") })
	must(t, err)
	_, err = abroad.Subscribe(bus.EdgeSubject("e1"), func(bus.Packet) { t.Error("got a message of another cell") })
	must(t, err)
	for i := range 50 {
		must(t, from.Publish(bus.EdgeSubject("e1"), fmt.Append(nil, i)))
	}
	for i := range 50 {
		if m := <-got; m != fmt.Sprint(i) {
			t.Fatalf("got %s, want %d", m, i)
		}
	}
	sub.Stop()
	must(t, from.Publish(bus.EdgeSubject("e1"), nil))
	_, err = from.Request(t.Context(), bus.EdgeSubject("e1"), nil)
	wantErr(t, err, bus.ErrNoResponder)
	if len(got) != 0 {
		t.Error("got a message after stop")
	}
}

func TestSubscriptionOutlivesTheServer(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	b := n.connect(bus.Config{})
	_, err := b.Subscribe(bus.SessionSubject(3), func(p bus.Packet) { must(t, p.Respond(p.Data)) })
	must(t, err)
	n.stop()
	if err := b.Publish(bus.AnnounceSubject(), nil); err == nil {
		t.Log("published before the loss was noticed") // both are fine, hanging would not be
	}
	n.start()
	for ctx := soon(t); ; {
		answer, err := b.Request(ctx, bus.SessionSubject(3), []byte("hello"))
		if err == nil && string(answer) == "hello" {
			return
		}
		must(t, ctx.Err())
	}
}

func TestRequest(t *testing.T) {
	t.Parallel()
	b := startNode(t).connect(bus.Config{})
	_, err := b.Subscribe(bus.SessionSubject(1), func(p bus.Packet) { must(t, p.Respond(append([]byte("re: "), p.Data...))) })
	must(t, err)
	_, err = b.Subscribe(bus.SessionSubject(2), func(bus.Packet) {})
	must(t, err)

	answer, err := b.Request(t.Context(), bus.SessionSubject(1), []byte("hello"))
	must(t, err)
	if string(answer) != "re: hello" {
		t.Errorf("got %q", answer)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 1)
	defer cancel()
	_, err = b.Request(ctx, bus.SessionSubject(2), nil)
	wantErr(t, err, context.DeadlineExceeded)
	_, err = b.Request(t.Context(), bus.SessionSubject(7), nil)
	wantErr(t, err, bus.ErrNoResponder)
	_, err = b.Request(t.Context(), bus.SessionSubject(1), make([]byte, bus.MaxPayload+1))
	wantErr(t, err, bus.ErrTooLarge)
	wantErr(t, b.Publish(bus.SessionSubject(1), make([]byte, bus.MaxPayload+1)), bus.ErrTooLarge)
}

func TestSubjectsAreOneToken(t *testing.T) {
	t.Parallel()
	b := startNode(t).connect(bus.Config{})
	for _, edge := range []string{"", "a.b", "*", ">", "a b", "a\n", "\x00"} {
		wantErr(t, b.Publish(bus.EdgeSubject(edge), nil), bus.ErrInvalid)
		_, err := b.Subscribe(bus.EdgeSubject(edge), nil)
		wantErr(t, err, bus.ErrInvalid)
		_, err = b.Request(t.Context(), bus.EdgeSubject(edge), nil)
		wantErr(t, err, bus.ErrInvalid)
	}
	wantErr(t, b.Publish(bus.Subject{}, nil), bus.ErrInvalid)
}

// service serves history on b with two workers.
func service(t *testing.T, b *bus.Bus, handler func(context.Context, []byte) []byte) (stop func()) {
	t.Helper()
	stop, err := b.Serve(bus.ServiceConfig{Name: "history", Version: "1.0.0", Endpoint: "pull",
		Subject: bus.HistorySubject(), Workers: 2,
		Handler: func(ctx context.Context, r []byte, reply func([]byte)) { reply(handler(ctx, r)) }})
	must(t, err)
	return stop
}

func TestServiceAnswersAndShowsItself(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	b := n.connect(bus.Config{})
	stop := service(t, n.connect(bus.Config{}), func(_ context.Context, r []byte) []byte { return append(r, '!') })
	for i := range 10 {
		answer, err := b.Request(t.Context(), bus.HistorySubject(), fmt.Append(nil, i))
		must(t, err)
		if string(answer) != fmt.Sprint(i, "!") {
			t.Errorf("got %q for %d", answer, i)
		}
	}
	nc, err := nats.Connect(n.ClientURL())
	must(t, err)
	defer nc.Close()
	stats, err := nc.RequestWithContext(soon(t), "$SRV.STATS.history", nil)
	must(t, err)
	for _, want := range []string{`"im.local.history.pull"`, `"pull"`, `"workers":2`, `"handled":`} {
		if !strings.Contains(string(stats.Data), want) {
			t.Errorf("stats lack %s: %s", want, stats.Data)
		}
	}
	stop()
	_, err = b.Request(t.Context(), bus.HistorySubject(), nil)
	wantErr(t, err, bus.ErrNoResponder)
}

func TestServiceBoundsItsWorkAndFinishesIt(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	b := n.connect(bus.Config{})
	var busy atomic.Int32
	entered, release := make(chan struct{}, 10), make(chan struct{})
	stop := service(t, n.connect(bus.Config{}), func(context.Context, []byte) []byte {
		if now := busy.Add(1); now > 2 {
			t.Errorf("%d requests in work at once", now)
		}
		defer busy.Add(-1)
		entered <- struct{}{}
		<-release
		return []byte("done")
	})
	type result struct {
		answer string
		err    error
	}
	results := make(chan result, 5)
	for range cap(results) {
		go func() {
			answer, err := b.Request(soon(t), bus.HistorySubject(), nil)
			results <- result{string(answer), err}
		}()
	}
	<-entered
	<-entered
	stopped := make(chan struct{})
	go func() {
		stop()
		close(stopped)
	}()
	for range 2 {
		release <- struct{}{}
	}
	close(release) // for those that were taken from the queue before the stop came through
	<-stopped
	done := 0
	for range cap(results) {
		switch r := <-results; {
		case r.answer == "done":
			done++
		case !errors.Is(r.err, bus.ErrNoResponder):
			t.Errorf("got %q and error %v", r.answer, r.err)
		}
	}
	if done < 2 {
		t.Errorf("%d requests were answered, want the two in work at least", done)
	}
}

func TestServiceRefusesBadNames(t *testing.T) {
	t.Parallel()
	b := startNode(t).connect(bus.Config{})
	for name, cfg := range map[string]bus.ServiceConfig{
		"name":     {Name: "a b", Version: "1.0.0", Endpoint: "pull", Subject: bus.HistorySubject()},
		"version":  {Name: "a", Version: "one", Endpoint: "pull", Subject: bus.HistorySubject()},
		"endpoint": {Name: "a", Version: "1.0.0", Endpoint: "p p", Subject: bus.HistorySubject()},
		"subject":  {Name: "a", Version: "1.0.0", Endpoint: "pull"},
	} {
		if _, err := b.Serve(cfg); err == nil {
			t.Errorf("a service with a bad %s was started", name)
		}
	}
}
