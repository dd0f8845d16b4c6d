package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/catena-im/catena/pkg/bus"
	"github.com/catena-im/catena/pkg/chain"
	"github.com/catena-im/catena/pkg/im"
)

func TestRepairMakesNoDataFolder(t *testing.T) {
	data := filepath.Join(t.TempDir(), "misspelt")
	if out, err := run(t, "repair", "--data", data); err == nil || !strings.Contains(err.Error(), "no store in "+data) {
		t.Errorf("repair of a folder that is not there: %v\n%s", err, out)
	}
	if _, err := os.Stat(data); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder is there now: %v", err)
	}
}

// The streams of a data folder are gone, the store is there: the partitions stand still instead of giving sequences
// twice, repair says so, and with the operator's word they go on without a gap in any chain.
func TestRepairGoesOnWithoutTheStreams(t *testing.T) {
	cfg := anywhere(t)
	s := launch(t, cfg)
	alice, _ := login(t, s.site, "alice", "phone", "catena.v1")
	for i := range 5 {
		alice.sent(say("bob", fmt.Sprint("m", i), "hello"))
	}
	alice.push(5)
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	repaired := func(accept bool) (string, error) {
		out := new(strings.Builder)
		err := repair(t.Context(), cfg, accept, out, slog.New(slog.DiscardHandler))
		return out.String(), err
	}
	if out, err := repaired(false); err != nil || strings.Contains(out, "stands still") {
		t.Fatalf("repair of a sound folder: %v\n%s", err, out)
	}
	if err := os.RemoveAll(filepath.Join(cfg.Data, "nats")); err != nil {
		t.Fatal(err)
	}
	if out, err := repaired(false); err == nil || !strings.Contains(out, "stands still: it was created at") {
		t.Fatalf("repair without --accept-loss: %v\n%s", err, out)
	}
	ctx, cancel := context.WithCancel(t.Context())
	broken := &tripwire{word: "made again", trip: cancel}
	if err := repair(ctx, cfg, true, broken, slog.New(slog.DiscardHandler)); err == nil {
		t.Fatalf("a repair that was broken off reports success:\n%s", broken.String())
	}
	if out, err := repaired(true); err != nil || !strings.Contains(out, "starts anew at") {
		t.Fatalf("repair: %v\n%s", err, out)
	}

	s = launch(t, cfg)
	bob, connected := login(t, s.site, "bob", "phone", "catena.v1")
	if got := connected.GetHead().GetUserIndex(); got != 5 {
		t.Errorf("head of bob: got %d, want 5", got)
	}
	if got := bob.sent(say("alice", "m1", "back")).GetConversationIndex(); got != 6 {
		t.Errorf("next message: got index %d, want 6", got)
	}
	bob.push(6)
	if got := bob.chain(1); len(got) != 6 {
		t.Errorf("chain of bob: got %d entries, want 6", len(got))
	}
	alice, _ = login(t, s.site, "alice", "phone", "catena.v1")
	if again := alice.sent(say("bob", "m3", "hello")); !again.GetDuplicate() || again.GetConversationIndex() != 4 {
		t.Errorf("a re-send after the repair: got %v, want the first answer", again)
	}
}

// tripwire is an output that calls trip when word is written.
type tripwire struct {
	strings.Builder
	word string
	trip func()
}

func (w *tripwire) Write(p []byte) (int, error) {
	if strings.Contains(string(p), w.word) {
		w.trip()
	}
	return w.Builder.Write(p)
}

// One stream is gone. Its partition stands still, and the others serve.
func TestOneLostStreamDoesNotKeepTheOthersFromServing(t *testing.T) {
	cfg := anywhere(t)
	s := launch(t, cfg)
	alice, _ := login(t, s.site, "alice", "phone", "catena.v1")
	sent := alice.sent(say("bob", "m1", "hello"))
	alice.push(1)
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	layout := chain.Layout{ConvPartitions: cfg.Partitions.Conv, UserPartitions: cfg.Partitions.User}
	lost := layout.Conversation(im.ConversationID(sent.GetConversationId()))
	other := ""
	for i := 0; other == ""; i++ {
		peer := fmt.Sprint("peer", i)
		if layout.Conversation(im.Single("alice", im.UserID(peer))) != lost {
			other = peer
		}
	}
	dir := filepath.Join(cfg.Data, "nats", "jetstream", "$G", "streams", bus.Partition{Kind: bus.Conv, Number: lost}.Stream())
	if _, err := os.Stat(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	s = launch(t, cfg)
	alice, _ = login(t, s.site, "alice", "phone", "catena.v1")
	alice.sent(say(other, "m2", "hello"))
	if got := alice.conversation(sent.GetConversationId()); len(got) != 1 {
		t.Errorf("the conversation of the lost stream: got %d messages, want 1", len(got))
	}
	if !strings.Contains(s.log.String(), "partition stands still") {
		t.Error("the log does not tell")
	}
}
