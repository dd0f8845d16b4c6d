package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/catena-im/catena/pkg/im"
	"github.com/catena-im/catena/services/edge/token"
)

// asCatena makes a run of the test binary be catena itself, so that tests can kill it.
const asCatena = "RUN_AS_CATENA"

func TestMain(m *testing.M) {
	if os.Getenv(asCatena) != "" {
		main()
		return
	}
	goleak.VerifyTestMain(m)
}

// site is a running server as clients see it.
type site struct {
	data string
	url  string
}

// token is one for user, signed with the key of the data folder.
func (s site) token(t testing.TB, user string) string {
	t.Helper()
	key, err := LoadKey(s.data)
	if err != nil {
		t.Fatal(err)
	}
	text, err := token.Issue(key, "", token.Claims{User: im.UserID(user), Expires: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// anywhere is a configuration that disturbs no other server, on a new folder; with partitions to fan out between, whatever
// the machine.
func anywhere(t testing.TB) Config {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Data = t.TempDir()
	cfg.Partitions = PartitionsConfig{Conv: 2, User: 2}
	cfg.Listen, cfg.NATS.Listen, cfg.Admin.Listen = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	return cfg
}

// text is an output that can be read while it is written.
type text struct {
	mu  sync.Mutex // guards the field below
	buf bytes.Buffer
}

func (b *text) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *text) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// inside is a server in this process.
type inside struct {
	site
	run RunFile
	log *text
	// stop ends the server and returns what it ended with. It is called at the end of the test at the latest.
	stop func() error
}

// launch starts a server in this process and returns when it is ready.
func launch(t testing.TB, cfg Config) *inside {
	t.Helper()
	s := &inside{log: new(text)}
	ctx, cancel := context.WithCancel(context.Background())
	out := &announced{ready: make(chan struct{})}
	ended := make(chan error, 1)
	go func() { ended <- runDev(ctx, cfg, out, newLogger(cfg.Log, s.log)) }()
	s.stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Errorf("the server ended with: %v", err)
		}
	})
	select {
	case <-out.ready:
	case err := <-ended:
		ended <- err
		t.Fatalf("the server does not start: %v", err)
	}
	var err error
	if s.run, err = ReadRunFile(cfg.Data); err != nil {
		t.Fatal(err)
	}
	s.site = site{data: cfg.Data, url: s.run.WSURL}
	return s
}

// process is a server in a process of its own.
type process struct {
	site
	t        testing.TB
	args     []string
	cmd      *exec.Cmd
	out, log *text
	gone     chan struct{} // closed when the process has ended
}

// spawn starts `catena dev` with args on a folder and returns when it is ready.
func spawn(t testing.TB, data string, args ...string) *process {
	t.Helper()
	c := begin(t, data, args...)
	c.awaitReady()
	return c
}

// begin starts `catena dev`, with partitions as anywhere, and returns at once.
func begin(t testing.TB, data string, args ...string) *process {
	t.Helper()
	base := []string{"dev", "--data", data, "--listen", "127.0.0.1:0", "--nats-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0",
		"--partitions-conv", "2", "--partitions-user", "2"}
	return execute(t, data, append(base, args...))
}

// execute starts catena with args.
func execute(t testing.TB, data string, args []string) *process {
	t.Helper()
	c := &process{site: site{data: data}, t: t, args: args, out: new(text), log: new(text), gone: make(chan struct{})}
	c.cmd = exec.Command(os.Args[0], args...)
	c.cmd.Env = append(os.Environ(), asCatena+"=1")
	c.cmd.Stdout, c.cmd.Stderr = c.out, c.log
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { // joined by kill
		defer close(c.gone)
		_ = c.cmd.Wait() // how it ended stands in ProcessState
	}()
	t.Cleanup(c.kill)
	return c
}

// awaitReady waits for the run file of this process.
func (c *process) awaitReady() {
	c.t.Helper()
	late := time.After(patience)
	for tick := time.NewTicker(5 * time.Millisecond); ; {
		select {
		case <-c.gone:
			tick.Stop()
			c.t.Fatalf("the server ended: %v\n%s", c.cmd.ProcessState, c.log)
		case <-late:
			tick.Stop()
			c.t.Fatalf("the server does not get ready\n%s", c.log)
		case <-tick.C:
		}
		if run, err := ReadRunFile(c.data); err == nil && run.PID == c.cmd.Process.Pid {
			tick.Stop()
			c.url = run.WSURL
			return
		}
	}
}

// kill ends the process without warning.
func (c *process) kill() {
	_ = c.cmd.Process.Kill() // fails when it has ended already
	<-c.gone
}

// ended reports whether the process has ended.
func (c *process) ended() bool {
	select {
	case <-c.gone:
		return true
	default:
		return false
	}
}

// signal sends a signal to the process.
func (c *process) signal(s syscall.Signal) {
	c.t.Helper()
	if err := c.cmd.Process.Signal(s); err != nil {
		c.t.Fatal(err)
	}
}

// exit waits for the end of the process and returns its exit code; -1 when a signal ended it.
func (c *process) exit() int {
	c.t.Helper()
	select {
	case <-c.gone:
	case <-time.After(patience):
		c.t.Fatalf("the server does not end\n%s", c.log)
	}
	return c.cmd.ProcessState.ExitCode()
}

// sameAddress are the arguments that start the server again where its clients look for it.
func (c *process) sameAddress() []string {
	return append(slices.Clone(c.args), "--listen", strings.TrimSuffix(strings.TrimPrefix(c.url, "ws://"), "/ws"))
}

// again starts the server of a killed process again, at the same folder and address.
func (c *process) again() *process {
	c.t.Helper()
	<-c.gone
	n := execute(c.t, c.data, c.sameAddress())
	n.url = c.url
	n.awaitReady()
	return n
}

// eventually waits until holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(patience); !holds(); {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("never: %s", what)
		}
	}
}
