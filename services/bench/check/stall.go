package check

import (
	"slices"
	"time"
)

// Stall is a time in which no message was acknowledged though devices talked.
type Stall struct {
	Seconds float64 `json:"seconds"`
	At      float64 `json:"at_seconds"` // since the run began
	Fault   string  `json:"fault"`      // the harm that it belongs to; empty when it met none
	Victim  string  `json:"victim"`
}

// Felt is what clients felt of one kind of harm.
type Felt struct {
	Times   int     `json:"times"`
	Refused int     `json:"fence_refusals"`  // see Outcome
	Stall   float64 `json:"stall_seconds"`   // the longest time without any acknowledgement
	Slowest float64 `json:"slowest_seconds"` // the longest wait for an answer
}

// asked is a message of a device with the time in which it was queued and, when it was, answered.
type asked struct {
	span
	acked bool // else it was refused, or not answered
}

// feel fills in what the incidents did to the messages and returns the longest stall of the load.
func feel(started time.Time, load span, messages []asked, incidents []Incident) Stall {
	var answers []time.Time
	for _, m := range messages {
		if m.end.IsZero() {
			continue
		}
		if m.acked {
			answers = append(answers, m.end)
		}
		for i := range incidents {
			if in := &incidents[i]; m.begin.Before(in.end) && m.end.After(in.begin) {
				in.Slowest = max(in.Slowest, m.end.Sub(m.begin).Seconds())
			}
		}
	}
	slices.SortFunc(answers, time.Time.Compare)
	var longest Stall
	last := load.begin
	for _, at := range append(answers, load.end) {
		if at.Before(load.begin) || at.After(load.end) {
			continue
		}
		s := Stall{Seconds: at.Sub(last).Seconds(), At: last.Sub(started).Seconds()}
		for i := range incidents {
			if in := &incidents[i]; last.Before(in.end) && at.After(in.begin) {
				in.Stall = max(in.Stall, s.Seconds)
				s.Fault, s.Victim = in.Kind, in.Victim
			}
		}
		if s.Seconds > longest.Seconds {
			longest = s
		}
		last = at
	}
	return longest
}

// byKind sums incidents up.
func byKind(incidents []Incident) map[string]Felt {
	kinds := map[string]Felt{}
	for _, in := range incidents {
		f := kinds[in.Kind]
		kinds[in.Kind] = Felt{f.Times + 1, f.Refused + in.Refused, max(f.Stall, in.Stall), max(f.Slowest, in.Slowest)}
	}
	return kinds
}
