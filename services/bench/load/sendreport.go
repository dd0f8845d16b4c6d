package load

import (
	"fmt"
	"io"
)

// SendReport is the result of Send. The rate counts acknowledged messages, the delivered rate pushes to the sockets of
// receivers; the latencies are those from the intended time of sending to the receiver's socket.
type SendReport struct {
	Core
	Users    int            `json:"users"`
	Peers    int            `json:"peers"`
	Members  int            `json:"members,omitempty"` // of a group
	Share    float64        `json:"share,omitempty"`   // of the messages that go to groups
	Body     int            `json:"body_bytes"`
	Bound    float64        `json:"bound_p99_ms"`
	Result   Step           `json:"result"`    // of the rate that is reported
	CutShort bool           `json:"cut_short"` // the time ended before a rate was too much
	Unloaded Step           `json:"unloaded"`  // one message at a time, from its sending
	Steps    []Step         `json:"steps"`     // all that were tried
	Verdict  Verdict        `json:"verdict"`
	Refusals map[string]int `json:"refusals"`

	Yardsticks          Yardsticks `json:"yardsticks"`
	RatioToSynced       float64    `json:"ratio_to_raw_publish_synced"`
	DeliveredRatio      float64    `json:"delivered_ratio_to_raw_publish"`
	DeliveredRatioEcho  float64    `json:"delivered_ratio_to_echo"`
	UnloadedRatio       float64    `json:"unloaded_p50_ratio"` // of the unloaded p50 to an echo and two fsyncs
	GeneratorCPUPercent float64    `json:"generator_cpu_share"`
}

func (r *SendReport) finish(b *Bench, searched bool) {
	s := r.Result
	r.Rate, r.DeliveredRate, r.CPU, r.RSS = s.Rate, s.DeliveredRate, s.Cost.CPU, s.Cost.RSS
	r.latencies(s.Delivered)
	for _, v := range r.Verdict.Violations {
		r.trouble("%s", v)
	}
	switch {
	case s.AckedCount == 0:
		r.trouble("no message was acknowledged")
	case r.Verdict.Expected == 0:
		r.trouble("no sampled chain had to hold a message")
	case searched && !s.Kept:
		r.trouble("no rate was kept up within the bound of %.0f ms; the last, %.0f/s, was not%s. Allow more with --p99, or give the search time for lower rates with --within", r.Bound, s.Offered, reason(s))
	case s.Failed != "" || s.Refused > 0 || s.Missing > 0:
		r.trouble("%.0f/s was too much%s", s.Offered, reason(s))
	}
	r.conclude(b, r.Yardsticks.RawPublish)
	r.RatioToSynced = ratio(r.Rate, r.Yardsticks.RawPublishSynced)
	r.DeliveredRatio = ratio(r.DeliveredRate, r.RawPublish)
	r.DeliveredRatioEcho = ratio(r.DeliveredRate, r.Yardsticks.EchoRate)
	if y := r.Yardsticks; y.Fsync.Count > 0 {
		r.UnloadedRatio = ratio(r.Unloaded.Delivered.P50, y.EchoRoundTrip.P50+2*y.Fsync.P50)
	}
	if all := s.Cost.OwnCPU + s.Cost.CPU; s.Cost.CPU > 0 {
		r.GeneratorCPUPercent = s.Cost.OwnCPU / all
	}
}

const cutShortText = "no rate was too much in the time that there was; give the search more with --within"

// reason is why a step was not kept.
func reason(s Step) string {
	switch {
	case s.Failed != "":
		return ": " + s.Failed
	case s.Refused > 0:
		return fmt.Sprintf(": %d messages were refused", s.Refused)
	case s.Missing > 0:
		return fmt.Sprintf(": answers or pushes of %d messages are missing", s.Missing)
	}
	return fmt.Sprintf(": p99 is %.0f ms to the answer, %.0f ms to the receiver", s.Acked.P99, s.Delivered.P99)
}

// brief is a step on one line.
func (s Step) brief() string {
	if s.Kept {
		return fmt.Sprintf("kept; delivered %v", s.Delivered)
	}
	return "not kept" + reason(s)
}

// Print writes the report for people.
func (r *SendReport) Print(w io.Writer) {
	var t table
	t.row("who", "%s", r.who())
	for _, s := range r.Steps {
		t.row(fmt.Sprintf("  %.0f/s", s.Offered), "%s", s.brief())
	}
	s := r.Result
	if r.CutShort {
		t.row("cut short", cutShortText)
	}
	t.row("acknowledged", "%.0f/s, %v", s.Rate, s.Acked)
	t.row("delivered", "%.0f/s, %v", s.DeliveredRate, s.Delivered)
	t.row("pulled", "%.0f entries/s, page %v", r.Verdict.PulledRate, r.Verdict.Pulled)
	s.Cost.rows(&t)
	y := r.Yardsticks
	if y.RawPublish > 0 {
		t.row("raw publish", "%.0f/s; ratio %s acknowledged, %s delivered", y.RawPublish, times(r.Ratio), times(r.DeliveredRatio))
		t.row("raw publish, synced", "%.0f/s; ratio %s", y.RawPublishSynced, times(r.RatioToSynced))
		t.row("gws echo", "%.0f/s; ratio of deliveries %s; round trip %v", y.EchoRate, times(r.DeliveredRatioEcho), y.EchoRoundTrip)
		t.row("fsync", "%v", y.Fsync)
	}
	t.row("one at a time", "%v; p50 is %s times an echo and two fsyncs", r.Unloaded.Delivered, times(r.UnloadedRatio))
	if len(r.Refusals) > 0 {
		t.row("refusals", "%v", r.Refusals)
	}
	v := r.Verdict
	t.row("chains pulled", "%d with %d entries, %d acknowledged messages looked for; %d pushes were missed and %d came twice",
		v.Users, v.Entries, v.Expected, v.Gaps, v.Duplicates)
	r.verdict(&t)
	t.write(w)
}

func (r *SendReport) who() string {
	switch {
	case r.Members == 0:
		return fmt.Sprintf("%d users, each with %d peers, %d bytes", r.Users, r.Peers, r.Body)
	case r.Share < 1:
		return fmt.Sprintf("%d users, each with %d peers, %.0f %% of the messages in groups of %d, %d bytes", r.Users, r.Peers, 100*r.Share, r.Members, r.Body)
	}
	return fmt.Sprintf("%d users in groups of %d, %d bytes", r.Users, r.Members, r.Body)
}
