package load

import (
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/catena-im/catena/services/bench/latency"
)

// TestRateLeavesOutTheWarmUp: a step that warms up for one second and measures for two, with 10 messages a second whose
// answers take 100 ms.
func TestRateLeavesOutTheWarmUp(t *testing.T) {
	s := newStep(10, time.Second, 2*time.Second)
	s.begin()
	for k := range 30 {
		due := time.Duration(k) * 100 * time.Millisecond
		s.sent.Add(1)
		s.acked.record(k, due, s.start.Add(due+100*time.Millisecond))
		s.delivered.record(k, due, s.start.Add(due+300*time.Millisecond))
	}
	r := s.result(0, Usage{}, 400*time.Millisecond)
	if r.AckedCount != 30 || r.Acked.Count != 20 || math.Abs(r.Rate-10) > 1e-9 {
		t.Errorf("acknowledged: got %d, %d of them measured, %.3f/s; want 30, 20, 10", r.AckedCount, r.Acked.Count, r.Rate)
	}
	if math.Abs(r.Acked.P99-100) > 1 || math.Abs(r.Delivered.P50-300) > 1 {
		t.Errorf("latencies: %v, %v", r.Acked, r.Delivered)
	}
	if math.Abs(r.DeliveredRate-10) > 1e-9 {
		t.Errorf("delivered: got %.3f/s, want 10", r.DeliveredRate)
	}
	if !r.Kept {
		t.Errorf("not kept%s", reason(r))
	}
}

// TestRateFallsWhenAnswersComeMoreSlowly: ten messages in a second, answered within two.
func TestRateFallsWhenAnswersComeMoreSlowly(t *testing.T) {
	s := newStep(10, 0, time.Second)
	s.begin()
	for k := range 11 {
		s.acked.record(k, time.Duration(k)*100*time.Millisecond, s.start.Add(time.Second+time.Duration(k)*200*time.Millisecond))
	}
	if r := s.result(0, Usage{}, 0); math.Abs(r.Rate-5.5) > 1e-9 {
		t.Errorf("got %.3f/s, want 5.5", r.Rate)
	}
}

func TestStepIsNotKeptForAReason(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(*step) (missing int64)
		want  string
	}{
		{"refused", func(s *step) int64 { s.refused.Add(3); return 0 }, "3 messages were refused"},
		{"missing", func(*step) int64 { return 2 }, "of 2 messages are missing"},
		{"failed", func(s *step) int64 { s.fail("enough of %s", "this"); return 0 }, "enough of this"},
		{"late", func(s *step) int64 { s.delivered.record(0, time.Second, s.start.Add(1200*time.Millisecond)); return 0 }, "200 ms to the receiver"},
	}
	for _, tt := range tests {
		s := newStep(1, 0, 2*time.Second)
		s.begin()
		for k := range 2 {
			s.acked.record(0, time.Duration(k)*time.Second, s.start.Add(time.Duration(k)*time.Second))
		}
		r := s.result(tt.spoil(s), Usage{}, 100*time.Millisecond)
		if r.Kept || !strings.Contains(r.brief(), tt.want) {
			t.Errorf("%s: kept %v, %q; want %q", tt.name, r.Kept, r.brief(), tt.want)
		}
	}
}

func kept(rate float64) Step { return Step{Offered: rate, Kept: true} }

func broken(rate float64) Step { return Step{Offered: rate} }

func TestReportIsAboutTheHighestRateThatWasKept(t *testing.T) {
	tests := []struct {
		name  string
		steps []Step
		want  float64
	}{
		{"the last", []Step{kept(10), broken(20), kept(14)}, 14},
		{"another", []Step{kept(10), kept(14), broken(20), broken(17)}, 14},
		{"none kept", []Step{broken(20), broken(10)}, 10},
		{"nothing", nil, 0},
	}
	for _, tt := range tests {
		if got := chosen(tt.steps); got.Offered != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got.Offered, tt.want)
		}
	}
}

// TestSearchThatTimeCutShortSaysSo: a rate is the highest only where a higher one was too much, or none was allowed.
func TestSearchThatTimeCutShortSaysSo(t *testing.T) {
	tests := []struct {
		name  string
		steps []Step
		want  bool
	}{
		{"each was kept", []Step{kept(100), kept(200)}, true},
		{"the next was too much", []Step{kept(100), broken(300), kept(200)}, false},
		{"a lower one met a pause", []Step{broken(100), kept(200)}, true},
		{"the most was kept", []Step{kept(100), kept(1000)}, false},
		{"none was kept", []Step{broken(100)}, false},
	}
	for _, tt := range tests {
		if got := cutShort(tt.steps, chosen(tt.steps), 1000); got != tt.want {
			t.Errorf("%s: got %v", tt.name, got)
		}
	}
}

func TestCostIsPerMillion(t *testing.T) {
	var before, after Usage
	before.known, before.counted, after.known, after.counted = true, true, true, true
	after.server.CPU, after.server.Resident, after.streamed, after.own = 3*time.Second, 50e6, 30, time.Second
	before.server.CPU, before.server.Resident, before.streamed = time.Second, 40e6, 10
	if got, want := after.since(before).per(1000), (Cost{CPU: 2000, OwnCPU: 1000, RSS: 50, Streamed: 0.02}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := (Usage{}).per(0); got != (Cost{}) {
		t.Errorf("of what is not known: %+v", got)
	}
}

func TestStallIsTheLongestSilence(t *testing.T) {
	var l timeline
	start := time.Now()
	for _, at := range []int{0, 10, 30, 25, 500, 510} { // one came out of order
		l.add(0, start, start.Add(time.Duration(at)*time.Millisecond))
	}
	if got, want := l.stall(), 470*time.Millisecond; got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestSendPlotHasALineForEachQuantile(t *testing.T) {
	q := latency.Quantiles{Count: 1, P50: 2, P99: 9}
	r := &SendReport{Steps: []Step{{Offered: 200, Acked: q, Delivered: q}, {Offered: 100, Acked: q, Delivered: q}}}
	image := string(r.Plot())
	for _, want := range []string{"acknowledged p50", "delivered p99", "messages per second"} {
		if !strings.Contains(image, want) {
			t.Errorf("%q is missing in the plot", want)
		}
	}
	r.Steps = r.Steps[:1]
	if r.Plot() != nil {
		t.Error("a plot of one point")
	}
}

func TestWhatIsLikelyIsBelowWhatWasNotKept(t *testing.T) {
	soon, late := latency.Quantiles{P90: 40, P99: 80}, latency.Quantiles{P90: 40, P99: 300}
	slow := latency.Quantiles{P90: 200, P99: 300}
	tests := []struct {
		name string
		step Step
		want float64
	}{
		{"one percent late", Step{Offered: 1000, Rate: 1000, Acked: soon, Delivered: late}, 850},
		{"a tenth late", Step{Offered: 1000, Rate: 1000, Acked: soon, Delivered: slow}, 700},
		{"overload", Step{Offered: 1000, Rate: 500, Acked: slow, Delivered: slow}, 350},
		{"failed", Step{Offered: 1000, Rate: 500, Acked: soon, Delivered: late, Failed: "x"}, 350},
	}
	for _, tt := range tests {
		if got := tt.step.likely(100 * time.Millisecond); math.Abs(got-tt.want) > 1e-9 {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

// TestStepEndsOnlyWhenItCannotBeKept: a step that is given up would not be kept if all the rest came in time, and one that is
// not given up is.
func TestStepEndsOnlyWhenItCannotBeKept(t *testing.T) {
	const bound = 100 * time.Millisecond
	rapid.Check(t, func(t *rapid.T) {
		n, receivers := rapid.IntRange(1, 1000).Draw(t, "messages"), rapid.IntRange(1, 3).Draw(t, "receivers")
		s := newStep(float64(n), time.Second, time.Second)
		s.bound = bound
		s.begin()
		record := func(side *side, n, late int) {
			for k := range n {
				took := bound / 2
				if k < late {
					took = 2 * bound
				}
				side.record(k, s.warmUp, s.start.Add(s.warmUp+took))
			}
		}
		s.acked.record(0, 0, s.start.Add(time.Second)) // of the warm-up, which does not count
		record(&s.acked, n, rapid.IntRange(0, n/50+1).Draw(t, "late answers"))
		record(&s.delivered, n*receivers, rapid.IntRange(0, n*receivers/50+1).Draw(t, "late pushes"))
		if lost, r := s.cannotKeep(int64(receivers)), s.result(0, Usage{}, bound); lost == r.Kept {
			t.Fatalf("given up %v, kept %v%s", lost, r.Kept, reason(r))
		}
	})
}

func TestStepThatWasGivenUpIsNotKept(t *testing.T) {
	s := newStep(1, 0, time.Second)
	s.begin()
	s.acked.record(0, 0, s.start)
	if r := s.result(0, Usage{}, time.Second); !r.Kept || r.Lost {
		t.Errorf("before: %+v", r)
	}
	s.lost.Store(true)
	if r := s.result(0, Usage{}, time.Second); r.Kept || !r.Lost {
		t.Errorf("afterwards: %+v", r)
	}
}

func TestRefusalsEndAStepOfASearch(t *testing.T) {
	s := newStep(1, 0, time.Second)
	s.refused.Add(1)
	if s.cannotKeep(1) {
		t.Error("a rate that was asked for is not given up")
	}
	if s.bound = time.Second; !s.cannotKeep(1) {
		t.Error("it is not given up")
	}
}

func TestReceiversAreThoseOfTheMix(t *testing.T) {
	single, room := [][]*lane{nil, {{receivers: 1}}}, [][]*lane{{{receivers: 49}}, nil}
	tests := []struct {
		name          string
		lanes, rooms  [][]*lane
		mean, highest float64
	}{
		{"between two", single, nil, 1, 1},
		{"groups", nil, room, 49, 49},
		{"both", single, room, 0.75*1 + 0.25*49, 49},
		{"nobody", nil, nil, 0, 0},
	}
	for _, tt := range tests {
		mean, most := (&traffic{lanes: tt.lanes, rooms: tt.rooms, share: 0.25}).receivers()
		if mean != tt.mean || most != tt.highest {
			t.Errorf("%s: got %v and %v, want %v and %v", tt.name, mean, most, tt.mean, tt.highest)
		}
	}
}

func TestLongMeasurementsGiveASearchMoreTime(t *testing.T) {
	for _, tt := range []struct{ warmUp, duration, want time.Duration }{
		{usualWarmUp, usualDuration, 0},
		{0, time.Millisecond, 0},
		{2 * time.Second, 30 * time.Second, fullSteps * 26 * time.Second},
	} {
		if got := (SendConfig{WarmUp: tt.warmUp, Duration: tt.duration}).longer(); got != tt.want {
			t.Errorf("%v and %v: got %v, want %v", tt.warmUp, tt.duration, got, tt.want)
		}
	}
}
