package bus

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// While no server helps, the moves become rare; an answer ends what was counted, and calm makes patience short again.
func TestMovesBetweenServersBecomeRare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var q quiet
		began := time.Now()
		var moves []time.Duration
		silent := func(d time.Duration) {
			for end := time.Now().Add(d); time.Now().Before(end); {
				asked := time.Now()
				time.Sleep(time.Second)
				if _, move := q.unanswered(asked, time.Now()); move {
					moves = append(moves, time.Since(began))
				}
			}
		}
		silent(10 * time.Minute)
		if len(moves) < 8 || len(moves) > 14 || moves[0] != quietFirst {
			t.Errorf("moves after %v", moves)
		}
		for i := 1; i < len(moves); i++ {
			if gap := moves[i] - moves[i-1]; gap < min(quietFirst<<i, quietMost) || gap > quietMost*5/4+time.Second {
				t.Errorf("move %d came %s after the one before", i, gap)
			}
		}
		time.Sleep(quietCalm)
		q.broken()
		moves = nil
		for range 100 {
			silent(quietFirst - time.Second)
			q.broken()
		}
		if len(moves) > 0 {
			t.Errorf("moves after %v though there were answers in between", moves)
		}
		began = time.Now()
		if silent(quietFirst); len(moves) != 1 || moves[0] != quietFirst {
			t.Errorf("moves after %v, want one after %s", moves, quietFirst)
		}
	})
}

// A leader that has lost its majority goes on to answer for a while, with what says nothing about the write.
func TestOnlyWhatAMajorityAnsweredEndsTheSilence(t *testing.T) {
	api := func(code int, number jetstream.ErrorCode, text string) error {
		return appendError(t.Context(), &jetstream.APIError{Code: code, ErrorCode: number, Description: text})
	}
	for name, c := range map[string]struct {
		err  error
		ends bool
	}{
		"stored":          {nil, true},
		"full":            {api(503, codeStoreFailed, "maximum bytes exceeded"), true},
		"in process":      {api(409, codeDuplicateInWork, "duplicate message id is in process"), false},
		"connection lost": {errDisconnected, false},
		"another error":   {errors.New("odd"), false},
	} {
		b := &Bus{link: newLink()}
		b.quiet.since = time.Now()
		b.written(t.Context(), time.Now(), c.err)
		if got := b.quiet.since.IsZero(); got != c.ends {
			t.Errorf("%s: ended the silence: %v, want %v", name, got, c.ends)
		}
	}
}
