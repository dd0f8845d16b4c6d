//go:build unix

package main

import (
	"os"
	"os/exec"
	"os/signal"
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
	s := launch(t, anywhere(t))
	sent := new(tally)
	alice := sdk(t, s.site, "alice", "phone", sent.hear)
	enqueue(t, alice, "bob", 0, 10)
	eventually(t, "the first are answered", func() bool { return sent.answered() == 10 })
	lift := limitFiles(t, 64<<10)
	enqueue(t, alice, "bob", 10, 10)
	eventually(t, "the streams fail", func() bool { return strings.Contains(s.log.String(), "nats server cannot write") })
	bob, _ := login(t, s.site, "bob", "phone", speakBinary)
	if n := len(bob.conversation("s:alice:bob")); n < 10 {
		t.Errorf("%d messages are pulled while the disk takes nothing", n)
	}
	lift()
	eventually(t, "all are answered", func() bool { return sent.answered() == 20 })
	sent.check(t)
	bob, _ = login(t, s.site, "bob", "phone", speakBinary)
	ordered(t, bob, "s:alice:bob", 20)
	eventually(t, "everything is in the chain", func() bool { return len(bob.chain(1)) == 20 })
}
