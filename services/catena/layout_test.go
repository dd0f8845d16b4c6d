package main

import (
	"log/slog"
	"os"
	"path/filepath"
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
	refused("fewer", start("--accept-loss", "--partitions-conv", "1"), "partitions.conv:", "configured for 1")
	refused("fewer users", start("--accept-loss", "--partitions-user", "1"), "partitions.user:", "configured for 1")
	cfg := DefaultConfig()
	cfg.Data, cfg.Partitions.User = data, 1
	cfg.Listen, cfg.NATS.Listen, cfg.Admin.Listen = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	refused("a server", runDev(t.Context(), cfg, new(announced), slog.New(slog.DiscardHandler)), "partitions.user:", "configured for 1")
	if err := start("--accept-loss"); err != nil {
		t.Errorf("the counts that it was made with: %v", err)
	}
}
