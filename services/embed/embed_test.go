package embed_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/catena-im/catena/pkg/bus"
	"github.com/catena-im/catena/services/embed"
)

// childDir names the data folder for the process that TestAcknowledgedMessagesSurviveAKill kills.
const childDir = "CATENA_TEST_EMBED_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		appendForEver(dir)
	}
	goleak.VerifyTestMain(m)
}

var conv0 = bus.Partition{Kind: bus.Conv}

var silent = slog.New(slog.DiscardHandler)

func start(t *testing.T, cfg embed.Config) *embed.Server {
	t.Helper()
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	s, err := embed.New(cfg, silent)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func connect(t *testing.T, cfg bus.Config) *bus.Bus {
	t.Helper()
	b, err := bus.Connect(t.Context(), cfg, silent)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

func TestStreamsAreReachedInProcessAndOverTCPAndSurviveAStop(t *testing.T) {
	for _, fsync := range []bool{true, false} {
		t.Run(fmt.Sprintf("fsync=%v", fsync), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "made", "when missing")
			for round := range uint64(2) {
				s := start(t, embed.Config{Dir: dir, Fsync: fsync})
				inside := connect(t, bus.Config{InProcess: s})
				if _, err := inside.Provision(t.Context(), bus.Layout{StreamMaxBytes: 1 << 40}); err != nil {
					t.Fatal(err)
				}
				outside := connect(t, bus.Config{URL: s.ClientURL()})
				for i, b := range []*bus.Bus{inside, outside} {
					seq, err := b.Append(t.Context(), conv0, fmt.Sprint(round, i), []byte("hello"))
					if want := 2*round + uint64(i) + 1; seq != want || err != nil {
						t.Errorf("got sequence %d and error %v, want %d", seq, err, want)
					}
				}
				inside.Close()
				outside.Close()
				s.Close()
				s.Close()
			}
		})
	}
}

func TestAFolderHasOneUser(t *testing.T) {
	dir := t.TempDir()
	first := start(t, embed.Config{Dir: dir})
	_, err := embed.New(embed.Config{Dir: dir, Listen: "127.0.0.1:0"}, silent)
	if !errors.Is(err, embed.ErrInUse) {
		t.Fatalf("got error %v, want %v", err, embed.ErrInUse)
	}
	for _, want := range []string{dir, fmt.Sprint("pid ", os.Getpid())} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %q, want %q in it", err, want)
		}
	}
	first.Close()
	start(t, embed.Config{Dir: dir})
}

func TestATakenPortIsNamedAndLeavesTheFolderFree(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dir := t.TempDir()
	_, err = embed.New(embed.Config{Dir: dir, Listen: l.Addr().String()}, silent)
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Fatalf("got error %v, want one that says that %s is in use", err, l.Addr())
	}
	start(t, embed.Config{Dir: dir})
}

func TestWhatCannotBeServedIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	blocked := t.TempDir()
	for _, path := range []string{file, filepath.Join(blocked, "nats")} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	for _, c := range []struct {
		name string
		cfg  embed.Config
		want string
	}{
		{"no folder", embed.Config{}, "no name"},
		{"folder is a file", embed.Config{Dir: file, Listen: "127.0.0.1:0"}, "data folder"},
		{"no room for the streams", embed.Config{Dir: blocked, Listen: "127.0.0.1:0"}, "nats"},
		{"no port", embed.Config{Dir: dir, Listen: "127.0.0.1"}, "host:port"},
		{"odd port", embed.Config{Dir: dir, Listen: "127.0.0.1:x"}, "not a number"},
		{"large port", embed.Config{Dir: dir, Listen: "127.0.0.1:65536"}, "not a number"},
		{"all interfaces", embed.Config{Dir: dir, Listen: "0.0.0.0:0"}, "127.0.0.1"},
		{"all interfaces, unsaid", embed.Config{Dir: dir, Listen: ":0"}, "127.0.0.1"},
		{"another host", embed.Config{Dir: dir, Listen: "example.org:0"}, "127.0.0.1"},
	} {
		s, err := embed.New(c.cfg, silent)
		if err == nil {
			s.Close()
			t.Errorf("%s: it was started", c.name)
			continue
		}
		if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %q, want %q in it", c.name, err, c.want)
		}
	}
}

// TestAcknowledgedMessagesSurviveAKill lets a process append and kills it in the middle.
func TestAcknowledgedMessagesSurviveAKill(t *testing.T) {
	dir := t.TempDir()
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), childDir+"="+dir)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	var acked uint64
	lines := bufio.NewScanner(out)
	for acked < 200 && lines.Scan() {
		if _, err := fmt.Sscan(lines.Text(), &acked); err != nil {
			t.Fatalf("the child says %q", lines.Text())
		}
	}
	if acked == 200 {
		_, err := embed.New(embed.Config{Dir: dir, Listen: "127.0.0.1:0"}, silent)
		if want := fmt.Sprint("pid ", child.Process.Pid); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got error %v, want one that names %s", err, want)
		}
	}
	_ = child.Process.Kill()
	for lines.Scan() { // what it acknowledged before the kill came through
		_, _ = fmt.Sscan(lines.Text(), &acked)
	}
	_ = child.Wait()
	if acked < 200 {
		t.Fatalf("the child ended after %d messages", acked)
	}

	b := connect(t, bus.Config{InProcess: start(t, embed.Config{Dir: dir, Fsync: true})})
	r, err := b.Open(t.Context(), conv0)
	if err != nil {
		t.Fatal(err)
	}
	state, err := r.State(t.Context())
	if err != nil || state.First != 1 || state.Last < acked {
		t.Errorf("got state %+v and error %v, want 1 to %d at least", state, err, acked)
	}
	m, err := r.Message(t.Context(), acked)
	if want := fmt.Sprint("m", acked); m.ID != want || err != nil {
		t.Errorf("message %d: got id %q and error %v, want %s", acked, m.ID, err, want)
	}
}

// appendForEver says on stdout what was acknowledged, until it is killed.
func appendForEver(dir string) {
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	ctx := context.Background()
	s, err := embed.New(embed.Config{Dir: dir, Listen: "127.0.0.1:0", Fsync: true}, silent)
	fail(err)
	b, err := bus.Connect(ctx, bus.Config{InProcess: s}, silent)
	fail(err)
	_, err = b.Provision(ctx, bus.Layout{ConvPartitions: 1, UserPartitions: 1})
	fail(err)
	for i := 1; ; i++ {
		seq, err := b.Append(ctx, conv0, fmt.Sprint("m", i), []byte("hello"))
		fail(err)
		fmt.Println(seq)
	}
}
