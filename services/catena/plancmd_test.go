package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/catena-im/catena/services/bench/plan"
)

// What docs/CAPACITY.md shows is what the command prints: each block that begins with "$ catena plan" is run.
func TestCapacityPageIsWhatPlanPrints(t *testing.T) {
	page, err := os.ReadFile("../../docs/CAPACITY.md")
	if err != nil {
		t.Fatal(err)
	}
	const prompt = "$ catena plan"
	blocks := strings.Split(string(page), "```\n"+prompt)[1:]
	if want := 4; len(blocks) < want { // three sizes and the units
		t.Fatalf("the page has %d blocks that begin with %q, want at least %d", len(blocks), prompt, want)
	}
	for _, b := range blocks {
		b, _, closed := strings.Cut(b, "```")
		flags, want, _ := strings.Cut(b, "\n")
		if !closed {
			t.Errorf("the block of %s%s does not end", prompt, flags)
		}
		got, err := run(t, append([]string{"plan"}, strings.Fields(flags)...)...)
		if err != nil {
			t.Errorf("%s%s: %v", prompt, flags, err)
		} else if got != want {
			t.Errorf("%s%s: the page is out of date; it should show\n%s", prompt, flags, got)
		}
	}
}

// The rows of the page that begin with flags are the plans for them, in short.
func TestRowsOfCapacityPageArePlans(t *testing.T) {
	page, err := os.ReadFile("../../docs/CAPACITY.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	for line := range strings.Lines(string(page)) {
		rest, isRow := strings.CutPrefix(line, "| `--users ")
		if !isRow {
			continue
		}
		rows++
		flags, _, _ := strings.Cut("--users "+rest, "`")
		out, err := run(t, append([]string{"plan", "--json"}, strings.Fields(flags)...)...)
		if err != nil {
			t.Errorf("plan %s: %v", flags, err)
			continue
		}
		var p plan.Plan
		if err := json.Unmarshal([]byte(out), &p); err != nil {
			t.Fatal(err)
		}
		of := make(map[string]plan.Part)
		for _, part := range p.Parts {
			of[part.Name] = part
		}
		nats, tikv := of["NATS server"], of["TiKV store"]
		want := fmt.Sprintf("| `%s` | %d | %d %s | %d %s | %d |\n", flags, p.Cells, nats.Nodes, nats.Bound, tikv.Nodes, tikv.Bound, p.Totals.Nodes)
		if line != want {
			t.Errorf("the page is out of date; it should have the row\n%s", want)
		}
	}
	if rows == 0 {
		t.Error("the page has no rows that begin with flags")
	}
}

func TestPlanAsJSON(t *testing.T) {
	out, err := run(t, "plan", "--users", "2.5M", "--messages-per-day", "40", "--node-memory", "32GiB", "--disk", "2TB", "--body", "1kB", "--json")
	if err != nil {
		t.Fatal(err)
	}
	var p plan.Plan
	if err := json.Unmarshal([]byte(out), &p); err != nil {
		t.Fatal(err)
	}
	c := p.Config
	if c.Users != 2_500_000 || c.MessagesPerDay != 40 || c.NodeMemory != 32<<30 || c.Disk != 2e12 || c.Body != 1000 {
		t.Errorf("it planned for %+v", c)
	}
	if p.Cells < 1 || len(p.Parts) != 5 || len(p.Limits) == 0 {
		t.Errorf("the plan is %+v", p)
	}
}

func TestWrongPlansSayWhatIsRight(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{nil, "--users is missing\nusage: catena plan --users COUNT --messages-per-day N"},
		{[]string{"--users", "1M"}, "--messages-per-day is missing"},
		{[]string{"--users", "many", "--messages-per-day", "40"}, "give a number, such as 250000, 250k, 100M or 1B"},
		{[]string{"--users", "NaN", "--messages-per-day", "40"}, "give a number, such as"},
		{[]string{"--users", "1M", "--messages-per-day", "40000000"}, "--messages-per-day is out of range (0.001 to 10000): give what one user sends in a day, not all of them"},
		{[]string{"--users", "1M", "--messages-per-day", "40", "--disk", "4 bananas"}, "is not a size"},
		{[]string{"--users", "1M", "--messages-per-day", "40", "--replicas", "2"}, "--replicas is 2: give 1, 3 or 5"},
		{[]string{"--user", "1M"}, "see: catena plan --help"},
	} {
		_, err := run(t, append([]string{"plan"}, tt.args...)...)
		if err == nil || !strings.Contains(err.Error(), tt.want) || exitCode(err) != 2 {
			t.Errorf("catena plan %s: %v (exit code %d), want %q (2)", strings.Join(tt.args, " "), err, exitCode(err), tt.want)
		}
	}
}
