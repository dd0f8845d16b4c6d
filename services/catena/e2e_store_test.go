package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"

	"github.com/catena-im/catena/pkg/kv"
)

// brittle is a store that can be made to fail for good.
type brittle struct {
	storage
	failed chan struct{}
}

func (b *brittle) Failed() <-chan struct{} { return b.failed }

func (b *brittle) Commit(ctx context.Context, batch *kv.Batch) error {
	select {
	case <-b.failed:
		return fmt.Errorf("commit: %w", kv.ErrUnavailable)
	default:
		return b.storage.Commit(ctx, batch)
	}
}

// TestAStoreThatFailsIsOpenedAgain lets the store fail under a running server while a client sends.
func TestAStoreThatFailsIsOpenedAgain(t *testing.T) {
	cfg := anywhere(t)
	log := new(text)
	n, err := newNode(t.Context(), cfg, newLogger(cfg.Log, log))
	if err != nil {
		t.Fatal(err)
	}
	first := &brittle{n.store, make(chan struct{})}
	n.store = first
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	ready := make(chan struct{})
	running.Go(func() {
		if err := n.run(ctx, func() { close(ready) }); err != nil {
			t.Errorf("the server ended with: %v", err)
		}
	})
	<-ready
	on := site{data: cfg.Data, url: n.wsURL()}
	sent := new(tally)
	alice := sdk(t, on, "alice", "phone", sent.hear)
	t.Cleanup(stop) // before the client, which would connect again
	enqueue(t, alice, "bob", 0, 10)
	eventually(t, "the first are answered", func() bool { return sent.answered() == 10 })
	close(first.failed)
	enqueue(t, alice, "bob", 10, 10)
	eventually(t, "all are answered", func() bool { return sent.answered() == 20 })
	sent.check(t)
	eventually(t, "it is ready again", func() bool { return status(t, "http://"+reachable(n.admin.Addr())+"/readyz") == http.StatusOK })
	bob, _ := login(t, on, "bob", "phone", speakBinary)
	ordered(t, bob, "s:alice:bob", 20)
	eventually(t, "everything is in the chain", func() bool { return len(bob.chain(1)) == 20 })
	holds(t, log.String(), "the store failed and is opened again")
}

func status(t *testing.T, url string) int {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	return r.StatusCode
}
