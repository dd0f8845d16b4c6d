package main

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

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
