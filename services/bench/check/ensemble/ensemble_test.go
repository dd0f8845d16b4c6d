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
		{"name": "links", "kind": "links"}, {"name": "pd", "kind": "pd"}, {"name": "tikv", "kind": "tikv"},
		{"name": "nats-1", "kind": "nats"}, {"name": "nats-2", "kind": "nats"}, {"name": "nats-3", "kind": "nats"},
		{"name": "sequencer-1", "kind": "sequencer", "log": "` + filepath.Join(dir, "sequencer-1.log") + `"}, {"name": "edge-1", "kind": "edge"}]}`
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
		if h.Fences != (h.Kind == "isolate-sequencer") {
			t.Errorf("%s: Fences is %t", h.Kind, h.Fences)
		}
	}
	want := []string{"kill-sequencer", "kill-edge", "kill-nats", "kill-tikv", "kill-pd", "lose-sequencer", "pause-sequencer", "stop-sequencer",
		"pause-edge", "pause-tikv", "slow-tikv", "kill-nats-leader", "lose-two-nats", "rolling-restart", "cut-sequencer-nats",
		"silence-sequencer-nats", "mute-sequencer", "deafen-sequencer", "cut-edge", "isolate-nats-leader", "isolate-sequencer",
		"cut-sequencer-tikv", "silence-sequencer-tikv"}
	if !slices.Equal(kinds, want) {
		t.Errorf("got %v, want %v", kinds, want)
	}
	e.is.Processes = slices.DeleteFunc(e.is.Processes, func(p process) bool { return p.Kind == "tikv" || p.Kind == "pd" })
	for _, h := range e.Harms() {
		if strings.Contains(h.Kind, "tikv") || strings.Contains(h.Kind, "pd") || h.Kind == "isolate-sequencer" {
			t.Errorf("%s of a cluster on a TiKV of its own", h.Kind)
		}
	}
	e.is.Processes = e.is.Processes[1:]
	if got := e.cuts(); len(got) > 0 {
		t.Errorf("without links there are %d cuts", len(got))
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
	done, err := h.Do(t.Context(), rand.New(rand.NewPCG(1, 1)))
	if err != nil || done.Victim != "sequencer-1" {
		t.Errorf("got %+v, %v", done, err)
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

func TestWhatIsNotWholeIsReported(t *testing.T) {
	e, _ := staged(t, `echo "a word of warning" >&2
echo '{"processes": [{"name": "edge-1", "state": "ready"}, {"name": "sequencer-1", "state": "stopped"}],
"links": [{"from": "tikv", "to": "pd", "fault": {"cut": true}}]}'`)
	err := e.Sound(t.Context())
	if err == nil || !strings.Contains(err.Error(), "sequencer-1 is stopped") || !strings.Contains(err.Error(), "from tikv to pd") || strings.Contains(err.Error(), "edge-1") {
		t.Errorf("got %v", err)
	}
}

func TestProcessThatIsNotReadyMayBecomeIt(t *testing.T) {
	e, calls := staged(t, `if [ "$(grep -c status "$(dirname "$0")/calls")" = 1 ]
then echo '{"processes": [{"name": "nats-1", "state": "not ready", "why": "an election"}]}'
else echo '{"processes": [{"name": "nats-1", "state": "ready"}]}'; fi
`)
	if err := e.Sound(t.Context()); err != nil {
		t.Error(err)
	}
	if got := calls(); len(got) != 2 {
		t.Errorf("asked %q", got)
	}
}

// interrupted is a run that has ended already.
func interrupted(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

func TestCutsAreHealed(t *testing.T) {
	for name, tt := range map[string]struct {
		do   func(*Ensemble) deed
		want []string
	}{
		"cut":     {func(e *Ensemble) deed { return e.cut("nats-*", "--silent") }, []string{"cut sequencer-1 nats-* --silent", "heal sequencer-1 nats-*"}},
		"deafen":  {func(e *Ensemble) deed { return e.deafened }, []string{"cut --one-way nats-* sequencer-1", "heal nats-* sequencer-1"}},
		"isolate": {func(e *Ensemble) deed { return e.isolated }, []string{"heal sequencer-1 tikv", "heal sequencer-1 nats-*"}},
		"slow":    {func(e *Ensemble) deed { return e.slowed }, []string{"slow sequencer-1 150ms", "slow sequencer-1 0s"}},
	} {
		e, calls := staged(t, "")
		_ = tt.do(e)(interrupted(t), beyond, "sequencer-1")
		got := calls()
		if !slices.Equal(got[len(got)-1:], tt.want[1:]) {
			t.Errorf("%s, interrupted: got %q, want %q", name, got, tt.want)
		}
		if name == "isolate" {
			continue // it would wait for refusals
		}
		_ = tt.do(e)(t.Context(), 0, "sequencer-1")
		if got = calls(); !slices.Equal(got[len(got)-2:], tt.want) {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
}

func TestRefusalsOfTheFenceAreCounted(t *testing.T) {
	e, _ := staged(t, "")
	log := e.logOf("sequencer-1")
	line := `level=WARN msg="` + fenced + `" partition=conv.001` + "\n"
	done, err := e.watched("sequencer-1", func(string) error { return os.WriteFile(string(log), []byte(line+"other\n"+line), 0o600) })
	if err != nil || done.Refused != 2 {
		t.Errorf("got %+v, %v", done, err)
	}
	if err := await(t.Context(), beyond, []logFile{log}, fenced, 1); err != nil {
		t.Error(err)
	}
	if done, err = e.watched("edge-1", func(string) error { return nil }); err != nil || done.Refused != 0 {
		t.Errorf("of a process without a log: %+v, %v", done, err)
	}
}

// TestSequencersSayWhatIsCounted reads the source: a line that is worded anew there would be counted no more.
func TestSequencersSayWhatIsCounted(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "..", "..", "..", "pkg", "partition", "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var all []byte
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, text...)
	}
	for _, line := range []string{takenOver, `"` + fenced + `"`} {
		if !strings.Contains(string(all), line) {
			t.Errorf("pkg/partition does not say %s any more", line)
		}
	}
}

func TestRollingRestartTakesOneAfterTheOther(t *testing.T) {
	e, calls := staged(t, "")
	if _, err := e.rolling(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, name := range []string{"nats-1", "nats-2", "nats-3", "pd", "tikv", "sequencer-1", "edge-1"} {
		want = append(want, "stop "+name, "start "+name)
	}
	if got := calls(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
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
