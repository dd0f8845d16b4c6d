package check

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/catena-im/catena/services/bench/check/judge"
)

// Result is what a run found, in the form that --json prints.
type Result struct {
	OK        bool   `json:"ok"` // no violation, no trouble, and something was there to be checked
	Run       string `json:"run"`
	Seed      uint64 `json:"seed"`
	Sent      int    `json:"sent"`      // messages, each counted once however often it went out
	Acked     int    `json:"acked"`     // of these, acknowledged
	Refused   int    `json:"refused"`   // of these, refused for good, as an outsider's are
	Delivered int    `json:"delivered"` // user chain entries that SDK devices applied
	judge.Counts
	Faults       int               `json:"faults"` // injected
	FaultsByKind map[string]int    `json:"faults_by_kind"`
	Seconds      float64           `json:"seconds"`
	LongestStall Stall             `json:"longest_stall"`
	Felt         map[string]Felt   `json:"felt_by_kind"` // of the harms of the server's processes
	Incidents    []Incident        `json:"incidents"`    // these harms, one by one
	Violations   []judge.Violation `json:"violations"`   // the first of each kind
	Troubles     []string          `json:"troubles"`     // what kept the run from being checked as it should
}

func (r *run) result(v judge.Verdict) Result {
	messages := r.journal.asked()
	r.journal.mu.Lock()
	defer r.journal.mu.Unlock()
	incidents := append([]Incident{}, r.journal.incidents...)
	stall := feel(r.started, r.talking, messages, incidents)
	res := Result{
		LongestStall: stall, Felt: byKind(incidents), Incidents: incidents,
		Run: r.Run, Seed: r.Seed, Sent: v.Sent, Acked: v.Acked, Refused: v.Refused, Delivered: v.Delivered, Counts: v.Counts,
		FaultsByKind: maps.Clone(r.journal.faults), Seconds: time.Since(r.started).Seconds(),
		Violations: append([]judge.Violation{}, v.Violations...), Troubles: append([]string{}, r.journal.troubles...),
	}
	for _, n := range res.FaultsByKind {
		res.Faults += n
	}
	res.OK = v.Clean() && len(res.Troubles) == 0
	return res
}

// unfinished is the result of a run that was not judged.
func (r *run) unfinished() Result {
	s := r.status()
	res := r.result(judge.Verdict{})
	res.OK, res.Sent, res.Acked, res.Delivered = false, s.Sent, s.Acked, s.Delivered
	return res
}

// Print writes the result for people.
func (r Result) Print(w io.Writer) {
	fmt.Fprintf(w, "run %s, seed %d, %.0f s: %d sent, %d acknowledged, %d refused, %d delivered\n",
		r.Run, r.Seed, r.Seconds, r.Sent, r.Acked, r.Refused, r.Delivered)
	fmt.Fprintf(w, "faults injected: %d", r.Faults)
	for _, kind := range slices.Sorted(maps.Keys(r.FaultsByKind)) {
		fmt.Fprintf(w, "  %s %d", kind, r.FaultsByKind[kind])
	}
	fmt.Fprintln(w)
	r.printStalls(w)
	for _, kind := range judge.Kinds() {
		fmt.Fprintf(w, "  %-16s %d\n", kind, *r.Counts.Of(kind))
	}
	for _, v := range r.Violations {
		fmt.Fprintln(w, v)
	}
	if shown, all := len(r.Violations), r.Counts.Total(); shown < all {
		fmt.Fprintf(w, "… and %d more\n", all-shown)
	}
	for _, t := range r.Troubles {
		fmt.Fprintln(w, "trouble:", t)
	}
	fmt.Fprintln(w, r.verdict())
}

// printStalls writes what clients felt of the harms.
func (r Result) printStalls(w io.Writer) {
	s := r.LongestStall
	fmt.Fprintf(w, "longest stall: %.2f s without an acknowledgement, at %.0f s, %s\n", s.Seconds, s.At, orDefault(strings.TrimSpace(s.Fault+" "+s.Victim), "no process was harmed"))
	for _, kind := range slices.Sorted(maps.Keys(r.Felt)) {
		f := r.Felt[kind]
		fmt.Fprintf(w, "  %-22s %3d times, stall %.2f s, slowest answer %.2f s, %d refused by a fence\n", kind, f.Times, f.Stall, f.Slowest, f.Refused)
	}
}

func (r Result) verdict() string {
	switch {
	case r.OK:
		return "PASS: nothing lost, repeated, reordered or shown to the wrong user"
	case r.Counts.Total() > 0:
		return fmt.Sprintf("FAIL: %d violations", r.Counts.Total())
	case r.Acked == 0:
		return "FAIL: no message was acknowledged, so nothing was checked"
	}
	return "FAIL: the run could not be checked as it should"
}

// Status is where a run stands.
type Status struct {
	Phase     string
	Elapsed   time.Duration
	Sent      int
	Acked     int
	Delivered int
	Pending   int // queued and not answered
	Faults    int
}

// String is the status on one line.
func (s Status) String() string {
	return fmt.Sprintf("%3.0fs %s: %d sent, %d acknowledged, %d delivered, %d waiting, %d faults",
		s.Elapsed.Seconds(), s.Phase, s.Sent, s.Acked, s.Delivered, s.Pending, s.Faults)
}

// report tells the status once a second until ctx ends.
func (r *run) report(ctx context.Context) {
	if r.deps.Progress == nil {
		return
	}
	for pause(ctx, time.Second) {
		r.deps.Progress(r.status())
	}
}

func (r *run) status() Status {
	s := Status{Elapsed: time.Since(r.started), Pending: int(r.pending())}
	r.mu.Lock()
	s.Phase = r.doing
	if r.harming != "" {
		s.Phase += " through " + r.harming
	}
	r.mu.Unlock()
	r.journal.mu.Lock()
	defer r.journal.mu.Unlock()
	s.Sent, s.Acked, s.Delivered = len(r.journal.sends), len(r.journal.acked), r.journal.delivered
	for _, n := range r.journal.faults {
		s.Faults += n
	}
	return s
}

// phase names what the run is doing.
func (r *run) phase(doing string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.doing = doing
}
