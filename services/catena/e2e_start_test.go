package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// refusedStart runs a server that must not start, and checks that it says why.
func refusedStart(t *testing.T, data string, want []string, args ...string) {
	t.Helper()
	c := begin(t, data, args...)
	if code := c.exit(); code <= 0 {
		t.Errorf("%v: exit code %d", args, code)
	}
	lines := strings.Split(strings.TrimSpace(c.log.String()), "\n")
	for _, w := range want {
		if !strings.Contains(c.log.String(), w) {
			t.Errorf("%v: %q is missing in %q", args, w, lines[len(lines)-1])
		}
	}
	if strings.Contains(c.log.String(), "goroutine ") || strings.Contains(c.out.String(), "ready") {
		t.Errorf("%v: it says\n%s\n%s", args, c.out, c.log)
	}
}

func TestWhatCannotStartSaysWhy(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().String()
	data := t.TempDir()
	first := spawn(t, data)
	pid := fmt.Sprint("pid ", first.cmd.Process.Pid)
	refusedStart(t, data, []string{data, pid, "stop"})
	run, err := ReadRunFile(data)
	if err != nil || run.PID != first.cmd.Process.Pid {
		t.Errorf("the run file of the server that runs: %v, %v", run, err)
	}
	first.kill()

	free := t.TempDir()
	refusedStart(t, free, []string{port, "listen"}, "--listen", port)
	refusedStart(t, free, []string{port, "nats.listen"}, "--nats-listen", port)
	refusedStart(t, free, []string{port, "admin.listen"}, "--admin-listen", port)
	refusedStart(t, free, []string{"nats.listen", "127.0.0.1"}, "--nats-listen", "0.0.0.0:0")
	refusedStart(t, data, []string{"conversation partitions", "8", "2"}, "--partitions-conv", "8")
	refusedStart(t, data, []string{"user partitions", "1", "2"}, "--partitions-user", "1")
	refusedStart(t, data, []string{"cell", "local", "berlin"}, "--cell", "berlin")
	refusedStart(t, free, []string{"durability", "fsync", "interval"}, "--durability", "never")
	refusedStart(t, free, []string{"stream.max_bytes", "1MiB"}, "--stream-max-bytes", "1KiB")
	refusedStart(t, free, []string{"--no-such-flag"}, "--no-such-flag")
	config := filepath.Join(t.TempDir(), "catena.yaml")
	if err := os.WriteFile(config, []byte("limits:\n  frame_rat: 5\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	refusedStart(t, free, []string{"limits.frame_rat", config}, "--config", config)
	t.Run("environment", func(t *testing.T) {
		t.Setenv("CATENA_LIMITS_FRAME_RAT", "5")
		refusedStart(t, free, []string{"CATENA_LIMITS_FRAME_RAT"})
	})
	refusedStart(t, filepath.Join(config, "below"), []string{config, "data folder"})
	spawn(t, data) // nothing was spoiled
	spawn(t, free)
}

func TestDurabilityIntervalIsWarnedOf(t *testing.T) {
	c := spawn(t, t.TempDir(), "--durability", "interval")
	holds(t, c.log.String(), "level=WARN", "power loss")
	c = spawn(t, t.TempDir())
	if strings.Contains(c.log.String(), "WARN") {
		t.Errorf("a plain start warns:\n%s", c.log)
	}
}
