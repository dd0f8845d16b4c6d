package main

import (
	"bytes"
	"encoding/json"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/catena-im/catena/services/bench/check"
)

// runCheck runs the check command and returns what it prints.
func runCheck(t *testing.T, args ...string) (stdout string, err error) {
	t.Helper()
	t.Setenv(envURL, "")
	cmd := newCheckCommand()
	var out, progress bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&progress)
	cmd.SetArgs(args)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	err = cmd.ExecuteContext(t.Context())
	return out.String(), err
}

func TestCheckSaysWhatIsWrongWithItsFlags(t *testing.T) {
	data := t.TempDir()
	if _, err := LoadOrCreateKey(data); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"two servers", []string{"--spawn", "--url", "ws://h/ws"}, "--spawn"},
		{"no server", []string{"--data", t.TempDir()}, "no server found"},
		{"no key", []string{"--url", "ws://127.0.0.1:1/ws", "--data", t.TempDir()}, keyFile},
		{"no key file", []string{"--url", "ws://127.0.0.1:1/ws", "--token-key", filepath.Join(data, "none")}, "none"},
		{"a server that is not ours to kill", []string{"--url", "ws://127.0.0.1:1/ws", "--data", data, "--faults", "kill"}, "--faults kill needs a server"},
		{"harms without a cluster", []string{"--url", "ws://127.0.0.1:1/ws", "--data", t.TempDir(), "--faults", "all", "--harms", "kill-*"}, "--harms picks"},
		{"harms without faults", []string{"--cluster", t.TempDir(), "--harms", "kill-*"}, "--harms picks"},
		{"too few users", []string{"--url", "ws://127.0.0.1:1/ws", "--data", data, "--users", "2"}, "Users"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out, err := runCheck(t, tt.args...)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("check %v: %v, want an error about %q", tt.args, err, tt.want)
			}
			if out != "" {
				t.Errorf("check %v prints %q to stdout", tt.args, out)
			}
		})
	}
}

func TestHarmsAreChosenByPatterns(t *testing.T) {
	all := []check.Harm{{Kind: "kill-edge"}, {Kind: "kill-tikv"}, {Kind: "cut-edge"}}
	for patterns, want := range map[string]string{
		"*": "kill-edge kill-tikv cut-edge", "kill-*": "kill-edge kill-tikv", "*-edge,cut-edge": "kill-edge cut-edge",
	} {
		chosen, err := choose(all, strings.Split(patterns, ","))
		var got []string
		for _, h := range chosen {
			got = append(got, h.Kind)
		}
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%s: got %q, %v, want %s", patterns, got, err, want)
		}
	}
	for _, pattern := range []string{"kill", "["} {
		if _, err := choose(all, []string{"*", pattern}); err == nil {
			t.Errorf("%q is taken", pattern)
		}
	}
	if _, err := choose(all, []string{"kil"}); err == nil || !strings.Contains(err.Error(), "kill-edge, kill-tikv, cut-edge") {
		t.Errorf("got %v, want what there is", err)
	}
}

func TestCheckPrintsOneObjectEvenWhenTheServerIsNotThere(t *testing.T) {
	data := t.TempDir()
	if _, err := LoadOrCreateKey(data); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "ws://" + l.Addr().String() + "/ws"
	l.Close()
	out, err := runCheck(t, "--json", "--url", url, "--data", data)
	if err == nil {
		t.Error("a check of nothing succeeds")
	}
	var result check.Result
	dec := json.NewDecoder(strings.NewReader(out))
	if err := dec.Decode(&result); err != nil {
		t.Fatalf("decode %q: %v", out, err)
	}
	if result.OK || len(result.Troubles) != 1 || dec.More() {
		t.Errorf("printed %s, want one object that is not ok and says why", out)
	}
}
