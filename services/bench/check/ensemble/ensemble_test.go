package ensemble

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// staged is a cluster of no processes with a tool that writes down how it was called.
func staged(t *testing.T, script string) (*Ensemble, func() []string) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("the tool of this test is a shell script, and a cluster needs Unix signals anyway")
	}
	dir := t.TempDir()
	calls, tool := filepath.Join(dir, "calls"), filepath.Join(dir, "tool")
	if err := os.WriteFile(tool, []byte("#!/bin/sh\necho \"$*\" >>'"+calls+"'\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	state := `{"urls": ["ws://a/ws", "ws://b/ws"], "token_key": "key", "processes": [
		{"name": "nats-1", "kind": "nats"}, {"name": "nats-2", "kind": "nats"}, {"name": "nats-3", "kind": "nats"},
		{"name": "sequencer-1", "kind": "sequencer"}, {"name": "edge-1", "kind": "edge"}]}`
	if err := os.WriteFile(filepath.Join(dir, "cluster.json"), []byte(state), 0o600); err != nil {
		t.Fatal(err)
	}
	e, err := Open(Config{Dir: dir, Tool: []string{tool}})
	if err != nil {
		t.Fatal(err)
	}
	return e, func() []string {
		text, err := os.ReadFile(calls)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Split(strings.TrimSpace(strings.ReplaceAll(string(text), " --dir "+dir, "")), "\n")
	}
}

func TestHarmsAreOfTheProcessesThatThereAre(t *testing.T) {
	e, _ := staged(t, "")
	var kinds []string
	for _, h := range e.Harms() {
		kinds = append(kinds, h.Kind)
	}
	want := []string{"kill-sequencer", "kill-edge", "kill-nats", "lose-sequencer", "pause-sequencer", "stop-sequencer", "pause-edge",
		"kill-nats-leader", "lose-two-nats"}
	if !slices.Equal(kinds, want) {
		t.Errorf("got %v, want %v", kinds, want)
	}
}

func TestHarmIsMadeGoodWhenTheRunIsInterrupted(t *testing.T) {
	e, calls := staged(t, "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_ = e.frozen(ctx, beyond, "sequencer-1")
	got := calls()
	if last := got[len(got)-1]; last != "resume sequencer-1" {
		t.Errorf("the last call is %q of %q", last, got)
	}
}

func TestVictimIsKilledAndStarted(t *testing.T) {
	e, calls := staged(t, "")
	h := e.on("sequencer", "stop-sequencer", 0, e.stopped)
	victim, err := h.Do(t.Context(), rand.New(rand.NewPCG(1, 1)))
	if err != nil || victim != "sequencer-1" {
		t.Errorf("got %s, %v", victim, err)
	}
	if got, want := calls(), []string{"stop sequencer-1", "start sequencer-1"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWhatTheToolSaysIsInTheError(t *testing.T) {
	e, _ := staged(t, "echo the disk is full >&2; exit 1\n")
	_, err := e.do(t.Context(), "kill", "edge-1")
	if err == nil || !strings.Contains(err.Error(), "the disk is full") || !strings.Contains(err.Error(), "kill edge-1") {
		t.Errorf("got %v", err)
	}
}

func TestProcessThatEndedByItselfIsReported(t *testing.T) {
	e, _ := staged(t, `echo "process      state"
for p in nats-1 nats-2 nats-3 edge-1; do echo "$p    ready (pid 7)  log"; done
echo "sequencer-1  stopped  log"
`)
	err := e.Sound(t.Context())
	if err == nil || !strings.Contains(err.Error(), "sequencer-1") || strings.Contains(err.Error(), "edge-1") {
		t.Errorf("got %v", err)
	}
}

func TestFolderWithoutAClusterSaysWhatToDo(t *testing.T) {
	_, err := Open(Config{Dir: t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), "go tool task cluster") {
		t.Errorf("got %v", err)
	}
}

func TestMostLeading(t *testing.T) {
	for jsz, want := range map[string]string{
		`{"account_details": [{"stream_detail": [{"cluster": {"leader": "b"}}, {"cluster": {"leader": "a"}}]}]}`:                                   "a",
		`{"account_details": [{"stream_detail": [{"cluster": {"leader": "b"}}]}, {"stream_detail": [{"cluster": {"leader": "b"}}, {}]}]}`:          "b",
		`{"account_details": [{"stream_detail": [{"cluster": {"leader": "a"}}, {"cluster": {"leader": "b"}}, {"cluster": {"leader": "b"}}]}, {}]}`: "b",
	} {
		if got, err := mostLeading([]byte(jsz)); err != nil || got != want {
			t.Errorf("%s: got %q, %v, want %q", jsz, got, err, want)
		}
	}
	for _, jsz := range []string{"", "{}", `{"account_details": [{"stream_detail": [{"cluster": {}}]}]}`} {
		if got, err := mostLeading([]byte(jsz)); err == nil {
			t.Errorf("%s: got %q", jsz, got)
		}
	}
}
