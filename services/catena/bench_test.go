package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// benched is a bench command line, and what its report must hold besides what all reports hold.
type benched struct {
	args  string
	above []string // numbers of the report that are above 0
	plot  bool

	out string
	err error
}

// core are the numbers that every report has.
var core = []string{"rate", "delivered_rate", "p50_ms", "p99_ms", "max_ms", "cpu_s_per_million", "rss_mb", "raw_publish_rate", "ratio_to_raw_publish"}

func TestBenchCommandsReport(t *testing.T) {
	t.Setenv(asCatena, "1") // for the child processes
	data, _ := serve(t)
	pictures := t.TempDir()
	tests := []benched{
		{args: "send --rate 100 --users 10 --peers 2", above: []string{"rate", "delivered_rate", "p50_ms", "rss_mb", "raw_publish_rate"}},
		{args: "send --users 10 --members 5 --share 0.5 --p99 20s --duration 250ms --warm-up 50ms --within 30s --yardsticks 0", above: []string{"rate"}, plot: true},
		{args: "fanout --members 3,6 --rate 30 --yardsticks 0", above: []string{"rate", "delivered_rate"}, plot: true},
		{args: "idle --connections 20 --settle 10ms", above: []string{"rate", "rss_mb", "raw_publish_rate"}, plot: true},
		{args: "pull --readers 2 --messages 300 --conversations 30 --duration 50ms", above: []string{"rate", "delivered_rate", "ratio_to_raw_publish"}},
		{args: "login --clients 20 --bystanders 4 --back-within 30s", above: []string{"rate", "raw_publish_rate"}},
		{args: "failover --spawn --users 4 --rate 50 --duration 1s --yardsticks 0", above: []string{"rate", "delivered_rate", "max_ms", "stall_ms"}},
		{args: "yardstick --connections 20 --settle 10ms --entries 2000", above: []string{"rate", "raw_publish_rate"}, plot: true},
	}
	var all sync.WaitGroup
	for i := range tests {
		all.Go(func() { tests[i].run(t, data, filepath.Join(pictures, string(rune('a'+i)))) })
	}
	all.Wait()
	for i := range tests {
		t.Run(tests[i].args, tests[i].check)
	}
}

func (b *benched) run(t *testing.T, data, picture string) {
	args := append([]string{"bench"}, strings.Fields(b.args)...)
	args = append(args, "--json", "--dir", t.TempDir())
	if !strings.Contains(b.args, "--yardsticks") {
		args = append(args, "--yardsticks", "20ms")
	}
	if b.plot {
		args = append(args, "--plot", picture)
	}
	if kind := args[1]; kind == "send" || kind == "fanout" {
		args = append(args, "--duration", "200ms", "--warm-up", "50ms")
	}
	if !strings.Contains(b.args, "--spawn") {
		args = append(args, "--data", data)
	}
	b.out, b.err = run(t, args...)
	if b.err != nil || !b.plot {
		return
	}
	if image, err := os.ReadFile(picture); err != nil || !strings.HasPrefix(string(image), "<svg ") {
		b.err = errors.Join(errors.New("the plot is no SVG image"), err)
	}
}

func (b *benched) check(t *testing.T) {
	if b.err != nil {
		t.Fatalf("%v\n%s", b.err, b.out)
	}
	lines := strings.Split(strings.TrimSpace(b.out), "\n")
	var report map[string]any
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &report); err != nil {
		t.Fatalf("the last line is no JSON object: %v\n%s", err, b.out)
	}
	if report["ok"] != true {
		t.Errorf("not ok: %v", report["troubles"])
	}
	for _, name := range core {
		if _, ok := report[name].(float64); !ok {
			t.Errorf("%s is missing", name)
		}
	}
	for _, name := range b.above {
		if v, _ := report[name].(float64); v <= 0 {
			t.Errorf("%s is %v", name, report[name])
		}
	}
}

func TestBenchRefusesWhatItCannotMeasure(t *testing.T) {
	t.Setenv(envURL, "")
	data := t.TempDir()
	tests := []struct {
		args, want string
		code       int
	}{
		{"bench send --data " + data, "let bench start one with --spawn", 1},
		{"bench send --spawn --url ws://127.0.0.1:1/ws", "give one of them", 2},
		{"bench send --rate 0 --spawn", "give messages per second, or search", 2},
		{"bench send --durability sometimes --spawn", "give fsync or interval", 2},
		{"bench send --server-flag=--cell=x --data " + data, "that --spawn starts", 2},
		{"bench send extra --spawn", "takes 0 arguments, not 1", 2},
		{"bench yardstick --yardsticks 0", "there are no yardsticks", 1},
	}
	for _, tt := range tests {
		_, err := run(t, strings.Fields(tt.args)...)
		if err == nil || !strings.Contains(err.Error(), tt.want) || exitCode(err) != tt.code {
			t.Errorf("catena %s: %v (exit code %d), want %q (%d)", tt.args, err, exitCode(err), tt.want, tt.code)
		}
	}
}
