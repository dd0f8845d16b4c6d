package sqlite_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/catena-im/catena/pkg/client"
	"github.com/catena-im/catena/pkg/client/sqlite"
	"github.com/catena-im/catena/pkg/client/storetest"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// childFile names, in the environment of a child of TestStoreSurvivesKill, the file to fill.
const childFile = "CATENA_SQLITE_TEST_FILE"

func TestMain(m *testing.M) {
	if path := os.Getenv(childFile); path != "" {
		if err := fill(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

func open(t *testing.T, path string) *sqlite.Store {
	t.Helper()
	store, err := sqlite.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) (client.Store, func() client.Store) {
		path := filepath.Join(t.TempDir(), "100% mine? #1.db")
		store := open(t, path)
		return store, func() client.Store {
			store.Close()
			return open(t, path)
		}
	})
}

func TestOneStoreAtATime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "device.db")
	first := open(t, path)
	if _, err := sqlite.Open(path); !errors.Is(err, sqlite.ErrInUse) {
		t.Errorf("got %v, want ErrInUse", err)
	}
	first.Close()
	open(t, path)
}

// fill queues messages until it is killed, and prints each number after Apply returned.
func fill(path string) error {
	store, err := sqlite.Open(path)
	if err != nil {
		return err
	}
	for seq := uint64(1); ; seq++ {
		q := client.Queued{Seq: seq, Send: &imv1.Send{ClientMessageId: fmt.Sprint(seq)}}
		change := client.Change{User: "alice", Position: seq, Enqueued: []client.Queued{q}}
		if err := store.Apply(context.Background(), change); err != nil {
			return err
		}
		fmt.Println(seq)
	}
}

func TestStoreSurvivesKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "device.db")
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childFile+"="+path)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	var stored uint64
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		fmt.Sscan(lines.Text(), &stored)
		if stored == 50 {
			child.Process.Kill()
		}
	}
	child.Wait()
	if stored < 50 {
		t.Fatalf("the child ended by itself after %d messages", stored)
	}
	state, err := open(t, path).Load(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if n := uint64(len(state.Outbox)); n < stored || state.Position != n {
		t.Errorf("%d messages and position %d are kept, %d were stored", n, state.Position, stored)
	}
}

// What was withdrawn is not sent by the next start.
func TestWithdrawnMessagesAreGone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "device.db")
	store := open(t, path)
	device := func(s client.Store) *client.Client {
		c, err := client.New(client.Config{
			URL: "ws://h/ws", Device: "d", Store: s, Token: func(context.Context) (string, error) { return "", nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := device(store)
	kind, body := client.TextBody("hi")
	for _, id := range []string{"m1", "m2"} {
		if _, err := c.Enqueue(t.Context(), client.Outgoing{To: "bob", ClientMessageID: id, Type: kind, Body: body}); err != nil {
			t.Fatal(err)
		}
	}
	if doubt, err := c.Withdraw(t.Context(), client.Outgoing{To: "bob", ClientMessageID: "m1"}); doubt || err != nil {
		t.Errorf("withdraw: got %v, %v", doubt, err)
	}
	store.Close()
	store = open(t, path)
	state, err := store.Load(t.Context())
	if err != nil || len(state.Outbox) != 1 || state.Outbox[0].Send.GetClientMessageId() != "m2" {
		t.Errorf("the next start finds %v, %v", state.Outbox, err)
	}
	if doubt, err := device(store).Withdraw(t.Context(), client.Outgoing{To: "bob", ClientMessageID: "m2"}); !doubt || err != nil {
		t.Errorf("withdraw what an earlier start queued: got %v, %v", doubt, err)
	}
}
