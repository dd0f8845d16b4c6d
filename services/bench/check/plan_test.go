package check

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/catena-im/catena/services/bench/check/judge"
)

// said is what a device would say first in a run with seed.
func said(seed uint64, n int) []utterance {
	c := Config{Users: 6, Groups: 2, Seed: seed}
	c.fill()
	w := newWorld(c)
	for _, p := range w.plans {
		w.founded(&group{"g:" + p.title, p.owner, append([]string{p.owner}, p.members...)})
	}
	s := newSpeech(c, w, w.users[0], "d1", stream(speechStream, 0))
	var us []utterance
	for len(us) < n {
		us = append(us, s.burst()...)
	}
	return us
}

func TestWhatIsSaidFollowsFromTheSeed(t *testing.T) {
	same := func(a, b utterance) bool { return a.conversation == b.conversation && proto.Equal(a.frame, b.frame) }
	if !slices.EqualFunc(said(3, 200), said(3, 200), same) {
		t.Error("one seed, two conversations")
	}
	a, b := said(3, 200), said(4, 200)
	if slices.EqualFunc(a[:100], b[:100], func(a, b utterance) bool { return proto.Equal(a.frame, b.frame) }) {
		t.Error("two seeds, one conversation")
	}
}

func TestEverythingIsSaid(t *testing.T) {
	kinds := map[string]bool{}
	ids := map[string]bool{}
	for _, u := range said(1, 2000) {
		kinds[u.frame.GetType().String()] = true
		kinds[u.frame.GetVisibility().GetScope().String()] = true
		kinds[u.conversation[:2]] = true
		if users := strings.Split(u.conversation[2:], ":"); len(users) == 2 && users[0] == users[1] {
			kinds["self"] = true
		}
		if (u.frame.GetConversationId() == "") == (u.frame.GetToUserId() == "") {
			t.Errorf("a frame names conversation %q and user %q", u.frame.GetConversationId(), u.frame.GetToUserId())
		}
		if ids[u.frame.GetClientMessageId()] {
			t.Errorf("client message id %s is used twice", u.frame.GetClientMessageId())
		}
		ids[u.frame.GetClientMessageId()] = true
	}
	const types, scopes, conversations = 7, 4, 3
	if want := types + scopes + conversations; len(kinds) != want {
		t.Errorf("said %d kinds, want %d: %v", len(kinds), want, kinds)
	}
}

func TestEveryGroupHasAnOutsider(t *testing.T) {
	for users := 3; users < 30; users++ {
		c := Config{Users: users, Groups: 10, Seed: 1}
		c.fill()
		w := newWorld(c)
		for _, p := range w.plans {
			if len(p.members) < 1 || len(p.members)+1 >= users || slices.Contains(p.members, p.owner) {
				t.Errorf("%d users: a group of %s and %v", users, p.owner, p.members)
			}
		}
		for _, u := range w.users {
			if len(w.peers[u]) == 0 || slices.Contains(w.peers[u], u) {
				t.Errorf("%d users: %s has the peers %v", users, u, w.peers[u])
			}
		}
	}
}

func TestShortRunsGoFaster(t *testing.T) {
	for _, tt := range []struct{ duration, want time.Duration }{
		{time.Hour, 6 * time.Second}, {15 * time.Second, 6 * time.Second}, {5 * time.Second, 2 * time.Second},
	} {
		c := Config{Duration: tt.duration}
		if got := c.every(6 * time.Second); got != tt.want {
			t.Errorf("a run of %v does every %v what a long one does every 6s, want %v", tt.duration, got, tt.want)
		}
	}
}

func TestResultHasTheFieldsThatProgramsReadAndNamesTheVerdict(t *testing.T) {
	tests := []struct {
		name   string
		result Result
		want   string
	}{
		{"clean", Result{OK: true, Acked: 1}, "PASS"},
		{"lost", Result{Acked: 1, Counts: judge.Counts{Lost: 2}, Violations: []judge.Violation{{Kind: judge.Lost, What: "gone"}}}, "FAIL: 2 violations"},
		{"nothing checked", Result{}, "nothing was checked"},
		{"trouble", Result{Acked: 1, Troubles: []string{"slow"}}, "could not be checked"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var text strings.Builder
			tt.result.Print(&text)
			if !strings.Contains(text.String(), tt.want) {
				t.Errorf("printed %s\nwant %q in it", &text, tt.want)
			}
			data, err := json.Marshal(tt.result)
			if err != nil {
				t.Fatal(err)
			}
			var fields map[string]any
			if err := json.Unmarshal(data, &fields); err != nil {
				t.Fatal(err)
			}
			for _, f := range strings.Fields("sent acked delivered lost duplicated reordered index_gaps unread_drift visibility_leaks faults seconds") {
				if _, ok := fields[f]; !ok {
					t.Errorf("no field %s in %s", f, data)
				}
			}
		})
	}
}
