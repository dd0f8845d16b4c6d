//go:build unix

package main

import (
	"context"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// limitFiles makes every write of this process fail that would make a file larger than size bytes.
func limitFiles(t *testing.T, size uint64) (lift func()) {
	t.Helper()
	signal.Ignore(syscall.SIGXFSZ)
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	limit := old
	limit.Cur = size
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	lift = sync.OnceFunc(func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
			t.Error(err)
		}
		signal.Reset(syscall.SIGXFSZ)
	})
	t.Cleanup(lift)
	return lift
}

// limitedEnv marks the process of its own that a test runs in whose limits would trouble the others, and the log that
// the go command has the test binary write.
const limitedEnv = "RUN_LIMITED"

// elsewhere runs the test in a process of its own and reports true there.
func elsewhere(t *testing.T) bool {
	t.Helper()
	if os.Getenv(limitedEnv) != "" {
		return true
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.timeout=2m")
	cmd.Env = append(os.Environ(), limitedEnv+"=1")
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "PASS") {
		t.Errorf("%v\n%s", err, out)
	}
	return false
}

// TestStreamsThatCannotBeWrittenTakeMessagesAgain lets writes to larger files fail while a client sends. Reads go on;
// once writes succeed again, everything is carried out.
func TestStreamsThatCannotBeWrittenTakeMessagesAgain(t *testing.T) {
	if !elsewhere(t) {
		return
	}
	cfg, log := anywhere(t), new(text)
	n := host(t, cfg, log)
	on := site{data: cfg.Data, url: n.wsURL()}
	sent := new(tally)
	alice := sdk(t, on, "alice", "phone", sent.hear)
	enqueue(t, alice, "bob", 0, 10)
	eventually(t, "the first are answered", func() bool { return sent.answered() == 10 })
	// Room for what the store writes, which fails for good otherwise, but not for a message more in the streams.
	lift := limitFiles(t, largestFile(t, filepath.Join(cfg.Data, "nats"))+40<<10)
	enqueue(t, alice, "bob", 10, 10)
	eventually(t, "the streams fail", func() bool { return strings.Contains(log.String(), "nats server cannot write") })
	if code, why := readiness(t, n); code != http.StatusServiceUnavailable || !strings.Contains(why, "the data folder cannot be written") {
		t.Errorf("readiness is %d: %s", code, why)
	}
	bob, _ := login(t, on, "bob", "phone", speakBinary)
	if got := len(bob.conversation("s:alice:bob")); got < 10 {
		t.Errorf("%d messages are pulled while the disk takes nothing", got)
	}
	lift()
	eventually(t, "all are answered", func() bool { return sent.answered() == 20 })
	sent.check(t)
	eventually(t, "it is ready again", func() bool { code, _ := readiness(t, n); return code == http.StatusOK })
	bob, _ = login(t, on, "bob", "phone", speakBinary)
	ordered(t, bob, "s:alice:bob", 20)
	eventually(t, "everything is in the chain", func() bool { return len(bob.chain(1)) == 20 })
	for _, line := range []string{"nats server cannot write", "partition starts over"} {
		if n := strings.Count(log.String(), line); n > 1 {
			t.Errorf("%q is logged %d times within a minute:\n%s", line, n, log)
		}
	}
}

// largestFile is the size of the largest file below dir, in bytes.
func largestFile(t *testing.T, dir string) (size uint64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			size = max(size, uint64(info.Size()))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return size
}

// host runs a server in this process until the end of the test, and returns when it is ready.
func host(t *testing.T, cfg Config, log *text) *node {
	t.Helper()
	n, err := newNode(t.Context(), cfg, newLogger(cfg.Log, log))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ready := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		if err := n.run(ctx, func() { close(ready) }); err != nil {
			t.Errorf("the server ended with: %v", err)
		}
	})
	t.Cleanup(func() {
		stop()
		running.Wait()
	})
	<-ready
	return n
}

// readiness is what a server answers to the probe.
func readiness(t *testing.T, n *node) (code int, why string) {
	t.Helper()
	r, err := http.Get("http://" + reachable(n.admin.Addr()) + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(text)
}
