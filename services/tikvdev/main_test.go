//go:build !darwin || cgo

package main

import (
	"bufio"
	"flag"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/catena-im/catena/pkg/kv"
	"github.com/catena-im/catena/pkg/kv/kvtest"
	"github.com/catena-im/catena/pkg/kv/tikv"
)

// load is how long each of the tests with kills goes on.
var load = flag.Duration("tikvdev.load", 2*time.Second, "how long tests that kill processes do so, each")

// The test binary is tikvdev, or a client of it, when this variable says so.
const actAs = "TIKVDEV_TEST_ACT_AS"

func TestMain(m *testing.M) {
	switch os.Getenv(actAs) {
	case "server":
		os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
	case "client":
		os.Exit(client(os.Args[1:]))
	}
	flag.Parse()
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue {
		_ = f.Value.Set("10") // the mock store is slow
	}
	os.Exit(m.Run())
}

// process is one that was started by a test, and ends with it.
type process struct {
	cmd *exec.Cmd
	out *bufio.Reader
}

func start(t testing.TB, as string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(os.Args[0], args...)}
	p.cmd.Env = append(os.Environ(), actAs+"="+as)
	p.cmd.Stderr = &lines{t: t, name: as}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	return p
}

// kill is kill -9.
func (p *process) kill() {
	if p.cmd.ProcessState == nil {
		_ = p.cmd.Process.Kill()
		_, _ = io.Copy(io.Discard, p.out)
		_ = p.cmd.Wait()
	}
}

// stop ends the process by a signal and reports its exit code.
func (p *process) stop(t testing.TB) int {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, p.out)
	_ = p.cmd.Wait()
	return p.cmd.ProcessState.ExitCode()
}

// lines gives what a process says to the log of the test.
type lines struct {
	t    testing.TB
	name string
}

func (l *lines) Write(b []byte) (int, error) {
	if testing.Verbose() {
		l.t.Logf("%s: %s", l.name, strings.TrimSpace(string(b)))
	}
	return len(b), nil
}

// server is a tikvdev and the arguments to start it with again, at the same addresses.
type server struct {
	*process
	ready
	args []string
}

func serveArgs(t testing.TB, args ...string) *server {
	t.Helper()
	s := &server{process: start(t, "server", args...), args: args}
	line, err := s.out.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "ready ") {
		t.Fatalf("tikvdev %q says %q, %v", args, line, err)
	}
	for _, word := range strings.Fields(line)[1:] {
		switch key, value, _ := strings.Cut(word, "="); key {
		case "role":
			s.role = value
		case "pd":
			s.pd = value
			s.args = append(s.args, "--pd", value)
		case "store":
			s.store = value
			s.args = append(s.args, "--store", value)
		}
	}
	return s
}

// all starts a tikvdev with both roles.
func all(t testing.TB, args ...string) *server {
	return serveArgs(t, append([]string{"--data", t.TempDir(), "--pd", "127.0.0.1:0", "--store", "127.0.0.1:0"}, args...)...)
}

// apart starts two.
func apart(t testing.TB, args ...string) (pd, store *server) {
	dir := t.TempDir()
	pd = serveArgs(t, append([]string{"--role", "pd", "--data", dir, "--pd", "127.0.0.1:0"}, args...)...)
	return pd, serveArgs(t, append([]string{"--role", "store", "--data", dir, "--pd", pd.pd, "--store", "127.0.0.1:0"}, args...)...)
}

// again kills the server and starts it at the same addresses.
func (s *server) again(t testing.TB) {
	t.Helper()
	s.kill()
	*s = *serveArgs(t, s.args...)
}

func (s *server) config() tikv.Config { return tikv.Config{PD: []string{s.pd}} }

func open(t testing.TB, cfg tikv.Config) *tikv.Store {
	t.Helper()
	s, err := tikv.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestConformance(t *testing.T) {
	whole, cut := all(t), all(t, "--split", "cf,cj,ckvtest/N")
	for name, s := range map[string]*server{"one region": whole, "regions": cut} {
		t.Run(name, func(t *testing.T) {
			kvtest.Run(t, func(t *testing.T) kv.Store { return open(t, s.config()) })
		})
	}
}

func TestArguments(t *testing.T) {
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"--help", 0, "For tests and development only"},
		{"--role tikv", 2, `--role is "tikv": pd, store or all`},
		{"--cert c.pem", 2, "--ca, --cert and --key go together"},
		{"--ways 127.0.0.1:1", 2, `--ways: "127.0.0.1:1" is not PD=STORE`},
		{"data", 2, `unknown argument "data"`},
		{"--pd 256.0.0.1:1 --data " + t.TempDir(), 1, "--pd: "},
	} {
		var stderr strings.Builder
		if code := run(strings.Fields(c.args), io.Discard, &stderr); code != c.code || !strings.Contains(stderr.String(), c.says) {
			t.Errorf("%s: exit %d, %q; want %d, %q", c.args, code, stderr.String(), c.code, c.says)
		}
	}
}

func TestSecondProcessOnAFolderIsRefused(t *testing.T) {
	s := all(t)
	dir := s.args[1]
	for _, role := range []string{"pd", "store"} {
		second := start(t, "server", "--role", role, "--data", dir, "--pd", s.pd, "--store", "127.0.0.1:0")
		if role == "pd" {
			second.kill()
			second = start(t, "server", "--role", role, "--data", dir, "--pd", "127.0.0.1:0")
		}
		line, _ := second.out.ReadString('\n')
		_ = second.cmd.Wait()
		if code := second.cmd.ProcessState.ExitCode(); code != 1 || line != "" {
			t.Errorf("%s: exit %d after %q", role, code, line)
		}
	}
	if code := s.stop(t); code != 0 {
		t.Errorf("the first one: exit %d", code)
	}
}

func TestStoreRefusesAnotherCluster(t *testing.T) {
	_, store := apart(t)
	other, _ := apart(t)
	store.kill()
	p := start(t, "server", "--role", "store", "--data", store.args[3], "--pd", other.pd, "--store", "127.0.0.1:0")
	line, _ := p.out.ReadString('\n')
	_ = p.cmd.Wait()
	if code := p.cmd.ProcessState.ExitCode(); code != 1 || line != "" {
		t.Errorf("exit %d after %q", code, line)
	}
}
