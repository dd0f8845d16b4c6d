package child

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// The test binary is its own child: with envRole it is a server.
const (
	envRole = "CHILD_TEST_ROLE"
	listens = "listens" // writes its run file and listens
	fails   = "fails"   // says why and ends
	stays   = "stays"   // never gets ready
)

func TestMain(m *testing.M) {
	if role := os.Getenv(envRole); role != "" {
		serve(role, os.Args[1], os.Args[2])
	}
	goleak.VerifyTestMain(m)
}

func serve(role, data, listen string) {
	switch role {
	case fails:
		fmt.Fprintln(os.Stderr, "the folder is in use")
		os.Exit(3)
	case listens:
		l, err := net.Listen("tcp", listen)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		run, _ := json.Marshal(map[string]any{"pid": os.Getpid(), "ws_url": "ws://" + l.Addr().String() + "/ws"})
		if err := os.WriteFile(filepath.Join(data, "run.tmp"), run, 0o600); err != nil {
			os.Exit(1)
		}
		if err := os.Rename(filepath.Join(data, "run.tmp"), filepath.Join(data, "run.json")); err != nil {
			os.Exit(1)
		}
		conn, err := l.Accept() // whoever connects ends this server
		if err == nil {
			conn.Close()
		}
		os.Exit(4)
	}
	never := make(chan os.Signal, 1)
	signal.Notify(never)
	for range never {
	}
}

func config(t *testing.T, role string) Config {
	data := t.TempDir()
	return Config{
		Command: func(listen string) []string { return []string{os.Args[0], data, listen} },
		Data:    data, Log: filepath.Join(data, "log"), Env: append(os.Environ(), envRole+"="+role),
	}
}

// alive reports whether the process is there.
func alive(pid int) bool {
	p, err := os.FindProcess(pid)
	return err == nil && p.Signal(syscall.Signal(0)) == nil
}

func TestChildIsKilledAtTheEnd(t *testing.T) {
	var pid int
	err := Run(t.Context(), config(t, listens), func(_ context.Context, c *Child) error {
		pid = c.process.pid
		if !alive(pid) {
			t.Error("the server does not run")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if alive(pid) {
		t.Error("the server outlives Run")
	}
}

func TestChildIsKilledWhenItsUserPanics(t *testing.T) {
	var pid int
	func() {
		defer func() { _ = recover() }()
		_ = Run(t.Context(), config(t, listens), func(_ context.Context, c *Child) error {
			pid = c.process.pid
			panic("oops")
		})
	}()
	if alive(pid) {
		t.Error("the server outlives a panic")
	}
}

func TestCrashStartsAgainAtTheSameAddress(t *testing.T) {
	err := Run(t.Context(), config(t, listens), func(ctx context.Context, c *Child) error {
		before, pid := c.URL(), c.process.pid
		if err := c.Crash(ctx); err != nil {
			return err
		}
		if c.URL() != before {
			t.Errorf("listens at %s after the crash, at %s before", c.URL(), before)
		}
		if c.process.pid == pid || alive(pid) {
			t.Error("the server was not killed")
		}
		select {
		case err := <-c.Died():
			t.Errorf("a wanted end is reported as %v", err)
		default:
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestEndByItselfIsReported(t *testing.T) {
	err := Run(t.Context(), config(t, listens), func(_ context.Context, c *Child) error {
		u, err := url.Parse(c.URL())
		if err != nil {
			return err
		}
		conn, err := net.Dial("tcp", u.Host)
		if err != nil {
			return err
		}
		defer conn.Close()
		return <-c.Died()
	})
	if !errors.Is(err, errEnded) || !strings.Contains(err.Error(), "exit status 4") {
		t.Errorf("got %v, want an end with status 4", err)
	}
}

func TestFailedStartShowsTheLog(t *testing.T) {
	err := Run(t.Context(), config(t, fails), func(context.Context, *Child) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "the folder is in use") {
		t.Errorf("got %v, want the server's own words", err)
	}
}

func TestStartIsBounded(t *testing.T) {
	c := config(t, stays)
	c.Within = 50 * time.Millisecond
	err := Run(t.Context(), c, func(context.Context, *Child) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "was not ready") {
		t.Errorf("got %v, want that it was not ready", err)
	}
}
