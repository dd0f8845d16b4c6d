//go:build unix

package embed_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/catena-im/catena/pkg/bus"
	"github.com/catena-im/catena/services/embed"
)

// limitFiles makes writes fail that would make a file of this process larger than size bytes.
func limitFiles(t *testing.T, size uint64) (unlimit func()) {
	t.Helper()
	signal.Ignore(syscall.SIGXFSZ)
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	low := old
	low.Cur = size
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &low); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
			t.Error(err)
		}
		signal.Reset(syscall.SIGXFSZ)
	}
}

// limitedEnv marks the process of its own that a test runs in whose limits would hit the log, too, that the go command has
// the test binary write.
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

func TestTheServerGoesOnOnceTheDiskTakesWritesAgain(t *testing.T) {
	if !elsewhere(t) {
		return
	}
	s := start(t, embed.Config{Dir: t.TempDir(), Fsync: true})
	inside, outside := connect(t, bus.Config{InProcess: s}), connect(t, bus.Config{URL: s.ClientURL()})
	if _, err := inside.Provision(t.Context(), bus.Layout{ConvPartitions: 1, UserPartitions: 1}); err != nil {
		t.Fatal(err)
	}
	unlimit := limitFiles(t, 1<<20)
	var acked uint64
	type result struct {
		seq uint64
		err error
	}
	stuck := make(chan result, 1)
	for i := range 20 { // 2 MB
		id := fmt.Sprint("m", i)
		once, cancel := context.WithTimeout(t.Context(), time.Second) // a stream that cannot write does not answer
		seq, err := inside.Append(once, conv0, id, make([]byte, 100<<10))
		cancel()
		if err != nil {
			if !errors.Is(err, bus.ErrUnclear) {
				t.Fatal(err)
			}
			go func() {
				seq, err := inside.AppendUntil(t.Context(), conv0, id, make([]byte, 100<<10))
				stuck <- result{seq, err}
			}()
			break
		}
		acked = seq
	}
	unlimit()
	got := <-stuck
	if got.err != nil || got.seq != acked+1 {
		t.Errorf("got sequence %d and error %v, want %d", got.seq, got.err, acked+1)
	}
	seq, err := outside.AppendUntil(t.Context(), conv0, "from outside", nil)
	if err != nil || seq != acked+2 {
		t.Errorf("from outside: got sequence %d and error %v, want %d", seq, err, acked+2)
	}
}

// TestWhatAFullDiskRefusedLeavesNoHole lets the first write to a file of a stream fail, and with it the first message
// that the stream ever held: its sequence was given to nobody, so the next message gets it.
func TestWhatAFullDiskRefusedLeavesNoHole(t *testing.T) {
	if !elsewhere(t) {
		return
	}
	for _, stop := range []bool{false, true} {
		t.Run(fmt.Sprintf("stop=%v", stop), func(t *testing.T) {
			cfg := embed.Config{Dir: t.TempDir(), Fsync: true}
			s := start(t, cfg)
			b := connect(t, bus.Config{InProcess: s})
			if _, err := b.Provision(t.Context(), bus.Layout{ConvPartitions: 1, UserPartitions: 1}); err != nil {
				t.Fatal(err)
			}
			unlimit := limitFiles(t, 0)
			once, cancel := context.WithTimeout(t.Context(), time.Second)
			_, err := b.Append(once, conv0, "first", []byte("hello"))
			cancel()
			unlimit()
			if !errors.Is(err, bus.ErrUnclear) {
				t.Fatalf("got error %v, want one that leaves the outcome open", err)
			}
			if stop {
				b.Close()
				s.Close()
				b = connect(t, bus.Config{InProcess: start(t, cfg)})
			}
			seq, err := b.AppendUntil(t.Context(), conv0, "first", []byte("hello"))
			if err != nil || seq != 1 {
				t.Errorf("got sequence %d and error %v, want 1", seq, err)
			}
			r, err := b.Open(t.Context(), conv0)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if st, err := r.State(t.Context()); err != nil || st.First != 1 || st.Last != 1 {
				t.Errorf("got state %+v and error %v, want 1 to 1", st, err)
			}
		})
	}
}
