//go:build !darwin || cgo

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/catena-im/catena/pkg/kv"
	"github.com/catena-im/catena/pkg/kv/kvtest"
	"github.com/catena-im/catena/pkg/kv/tikv"
)

// relay is the log that writers append to while processes are killed.
func newRelay() *kvtest.Relay { return &kvtest.Relay{Prefix: "relay/"} }

// cut are flags for regions whose borders the log crosses, so that batches are committed in two phases.
var cut = []string{"--split", "crelay/r,crelay/row/00000020/3,crelay/row/00000100"}

// race lets writers append until ctx ends. Each answered batch is sent to told, unless nobody takes it.
func race(ctx context.Context, t *testing.T, cfg tikv.Config, relay *kvtest.Relay, writers int, told chan<- int) {
	var wg sync.WaitGroup
	for i := range writers {
		s, name := open(t, cfg), fmt.Sprint("writer-", i)
		wg.Go(func() {
			for ctx.Err() == nil {
				n, err := relay.Write(context.Background(), s, name)
				if err != nil && !errors.Is(err, kv.ErrUnavailable) {
					t.Errorf("%s: %v", name, err)
					return
				}
				if n > 0 {
					select {
					case told <- n:
					default:
					}
				}
			}
		})
	}
	wg.Wait()
}

// killing calls fault after every few batches while two writers append, for as long as the flag says, and judges.
func killing(t *testing.T, cfg tikv.Config, fault func()) {
	const between = 15 // batches
	end := time.Now().Add(*load)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	relay, told, done := newRelay(), make(chan int, 1), make(chan struct{})
	go func() {
		defer close(done)
		race(ctx, t, cfg, relay, 2, told)
	}()
	faults := 0
	for batches, writing := 0, true; writing; {
		select {
		case <-told:
			if batches++; batches%between == 0 {
				fault()
				faults++
			}
			if faults > 0 && time.Now().After(end) {
				cancel()
			}
		case <-done:
			writing = false
		}
	}
	t.Logf("%d kills, %d batches, %d answered", faults, relay.Judge(t, open(t, cfg)), relay.Told())
}

func TestWritersRace(t *testing.T) {
	for name, args := range map[string][]string{"one region": nil, "regions": cut} {
		t.Run(name, func(t *testing.T) {
			s, relay := all(t, args...), newRelay()
			ctx, cancel := context.WithTimeout(t.Context(), *load/2)
			defer cancel()
			race(ctx, t, s.config(), relay, 3, nil)
			t.Logf("%d batches, %d answered", relay.Judge(t, open(t, s.config())), relay.Told())
		})
	}
}

func TestStoreIsKilledUnderLoad(t *testing.T) {
	pd, store := apart(t)
	killing(t, pd.config(), func() { store.again(t) })
}

func TestStoreIsKilledBetweenPhases(t *testing.T) {
	dir := t.TempDir()
	pd := serveArgs(t, "--role", "pd", "--data", dir, "--pd", "127.0.0.1:0")
	store := serveArgs(t, append([]string{"--role", "store", "--data", dir, "--pd", pd.pd, "--store", "127.0.0.1:0"}, cut...)...)
	killing(t, pd.config(), func() { store.again(t) })
}

func TestPDIsKilledUnderLoad(t *testing.T) {
	pd, _ := apart(t)
	killing(t, pd.config(), func() { pd.again(t) })
}

func TestBothAreKilledUnderLoad(t *testing.T) {
	s := all(t)
	killing(t, s.config(), func() { s.again(t) })
}

func TestDurability(t *testing.T) {
	kvtest.RunDurable(t, func(t *testing.T) (kv.Store, func(t *testing.T) kv.Store) {
		pd, store := apart(t)
		s := open(t, pd.config())
		return s, func(t *testing.T) kv.Store {
			store.again(t)
			return s
		}
	})
}

// client appends for ever, and says what it was told.
func client(args []string) int {
	s, err := tikv.New(tikv.Config{PD: args[:1]})
	for relay := newRelay(); err == nil; {
		var n int
		if n, err = relay.Write(context.Background(), s, args[1]); n > 0 {
			fmt.Println(n)
		}
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// TestClientIsKilledBetweenPhases kills writers whose batches span regions: what they leave is finished or undone by
// the next, when its locks have had their time.
func TestClientIsKilledBetweenPhases(t *testing.T) {
	s, relay, kills := all(t, cut...), newRelay(), 0
	for end := time.Now().Add(*load); kills == 0 || time.Now().Before(end); kills++ {
		name := fmt.Sprint("client-", kills)
		p := start(t, "client", s.pd, name)
		for batches := 0; ; batches++ {
			line, err := p.out.ReadString('\n')
			if err != nil {
				break // it was killed, and this was the last it was told
			}
			n, err := strconv.Atoi(strings.TrimSpace(line))
			if err != nil {
				t.Fatal(err)
			}
			relay.Tell(n, name)
			if batches == 10+kills%7 {
				_ = p.cmd.Process.Kill()
			}
		}
		p.kill()
	}
	reader := open(t, s.config())
	if n, err := relay.Write(t.Context(), reader, "reader"); err != nil || n == 0 {
		t.Fatalf("after %d kills: %d, %v", kills, n, err)
	}
	t.Logf("%d kills, %d batches, %d answered", kills, relay.Judge(t, reader), relay.Told())
}
