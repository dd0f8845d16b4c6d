package check

import (
	"context"
	"errors"
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
	settle time.Duration // 0: the default

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

// run tries longer and longer runs until the fault has happened and there is something to check, however busy the
// machine is.
func (tr *trial) run(ctx context.Context) {
	for d := time.Second; d <= maxTrial; d *= 2 {
		tr.try(ctx, d)
		if tr.err != nil || tr.result.Acked >= enough && (tr.fault == "" || tr.fired > 0) {
			return
		}
	}
}

const (
	maxTrial = 16 * time.Second
	enough   = 40 // acknowledged messages
)

func (tr *trial) try(ctx context.Context, d time.Duration) {
	server := fakeserver.New(tr.fault)
	web := httptest.NewServer(server)
	defer web.Close()
	deps := Deps{
		Token: func(user string) (string, error) { return user, nil },
		Crash: func(context.Context) error { server.Crash(); return nil },
	}
	var c *Check
	c, tr.err = New(Config{
		URL: "ws" + strings.TrimPrefix(web.URL, "http"), Duration: d, Settle: tr.settle,
		Users: 3, Groups: 2, Rate: 80, Seed: 1, Faults: tr.faults,
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
			if tt.result.Acked < enough || tt.result.Delivered <= tt.result.Acked {
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
		{planted(fakeserver.ReadersDiffer), judge.Reordered, []judge.Kind{judge.Diverged, judge.Mismatched}},
		{planted(fakeserver.BreakInbox), judge.Reordered, nil},
		{planted(fakeserver.SkipIndex), judge.IndexGaps, nil},
		{restless(fakeserver.SkipUserIndex), judge.IndexGaps, []judge.Kind{judge.Diverged, judge.Unanswered}},
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
		{trial{fault: fakeserver.RollBackInbox, faults: FaultsKill, settle: 2 * time.Second}, judge.Lost,
			[]judge.Kind{judge.Diverged, judge.Unanswered, judge.ReadDrift}},
		{trial{fault: fakeserver.ForgetAtCrash, faults: FaultsKill}, judge.Lost,
			[]judge.Kind{judge.Mismatched, judge.Diverged, judge.Duplicated, judge.Reordered, judge.ReadDrift, judge.ListDrift}},
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
			t.Log(tt.result.Troubles)
			if !slices.ContainsFunc(tt.result.Violations, func(v judge.Violation) bool { return v.Kind == tt.want && v.Seed == 1 }) {
				t.Error("no evidence")
			}
		})
	}
}

// connected makes a check against an honest server.
func connected(t *testing.T, d Deps) *Check {
	t.Helper()
	web := httptest.NewServer(fakeserver.New(""))
	t.Cleanup(web.Close)
	d.Token = func(user string) (string, error) { return user, nil }
	c, err := New(Config{URL: "ws" + strings.TrimPrefix(web.URL, "http"), Users: 3, Devices: 1, Groups: 1}, d)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestRunEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := connected(t, Deps{Progress: func(s Status) {
		if s.Acked > 0 {
			cancel()
		}
	}})
	result, err := c.Run(ctx)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	if result.OK || result.Acked == 0 || result.Run == "" {
		t.Errorf("got %+v, want how far the run came and that it is not OK", result)
	}
}

func TestServerThatEndsByItselfEndsTheRun(t *testing.T) {
	died := make(chan error, 1)
	died <- errors.New("exit status 2")
	_, err := connected(t, Deps{Died: died}).Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "exit status 2") {
		t.Errorf("got %v, want the reason for which the server ended", err)
	}
}

func TestServerThatIsNotThereIsReportedAtOnce(t *testing.T) {
	web := httptest.NewServer(nil)
	url := "ws" + strings.TrimPrefix(web.URL, "http")
	web.Close()
	c, err := New(Config{URL: url}, Deps{Token: func(user string) (string, error) { return user, nil }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "dial") {
		t.Errorf("got %v, want that nobody listens", err)
	}
}

func TestServerThatDoesNotComeBackEndsTheRun(t *testing.T) {
	gone := errors.New("no such server")
	c := connected(t, Deps{Crash: func(context.Context) error { return gone }})
	c.run.Faults, c.run.Duration = FaultsKill, time.Second
	if _, err := c.Run(t.Context()); !errors.Is(err, gone) {
		t.Errorf("got %v, want %v", err, gone)
	}
}

func TestConfigSaysWhatIsWrong(t *testing.T) {
	token := func(string) (string, error) { return "", nil }
	tests := []struct {
		name string
		cfg  Config
		deps Deps
		want string
	}{
		{"no server", Config{}, Deps{Token: token}, "URL"},
		{"no tokens", Config{URL: "ws://h/ws"}, Deps{}, "Token"},
		{"not a URL of the SDK", Config{URL: "h"}, Deps{Token: token}, "URL"},
		{"too few users", Config{URL: "ws://h/ws", Users: 2}, Deps{Token: token}, "Users"},
		{"negative rate", Config{URL: "ws://h/ws", Rate: -1}, Deps{Token: token}, "Rate"},
		{"unknown faults", Config{URL: "ws://h/ws", Faults: "some"}, Deps{Token: token}, "Faults"},
		{"nothing to kill", Config{URL: "ws://h/ws", Faults: FaultsKill}, Deps{Token: token}, "Faults"},
		{"long name", Config{URL: "ws://h/ws", Run: strings.Repeat("x", 41)}, Deps{Token: token}, "Run"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := New(tt.cfg, tt.deps)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("New returns %v, want an error about %s", err, tt.want)
			}
		})
	}
}

func planted(f fakeserver.Fault) trial { return trial{fault: f, faults: FaultsNone} }

// restless plants a fault after which some devices never come to rest.
func restless(f fakeserver.Fault) trial {
	return trial{fault: f, faults: FaultsNone, settle: 2 * time.Second}
}

// resent plants a fault that only shows when messages are sent again.
func resent(f fakeserver.Fault) trial { return trial{fault: f, faults: FaultsDisconnect} }
