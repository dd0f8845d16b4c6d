package check

import (
	"context"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/catena-im/catena/services/bench/check/internal/fakeserver"
	"github.com/catena-im/catena/services/bench/check/judge"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// trial is a small check against a fake server.
type trial struct {
	fault  fakeserver.Fault
	faults Faults

	result Result
	err    error
	fired  int
}

// maxTrials bounds the trials that run at once. They wait most of the time.
const maxTrials = 6

// runTrials runs them all and returns when all are done.
func runTrials(t *testing.T, trials []*trial) {
	var all sync.WaitGroup
	turns := make(chan struct{}, maxTrials)
	for _, tr := range trials {
		turns <- struct{}{}
		all.Go(func() {
			defer func() { <-turns }()
			tr.run(t.Context())
		})
	}
	all.Wait()
}

func (tr *trial) run(ctx context.Context) {
	server := fakeserver.New(tr.fault)
	web := httptest.NewServer(server)
	defer web.Close()
	deps := Deps{
		Token: func(user string) (string, error) { return user, nil },
		Crash: func(context.Context) error { server.Cut(); return nil },
	}
	var c *Check
	c, tr.err = New(Config{
		URL: "ws" + strings.TrimPrefix(web.URL, "http"), Duration: 1200 * time.Millisecond, Settle: 4 * time.Second,
		Users: 5, Groups: 2, Rate: 120, Seed: 1, Faults: tr.faults,
	}, deps)
	if tr.err == nil {
		tr.result, tr.err = c.Run(ctx)
	}
	tr.fired = server.Fired()
}

func TestHonestServerPasses(t *testing.T) {
	tests := []struct {
		name string
		trial
	}{
		{"undisturbed", planted("")},
		{"with faults of all kinds", trial{faults: FaultsAll}},
		{"while pushes are lost, repeated and late", planted(fakeserver.LosePushes)},
		{"while connections are cut", resent(fakeserver.CutOften)},
	}
	var trials []*trial
	for i := range tests {
		trials = append(trials, &tests[i].trial)
	}
	runTrials(t, trials)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.err != nil {
				t.Fatal(tt.err)
			}
			if !tt.result.OK {
				var text strings.Builder
				tt.result.Print(&text)
				t.Errorf("an honest server fails:\n%s", &text)
			}
			if tt.result.Acked < 50 || tt.result.Delivered < 200 {
				t.Errorf("%d acknowledged and %d delivered, want a run that checks something", tt.result.Acked, tt.result.Delivered)
			}
			if got := tt.result.Faults > 0; got != (tt.faults != FaultsNone) {
				t.Errorf("%d faults injected with %q", tt.result.Faults, tt.faults)
			}
		})
	}
}

func TestBreachesAreReported(t *testing.T) {
	tests := []struct {
		trial
		want judge.Kind
		also []judge.Kind // what may come of it besides
	}{
		{planted(fakeserver.LoseAcked), judge.Lost, nil},
		{planted(fakeserver.LoseInbox), judge.Lost, nil},
		{planted(fakeserver.StoreTwice), judge.Duplicated, nil},
		{resent(fakeserver.ForgetLateSend), judge.Duplicated, []judge.Kind{judge.ChangedAnswers, judge.Mismatched}},
		{planted(fakeserver.BreakQueue), judge.Reordered, nil},
		{planted(fakeserver.ReadersDiffer), judge.Reordered, []judge.Kind{judge.VisibilityLeaks, judge.Lost, judge.Diverged, judge.Mismatched}},
		{planted(fakeserver.BreakInbox), judge.Reordered, nil},
		{planted(fakeserver.SkipIndex), judge.IndexGaps, nil},
		{planted(fakeserver.SkipUserIndex), judge.IndexGaps, []judge.Kind{judge.Diverged}},
		{planted(fakeserver.DriftUnread), judge.UnreadDrift, []judge.Kind{judge.VisibilityLeaks}},
		{planted(fakeserver.LeakByPull), judge.VisibilityLeaks, nil},
		{planted(fakeserver.LeakByPush), judge.VisibilityLeaks, []judge.Kind{judge.Diverged}},
		{planted(fakeserver.LeakByUnread), judge.VisibilityLeaks, []judge.Kind{judge.UnreadDrift}},
		{planted(fakeserver.LeakByLast), judge.VisibilityLeaks, nil},
		{planted(fakeserver.LeakExistence), judge.VisibilityLeaks, nil},
		{planted(fakeserver.PushOther), judge.Diverged, nil},
		{planted(fakeserver.AckOther), judge.Mismatched, nil},
		{planted(fakeserver.StoreOther), judge.Mismatched, nil},
		{resent(fakeserver.ChangeAnswer), judge.ChangedAnswers, []judge.Kind{judge.Mismatched}},
		{planted(fakeserver.ReadBack), judge.ReadDrift, nil},
	}
	var trials []*trial
	for i := range tests {
		trials = append(trials, &tests[i].trial)
	}
	runTrials(t, trials)
	for _, tt := range tests {
		t.Run(string(tt.fault), func(t *testing.T) {
			if tt.err != nil {
				t.Fatal(tt.err)
			}
			if tt.fired == 0 {
				t.Fatal("the fault never happened, so nothing was shown")
			}
			if *tt.result.Counts.Of(tt.want) == 0 || tt.result.OK {
				t.Errorf("%s is %d and OK %t", tt.want, *tt.result.Counts.Of(tt.want), tt.result.OK)
			}
			for _, kind := range judge.Kinds() {
				if n := *tt.result.Counts.Of(kind); n > 0 && kind != tt.want && !slices.Contains(tt.also, kind) {
					t.Errorf("%s is %d as well", kind, n)
				}
			}
			for _, v := range tt.result.Violations {
				t.Log(v)
			}
			if !slices.ContainsFunc(tt.result.Violations, func(v judge.Violation) bool { return v.Kind == tt.want && v.Seed == 1 }) {
				t.Error("no evidence")
			}
		})
	}
}

func planted(f fakeserver.Fault) trial { return trial{fault: f, faults: FaultsNone} }

// resent plants a fault that only shows when messages are sent again.
func resent(f fakeserver.Fault) trial { return trial{fault: f, faults: FaultsDisconnect} }
