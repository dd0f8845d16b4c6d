package main

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/catena-im/catena/pkg/bus"
	"github.com/catena-im/catena/pkg/chain"
)

func TestNewFolderGetsOnePartitionForEveryFourProcessors(t *testing.T) {
	for processors, want := range map[int]int{1: 1, 2: 1, 4: 1, 5: 2, 8: 2, 9: 3, 61: 16, 64: 16, 65: 16, 256: 16} {
		if got := freshPartitions(processors); got != want {
			t.Errorf("%d processors: got %d, want %d", processors, got, want)
		}
	}
}

// started is the layout that a process comes to, and what is recorded then.
func started(t *testing.T, cfg Config) (layout chain.Layout, conv, user int) {
	t.Helper()
	n, err := newNode(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatalf("%+v: %v", cfg.Partitions, err)
	}
	defer n.close()
	conv, user, err = n.bus.Recorded(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := len(n.cfg.busLayout().Partitions()), conv+user; got != want {
		t.Errorf("%+v: got %d partitions, want %d", cfg.Partitions, got, want)
	}
	return n.layout, conv, user
}

func TestCountsLeftOpenAreThoseOfTheFolder(t *testing.T) {
	fresh := DefaultConfig().fresh
	for name, c := range map[string]struct {
		made, again PartitionsConfig
		want        chain.Layout
	}{
		"a new folder":       {PartitionsConfig{}, PartitionsConfig{}, chain.Layout{ConvPartitions: fresh, UserPartitions: fresh}},
		"one kind given":     {PartitionsConfig{User: fresh + 2}, PartitionsConfig{}, chain.Layout{ConvPartitions: fresh, UserPartitions: fresh + 2}},
		"other counts":       {PartitionsConfig{fresh + 1, fresh + 2}, PartitionsConfig{}, chain.Layout{ConvPartitions: fresh + 1, UserPartitions: fresh + 2}},
		"one of them given":  {PartitionsConfig{fresh + 1, fresh + 2}, PartitionsConfig{Conv: fresh + 1}, chain.Layout{ConvPartitions: fresh + 1, UserPartitions: fresh + 2}},
		"both of them given": {PartitionsConfig{fresh + 1, fresh + 2}, PartitionsConfig{fresh + 1, fresh + 2}, chain.Layout{ConvPartitions: fresh + 1, UserPartitions: fresh + 2}},
	} {
		cfg := anywhere(t)
		for _, given := range []PartitionsConfig{c.made, c.again} {
			cfg.Partitions = given
			layout, conv, user := started(t, cfg)
			if layout != c.want || conv != c.want.ConvPartitions || user != c.want.UserPartitions {
				t.Errorf("%s, with %+v: got %+v, recorded %d and %d; want %+v", name, given, layout, conv, user, c.want)
			}
		}
		cfg.Partitions = PartitionsConfig{User: c.want.UserPartitions + 1}
		if _, err := newNode(t.Context(), cfg, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "partitions.user: ") {
			t.Errorf("%s, with another count of users: got %v, want a refusal", name, err)
		}
	}
}

func TestCountsLeftOpenAreThoseOfTheCluster(t *testing.T) {
	url := startNATS(t, nil)
	provisioning := func(args ...string) (string, error) {
		return run(t, append([]string{"provision", "--nats-url", url, "--log-level", "error"}, args...)...)
	}
	for key, args := range map[string][]string{
		"partitions.conv": {"--partitions-user", "3"},
		"partitions.user": {"--partitions-conv", "2"},
	} {
		if out, err := provisioning(args...); err == nil || out != "" ||
			!strings.HasPrefix(err.Error(), key+": 0 takes") || !strings.Contains(err.Error(), "choose one") {
			t.Errorf("provisioning of a new cluster with %v: got %v\n%s", args, err, out)
		}
	}
	if out, err := provisioning(); err == nil || out != "" || !strings.HasPrefix(err.Error(), "partitions.conv: 0 takes") {
		t.Errorf("provisioning of a new cluster: got %v\n%s", err, out)
	}
	if _, err := provisioning("--partitions-conv", "2", "--partitions-user", "3"); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{nil, {"--partitions-user", "3"}} {
		if out, err := provisioning(args...); err != nil || out != "provisioned: cell local, 2 conversation and 3 user partitions, 1 replicas\n" {
			t.Errorf("provisioned again with %v: got %v\n%s", args, err, out)
		}
	}
	if _, err := provisioning("--partitions-user", "4"); err == nil || !strings.Contains(err.Error(), "configured for 4") || !strings.Contains(err.Error(), "provisioned with 3") {
		t.Errorf("provisioned again with other counts: got %v", err)
	}
	cfg := anywhere(t)
	cfg.NATS.URL, cfg.Roles = url, []string{roleEdge}
	want := chain.Layout{ConvPartitions: 2, UserPartitions: 3}
	for _, given := range []PartitionsConfig{{}, {Conv: 2}, {User: 3}} {
		cfg.Partitions = given
		if got, _, _ := started(t, cfg); got != want {
			t.Errorf("a process with %+v: got %+v, want %+v", given, got, want)
		}
	}
	cfg.Partitions = PartitionsConfig{Conv: 5}
	if _, err := newNode(t.Context(), cfg, slog.New(slog.DiscardHandler)); err == nil ||
		!strings.Contains(err.Error(), "partitions.conv: ") || !strings.Contains(err.Error(), "configured for 5") || !strings.Contains(err.Error(), "provisioned with 2") {
		t.Errorf("a process with another count: got %v", err)
	}
}

func TestProcessOfAClusterDoesNotMakeUpCounts(t *testing.T) {
	cfg := anywhere(t)
	cfg.NATS.URL, cfg.Roles, cfg.Partitions = startNATS(t, nil), []string{roleEdge}, PartitionsConfig{}
	n, err := newNode(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err == nil {
		n.close()
		t.Fatalf("it starts with %+v", n.layout)
	}
	if !strings.Contains(err.Error(), bus.ErrNoStream.Error()) || !strings.Contains(err.Error(), "run: catena provision") {
		t.Errorf("got %v, want the advice to provision", err)
	}
}
