//go:build !darwin || cgo

package main

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/catena-im/catena/pkg/kv"
)

// proxy is an address of its own for another one; where it leads can be set late, since it has to be known early.
type proxy struct {
	net.Listener
	target chan string
	used   chan struct{} // closed when somebody came
}

func newProxy(t *testing.T) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{Listener: l, target: make(chan string, 1), used: make(chan struct{})}
	var all sync.WaitGroup
	all.Go(func() {
		once := sync.OnceFunc(func() { close(p.used) })
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			once()
			target := <-p.target
			p.target <- target
			to, err := net.Dial("tcp", target)
			if err != nil {
				from.Close()
				continue
			}
			all.Go(func() { _, _ = io.Copy(to, from); to.Close() })
			all.Go(func() { _, _ = io.Copy(from, to); from.Close() })
		}
	})
	t.Cleanup(func() { l.Close(); all.Wait() })
	return p
}

func (p *proxy) addr() string { return p.Addr().String() }

// TestClientsStayOnTheirWay: who comes to PD by a proxy reaches the store by one, too, and the others by neither.
func TestClientsStayOnTheirWay(t *testing.T) {
	pd, store := newProxy(t), newProxy(t)
	s := all(t, "--ways", "127.0.0.1:1=127.0.0.1:2,"+pd.addr()+"="+store.addr())
	direct := open(t, s.config())
	write(t, direct, "1")
	for name, p := range map[string]*proxy{"pd": pd, "store": store} {
		select {
		case <-p.used:
			t.Errorf("a direct client uses the proxy of %s", name)
		default:
		}
	}
	pd.target <- s.pd
	store.target <- s.store
	cfg := s.config()
	cfg.PD = []string{pd.addr()}
	write(t, open(t, cfg), "2")
	select {
	case <-store.used:
	default:
		t.Error("the client of a proxy reaches the store directly")
	}
}

func write(t *testing.T, s kv.Store, key string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	b := &kv.Batch{Fence: []byte("ways/" + key), Next: []byte("x")}
	if err := s.Commit(ctx, b); err != nil {
		t.Fatal(err)
	}
}

func TestDelayOfTheDiskIsRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fsync-delay")
	if d, err := readDelay(path); d != 0 || err != nil {
		t.Errorf("without a file: %v, %v", d, err)
	}
	for text, want := range map[string]time.Duration{"200ms\n": 200 * time.Millisecond, "0s": 0, "much": -1} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if d, err := readDelay(path); d != max(want, 0) || (err != nil) != (want < 0) {
			t.Errorf("%q: %v, %v", text, d, err)
		}
	}
}

// TestEverySyncAsksForTheDelay by a file that is none.
func TestEverySyncAsksForTheDelay(t *testing.T) {
	dir := t.TempDir()
	j := &journal{dir: dir, delay: filepath.Join(dir, "fsync-delay")}
	if err := j.sync(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(j.delay, []byte("much"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := j.sync(); err == nil || !strings.Contains(err.Error(), j.delay) {
		t.Errorf("got %v: a sync does not ask for the delay", err)
	}
}
