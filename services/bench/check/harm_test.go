package check

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// at is a time of a run that began at 100 s.
func at(s float64) time.Time { return time.Unix(100, 0).Add(time.Duration(s * float64(time.Second))) }

func TestStallBelongsToTheHarmThatItMeets(t *testing.T) {
	messages := []asked{
		{span{at(1), at(1.5)}, true}, {span{at(2), at(2.5)}, true}, // nothing happens
		{span{at(5), at(9)}, false}, {span{at(5.5), at(8)}, true}, // a kill, and a refusal
		{span{at(10), at(10.5)}, true}, {span{at(11), time.Time{}}, false}, // one that is never answered
	}
	incidents := []Incident{
		{Kind: "kill", Victim: "a", span: span{at(5), at(9.5)}},
		{Kind: "pause", Victim: "b", span: span{at(10.2), at(10.4)}},
	}
	got := feel(at(0), span{at(1), at(12)}, messages, incidents)
	if want := (Stall{Seconds: 5.5, At: 2.5, Fault: "kill", Victim: "a"}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if in := incidents[0]; in.Stall != 5.5 || in.Slowest != 4 {
		t.Errorf("the kill: %+v", in)
	}
	if in := incidents[1]; in.Stall != 2.5 || in.Slowest != 0.5 {
		t.Errorf("the pause: %+v", in)
	}
}

func TestStallWithoutAHarmNamesNone(t *testing.T) {
	got := feel(at(0), span{at(1), at(8)}, []asked{{span{at(1), at(1.5)}, true}, {span{at(6), at(7)}, true}}, nil)
	if want := (Stall{Seconds: 5.5, At: 1.5}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// harmed does harms, without devices, until one of them ends the load.
func harmed(t *testing.T, sound func(context.Context) error, harms func(done func()) []Harm) (*run, error) {
	t.Helper()
	r := &run{Config: Config{Duration: time.Millisecond}, journal: newJournal(), started: time.Now()} // a short one has short pauses
	load, end := context.WithCancel(t.Context())
	defer end()
	r.deps = Deps{Harms: harms(end), Sound: sound}
	return r, r.harm(t.Context(), load, rand.New(rand.NewPCG(1, 1)))
}

func TestEveryKindOfHarmComesAsOften(t *testing.T) {
	r, err := harmed(t, nil, func(done func()) []Harm {
		n := 0
		do := func(context.Context, *rand.Rand) (Outcome, error) {
			if n++; n == 9 {
				done()
			}
			return Outcome{Victim: "one", Refused: 2}, nil
		}
		return []Harm{{Kind: "a", Do: do}, {Kind: "b", Do: do}, {Kind: "c", Do: do}}
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"a", "b", "c"} {
		if n := r.journal.faults[kind]; n != 3 {
			t.Errorf("%s came %d times", kind, n)
		}
	}
	if f := byKind(r.journal.incidents)["a"]; f.Times != 3 || f.Refused != 6 {
		t.Errorf("got %+v of a", f)
	}
}

func TestHarmThatCannotBeMadeGoodEndsTheRun(t *testing.T) {
	_, err := harmed(t, nil, func(func()) []Harm {
		return []Harm{{Kind: "kill", Do: func(context.Context, *rand.Rand) (Outcome, error) {
			return Outcome{Victim: "edge-1"}, errors.New("the port is taken")
		}}}
	})
	if err == nil || err.Error() != "kill of edge-1: the port is taken" {
		t.Errorf("got %v", err)
	}
}

func TestServerThatIsNotSoundIsNotHarmed(t *testing.T) {
	sick := func(context.Context) error { return errors.New("edge-1 ended") }
	_, err := harmed(t, sick, func(func()) []Harm {
		return []Harm{{Kind: "kill", Do: func(context.Context, *rand.Rand) (Outcome, error) { t.Error("harmed"); return Outcome{}, nil }}}
	})
	if err == nil || !strings.Contains(err.Error(), "edge-1 ended") {
		t.Errorf("got %v", err)
	}
}

func TestHarmThatTriesTheFenceMustBeRefused(t *testing.T) {
	for refused, troubles := range map[int]int{0: 1, 3: 0} {
		r, err := harmed(t, nil, func(done func()) []Harm {
			return []Harm{{Kind: "isolate", Fences: true, Do: func(context.Context, *rand.Rand) (Outcome, error) {
				done()
				return Outcome{Victim: "sequencer-1", Refused: refused}, nil
			}}}
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(r.journal.troubles) != troubles {
			t.Errorf("refused %d times: %q", refused, r.journal.troubles)
		}
	}
}

func TestEdgesTakeTurns(t *testing.T) {
	var e edges
	if err := e.fill([]string{"ws://a:1/ws", "ws://b:2/ws"}); err != nil {
		t.Fatal(err)
	}
	if got := e.addr("x") + " " + e.addr("x") + " " + e.url(); got != "a:1 b:2 ws://a:1/ws" {
		t.Errorf("got %s", got)
	}
	var lone edges
	if err := lone.fill([]string{"wss://a/ws"}); err != nil || lone.addr("a:443") != "a:443" {
		t.Errorf("a lone edge is dialled as the client wants: %v", err)
	}
	if err := (&edges{}).fill([]string{"wss://a/ws", "wss://b/ws"}); err == nil {
		t.Error("edges with certificates are mixed")
	}
}
