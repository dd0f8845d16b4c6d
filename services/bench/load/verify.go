package load

import (
	"context"
	"fmt"
	"strconv"
	"time"

	imv1 "github.com/catena-im/catena/proto/im/v1"
	"github.com/catena-im/catena/services/bench/latency"
)

// Verdict is what the sampled chains show.
type Verdict struct {
	Users      int      `json:"users"` // whose chains were pulled
	Entries    int      `json:"entries"`
	Expected   int      `json:"expected"`   // acknowledged messages that had to be in them
	Duplicates int64    `json:"duplicates"` // pushes that came twice, of all users; no violation
	Gaps       int64    `json:"gaps"`       // entries that were not pushed in line, of all users; no violation
	Violations []string `json:"violations"`
	// Pulled is how fast the pages came.
	Pulled     latency.Quantiles `json:"pulled"`
	PulledRate float64           `json:"pulled_rate"` // entries per second
}

const (
	verifyPage     = 500
	mostViolations = 10
)

// verify pulls the chains of the witnesses, one after the other until the time is over: each must be contiguous, hold
// every acknowledged message exactly once, and hold each conversation in its order.
func (t *traffic) verify(ctx context.Context, within time.Duration) (Verdict, error) {
	v := Verdict{Duplicates: t.duplicates.Load(), Gaps: t.gaps.Load(), Violations: []string{}}
	var took latency.Recorder
	start := time.Now()
	for _, w := range t.watched {
		if w == nil || v.Users > 0 && time.Since(start) > within {
			continue
		}
		found := reading{user: w.client.user, last: w.client.head, indexes: map[string]uint64{}, seen: map[uint64]bool{}}
		if err := w.client.pullAll(ctx, w.client.head, &took, found.entry); err != nil {
			return v, fmt.Errorf("pull the chain of %s: %w", w.client.user, err)
		}
		v.Users++
		v.Entries += len(found.seen) + found.others
		w.mu.Lock()
		for number := range w.acked {
			v.Expected++
			if !found.seen[number] {
				found.violate("message %016x was acknowledged and is not in the chain", number)
			}
		}
		w.mu.Unlock()
		if v.Violations = append(v.Violations, found.violations...); len(v.Violations) > mostViolations {
			v.Violations = v.Violations[:mostViolations]
		}
	}
	v.Pulled = took.Quantiles()
	v.PulledRate = float64(v.Entries) / time.Since(start).Seconds()
	return v, nil
}

// reading is what was found in one user chain.
type reading struct {
	user       string
	last       uint64            // UserIndex
	indexes    map[string]uint64 // last ConversationIndex, by conversation
	seen       map[uint64]bool   // numbers of our messages
	others     int               // entries that are no such message
	violations []string
}

func (r *reading) violate(format string, args ...any) {
	if len(r.violations) < mostViolations {
		r.violations = append(r.violations, r.user+": "+fmt.Sprintf(format, args...))
	}
}

func (r *reading) entry(e *imv1.UserEntry) {
	if e.GetUserIndex() != r.last+1 {
		r.violate("UserIndex %d follows %d", e.GetUserIndex(), r.last)
	}
	r.last = e.GetUserIndex()
	m := e.GetMessage()
	if before := r.indexes[m.GetConversationId()]; m.GetConversationIndex() <= before {
		r.violate("index %d of %s follows %d", m.GetConversationIndex(), m.GetConversationId(), before)
	}
	r.indexes[m.GetConversationId()] = m.GetConversationIndex()
	number, err := strconv.ParseUint(m.GetClientMessageId(), 16, 64)
	switch {
	case err != nil || len(m.GetClientMessageId()) != idLength:
		r.others++
	case r.seen[number]:
		r.violate("message %016x is there twice", number)
	default:
		r.seen[number] = true
	}
}

// pullAll pulls the user chain behind an index, page by page.
func (c *client) pullAll(ctx context.Context, behind uint64, took *latency.Recorder, each func(*imv1.UserEntry)) error {
	for more := true; more; {
		from := behind + 1
		start := time.Now()
		answer, err := c.call(ctx, &imv1.ClientFrame{Body: &imv1.ClientFrame_PullUser{PullUser: &imv1.PullUser{FromIndex: &from, Limit: verifyPage}}})
		if err != nil {
			return err
		}
		took.Record(c.at, time.Since(start))
		page := answer.GetUserPage()
		for _, e := range page.GetEntries() {
			each(e)
			behind = e.GetUserIndex()
		}
		more = page.GetHasMore() && len(page.GetEntries()) > 0
	}
	return nil
}
