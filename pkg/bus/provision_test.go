package bus_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/catena-im/catena/pkg/bus"
)

func (n *node) jetstream() jetstream.JetStream {
	n.t.Helper()
	nc, err := nats.Connect(n.ClientURL())
	must(n.t, err)
	n.t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	must(n.t, err)
	return js
}

func TestProvisionIsIdempotent(t *testing.T) {
	t.Parallel()
	b := startNode(t).connect(bus.Config{})
	layout := bus.Layout{ConvPartitions: 2, UserPartitions: 1}
	steps := []struct {
		name             string
		change           func()
		created, updated string
	}{
		{"first", func() {}, "im_cluster im_owners IM_CONV_000 IM_CONV_000 > seq IM_CONV_001 IM_CONV_001 > seq IM_USER_000 IM_USER_000 > seq", ""},
		{"again", func() {}, "", ""},
		{"larger", func() { layout.StreamMaxBytes = 2 << 30 }, "", "IM_CONV_000 IM_CONV_001 IM_USER_000"},
		{"larger again", func() {}, "", ""},
		{"in memory", func() { layout.ConsumersInMemory = true }, "", "IM_CONV_000 > seq IM_CONV_001 > seq IM_USER_000 > seq"},
		{"in memory again", func() {}, "", ""},
		{"on disk", func() { layout.ConsumersInMemory = false }, "", "IM_CONV_000 > seq IM_CONV_001 > seq IM_USER_000 > seq"},
	}
	for _, s := range steps {
		s.change()
		report, err := b.Provision(t.Context(), layout)
		must(t, err)
		if got := strings.Join(report.Created, " "); got != s.created {
			t.Errorf("%s: created %q, want %q", s.name, got, s.created)
		}
		if got := strings.Join(report.Updated, " "); got != s.updated {
			t.Errorf("%s: updated %q, want %q", s.name, got, s.updated)
		}
	}
	must(t, b.Verify(t.Context(), layout))
	if conv, user, err := b.Recorded(t.Context()); err != nil || conv != 2 || user != 1 {
		t.Errorf("recorded: got %d and %d, %v; want 2 and 1", conv, user, err)
	}
}

func TestProvisionMakesWhatTheDesignAsksFor(t *testing.T) {
	t.Parallel()
	n, _ := provisioned(t, small())
	js := n.jetstream()
	stream, err := js.Stream(t.Context(), "IM_CONV_000")
	must(t, err)
	c := stream.CachedInfo().Config
	got := fmt.Sprint(c.Subjects, c.Retention, c.Discard, c.Storage, c.Replicas, c.MaxBytes, c.MaxAge, c.Duplicates,
		c.MaxMsgSize, c.AllowDirect, c.DenyDelete, c.DenyPurge)
	if want := "[im.local.conv.0] Limits DiscardNew File 1 67108864 0s 1m0s 1048576 true true false"; got != want {
		t.Errorf("got stream %s, want %s", got, want)
	}
	consumer, err := stream.Consumer(t.Context(), "seq")
	must(t, err)
	k := consumer.CachedInfo().Config
	got = fmt.Sprint(k.AckPolicy, k.AckWait, k.MaxDeliver, k.MaxAckPending, k.DeliverPolicy)
	if want := "AckAll 1h0m0s -1 -1 all"; got != want {
		t.Errorf("got consumer %s, want %s", got, want)
	}
	owners, err := js.Stream(t.Context(), "KV_im_owners")
	must(t, err)
	o := owners.CachedInfo().Config
	got = fmt.Sprint(o.MaxMsgsPerSubject, o.AllowMsgTTL, o.SubjectDeleteMarkerTTL)
	if want := "1 true 10s"; got != want {
		t.Errorf("got bucket of leases %s, want %s", got, want)
	}
}

// An age, which an earlier version gave to streams, would remove what nobody has read.
func TestProvisionKeepsWhatOperatorsAddedButAnAge(t *testing.T) {
	t.Parallel()
	n, b := provisioned(t, small())
	js := n.jetstream()
	stream, err := js.Stream(t.Context(), "IM_CONV_000")
	must(t, err)
	c := stream.CachedInfo().Config
	c.Metadata["io.nats.monitor.lag-critical"], c.MaxAge = "100", time.Hour
	_, err = js.UpdateStream(t.Context(), c)
	must(t, err)
	_, err = b.Provision(t.Context(), small())
	must(t, err)
	stream, err = js.Stream(t.Context(), "IM_CONV_000")
	must(t, err)
	c = stream.CachedInfo().Config
	if c.MaxAge != 0 || c.Metadata["io.nats.monitor.lag-critical"] != "100" {
		t.Errorf("got max age %s and metadata %v", c.MaxAge, c.Metadata)
	}
}

func TestAnotherLayoutIsRefused(t *testing.T) {
	t.Parallel()
	n, b := provisioned(t, bus.Layout{ConvPartitions: 2, UserPartitions: 3})
	other := n.connect(bus.Config{Cell: "east"})
	cases := []struct {
		name   string
		bus    *bus.Bus
		layout bus.Layout
		want   string
	}{
		{"conversation partitions", b, bus.Layout{ConvPartitions: 5, UserPartitions: 3},
			"configured for 5 conversation partitions, the cluster was provisioned with 2"},
		{"user partitions", b, bus.Layout{ConvPartitions: 2, UserPartitions: 7},
			"configured for 7 user partitions, the cluster was provisioned with 3"},
		{"cell", other, bus.Layout{ConvPartitions: 2, UserPartitions: 3},
			`configured for cell "east", the cluster was provisioned for cell "local"`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, provision := c.bus.Provision(t.Context(), c.layout)
			for _, err := range []error{provision, c.bus.Verify(t.Context(), c.layout)} {
				wantErr(t, err, bus.ErrMismatch)
				if !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "%!") {
					t.Errorf("got %q, want %q in it", err, c.want)
				}
			}
		})
	}
	_, _, err := other.Recorded(t.Context())
	wantErr(t, err, bus.ErrMismatch)
	if _, err := b.Open(t.Context(), bus.Partition{Kind: bus.Conv, Number: 4}); err == nil {
		t.Error("a refused layout has made a stream")
	}
}

func TestUnprovisionedClusterIsRefused(t *testing.T) {
	t.Parallel()
	b := startNode(t).connect(bus.Config{})
	wantErr(t, b.Verify(t.Context(), small()), bus.ErrNoStream)
	_, _, err := b.Recorded(t.Context())
	wantErr(t, err, bus.ErrNoStream)
	_, err = b.Open(t.Context(), conv0)
	wantErr(t, err, bus.ErrNoStream)
	_, err = b.Leases(t.Context())
	wantErr(t, err, bus.ErrNoStream)
}

func TestInvalidLayoutIsRefused(t *testing.T) {
	t.Parallel()
	b := startNode(t).connect(bus.Config{})
	for name, l := range map[string]bus.Layout{
		"too many partitions": {ConvPartitions: 1000},
		"negative partitions": {UserPartitions: -1},
		"even replicas":       {Replicas: 2},
		"negative window":     {DuplicateWindow: -time.Second},
		"negative bytes":      {StreamMaxBytes: -1},
	} {
		_, err := b.Provision(t.Context(), l)
		if err == nil {
			t.Errorf("%s was provisioned", name)
			continue
		}
		wantErr(t, err, bus.ErrInvalid)
	}
}

func TestRebuiltStreamNeverRepeatsASequence(t *testing.T) {
	_, b := provisioned(t, small())
	for i := range 3 {
		if _, err := b.Append(t.Context(), conv0, fmt.Sprint("m", i), []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Rebuild(t.Context(), conv0, small(), 11); err != nil {
		t.Fatal(err)
	}
	if seq, err := b.Append(t.Context(), conv0, "m0", []byte("y")); err != nil || seq != 11 {
		t.Fatalf("first message after: got sequence %d, %v; want 11", seq, err)
	}
	r, err := b.Open(t.Context(), conv0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := r.Seek(t.Context(), 11); err != nil {
		t.Fatal(err)
	}
	if msgs, err := r.Next(t.Context(), 10, 1<<20); err != nil || len(msgs) != 1 || string(msgs[0].Data) != "y" {
		t.Fatalf("read from 11: got %v, %v", msgs, err)
	}
	if report, err := b.Provision(t.Context(), small()); err != nil || len(report.Updated)+len(report.Created) != 0 {
		t.Fatalf("provisioning afterwards: got %+v, %v; want nothing to do", report, err)
	}
}
