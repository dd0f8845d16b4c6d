package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The streams know the partition counts, and where they were lost the store still does. Under other counts it would
// look for what it holds in the wrong places, and give indexes that were given already.
func TestStoreKeepsItsPartitionCounts(t *testing.T) {
	data, stop := serve(t)
	must(t, "send", "alice", "bob", "hello", "--data", data)
	stop()
	start := func(args ...string) error {
		_, err := run(t, append([]string{"repair", "--data", data, "--nats-listen", "127.0.0.1:0", "--log-level", "error"}, args...)...)
		return err
	}
	refused := func(what string, err error, parts ...string) {
		t.Helper()
		if err == nil {
			t.Fatalf("%s: it goes on", what)
		}
		holds(t, err.Error(), parts...)
	}
	refused("fewer, and the streams are there", start("--partitions-conv", "1"), "partitions.conv:", "configured for 1", "provisioned with 2")
	if err := os.RemoveAll(filepath.Join(data, "nats")); err != nil {
		t.Fatal(err)
	}
	refused("fewer", start("--accept-loss", "--partitions-conv", "1"), "partitions.conv: 1 does not fit", "configure 2")
	refused("fewer users", start("--accept-loss", "--partitions-conv", "2", "--partitions-user", "1"), "partitions.user: 1 does not fit", "configure 2")
	cfg := anywhere(t)
	cfg.Data, cfg.Partitions.User = data, 1
	refused("a server", runDev(t.Context(), cfg, new(announced), slog.New(slog.DiscardHandler)), "partitions.user: 1 does not fit", "configure 2")
	if err := start("--accept-loss", "--partitions-conv", "2", "--partitions-user", "2"); err != nil {
		t.Errorf("the counts that it was made with: %v", err)
	}
}

// The record is lost and the store is not, on a machine that makes other counts of what is left open.
func TestCountsLeftOpenDoNotSpoilAStoreWhoseRecordIsLost(t *testing.T) {
	fresh := DefaultConfig().fresh
	made := PartitionsConfig{Conv: fresh + 1, User: fresh + 2}
	cfg := anywhere(t)
	cfg.Partitions = made
	if err := launch(t, cfg).stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(cfg.Data, "nats")); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	for _, c := range []struct {
		given PartitionsConfig
		want  string
	}{
		{PartitionsConfig{}, fmt.Sprintf("partitions.conv: %d does not fit: the store holds a record (fence) of conversation partition %[1]d; configure %d, ", fresh, made.Conv)},
		{PartitionsConfig{Conv: made.Conv}, fmt.Sprintf("partitions.user: %d does not fit: the store holds a record (fence) of user partition %[1]d; configure %d, ", fresh, made.User)},
	} {
		cfg.Partitions = c.given
		for what, err := range map[string]error{
			"dev":    runDev(t.Context(), cfg, new(announced), log),
			"repair": repair(t.Context(), cfg, true, io.Discard, log),
		} {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s with %+v: got %v, want %q", what, c.given, err, c.want)
			}
		}
	}
	cfg.Partitions = made
	if err := repair(t.Context(), cfg, true, io.Discard, log); err != nil {
		t.Fatalf("the counts that it was made with: %v", err)
	}
	cfg.Partitions = PartitionsConfig{}
	launch(t, cfg)
}
