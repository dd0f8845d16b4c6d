package sequencer

import (
	"fmt"
	"slices"
	"testing"
	"time"

	imv1 "github.com/catena-im/catena/proto/im/v1"
)

func (s *sessions) of(user string) (edges []string) {
	s.edgesOf(user, func(e string) { edges = append(edges, e) })
	slices.Sort(edges)
	return edges
}

func TestSessionTable(t *testing.T) {
	s := newSessions(7)
	start := time.Unix(0, 0)
	for _, step := range []struct {
		what  string
		at    time.Duration
		ask   *imv1.SessionRequest
		known bool
		want  map[string]string // user → edges
	}{
		{"an edge that is not known is asked for everything", 0,
			&imv1.SessionRequest{EdgeId: "e1", AddUserIds: []string{"ann"}}, false, map[string]string{"ann": "[]"}},
		{"it sends everything", 0,
			&imv1.SessionRequest{EdgeId: "e1", Replace: true, AddUserIds: []string{"ann", "ben"}}, true,
			map[string]string{"ann": "[e1]", "ben": "[e1]"}},
		{"a second edge", time.Second,
			&imv1.SessionRequest{EdgeId: "e2", Replace: true, AddUserIds: []string{"ben", "cleo"}}, true,
			map[string]string{"ben": "[e1 e2]", "cleo": "[e2]"}},
		{"changes", 2 * time.Second,
			&imv1.SessionRequest{EdgeId: "e1", AddUserIds: []string{"cleo"}, DropUserIds: []string{"ben", "nobody"}}, true,
			map[string]string{"ann": "[e1]", "ben": "[e2]", "cleo": "[e1 e2]"}},
		{"adding and dropping twice changes nothing", 2 * time.Second,
			&imv1.SessionRequest{EdgeId: "e1", AddUserIds: []string{"cleo", "cleo"}, DropUserIds: []string{"ben", "ben"}}, true,
			map[string]string{"ben": "[e2]", "cleo": "[e1 e2]"}},
		{"an empty request renews", 10 * time.Second, &imv1.SessionRequest{EdgeId: "e1"}, true,
			map[string]string{"ann": "[e1]"}},
		{"replacing takes away what is not named", 11 * time.Second,
			&imv1.SessionRequest{EdgeId: "e1", Replace: true, AddUserIds: []string{"ann"}}, true,
			map[string]string{"ann": "[e1]", "cleo": "[e2]"}},
		{"in parts, not before the last of them", 11 * time.Second,
			&imv1.SessionRequest{EdgeId: "e1", Replace: true, More: true, AddUserIds: []string{"ben"}}, true,
			map[string]string{"ann": "[e1]", "ben": "[e1 e2]"}},
		{"nor with a part that begins anew", 11 * time.Second,
			&imv1.SessionRequest{EdgeId: "e1", Replace: true, More: true, AddUserIds: []string{"cleo"}}, true,
			map[string]string{"ann": "[e1]", "ben": "[e1 e2]", "cleo": "[e1 e2]"}},
		{"and then all that no part named", 11 * time.Second,
			&imv1.SessionRequest{EdgeId: "e1", AddUserIds: []string{"ann"}}, true,
			map[string]string{"ann": "[e1]", "ben": "[e2]", "cleo": "[e1 e2]"}},
		{"what follows is a change again", 11 * time.Second,
			&imv1.SessionRequest{EdgeId: "e1", DropUserIds: []string{"cleo"}}, true,
			map[string]string{"ann": "[e1]", "cleo": "[e2]"}},
		{"an edge that was silent for too long is forgotten", 17 * time.Second, &imv1.SessionRequest{EdgeId: "e1"}, true,
			map[string]string{"ann": "[e1]", "ben": "[]", "cleo": "[]"}},
		{"and has to send everything again", 18 * time.Second, &imv1.SessionRequest{EdgeId: "e2"}, false,
			map[string]string{"cleo": "[]"}},
		{"even one that asks after a long silence itself", time.Hour, &imv1.SessionRequest{EdgeId: "e1"}, false,
			map[string]string{"ann": "[]"}},
	} {
		reply := s.register(step.ask, start.Add(step.at))
		if reply.GetKnown() != step.known || reply.GetEpoch() != 7 {
			t.Errorf("%s: reply is %v", step.what, reply)
		}
		for u, want := range step.want {
			if got := fmt.Sprint(s.of(u)); got != want {
				t.Errorf("%s: %s is at %s, want %s", step.what, u, got, want)
			}
		}
	}
	if len(s.users) != 0 || len(s.edges) != 0 {
		t.Errorf("%d users and %d edges are kept for nobody", len(s.users), len(s.edges))
	}
}

func TestLanesCountForEachEdge(t *testing.T) {
	s := newSessions(1)
	now := time.Unix(0, 0)
	s.register(&imv1.SessionRequest{EdgeId: "e1", Replace: true}, now)
	s.register(&imv1.SessionRequest{EdgeId: "e2", Replace: true}, now)
	for want := uint64(1); want < 4; want++ {
		if got := s.nextLane("e1"); got != want {
			t.Errorf("e1: got %d, want %d", got, want)
		}
	}
	if got := s.nextLane("e2"); got != 1 {
		t.Errorf("e2: got %d, want 1", got)
	}
	if got := s.nextLane("nobody"); got != 0 {
		t.Errorf("an edge that is not known: got %d, want 0", got)
	}
	if got := s.register(&imv1.SessionRequest{EdgeId: "e1"}, now).GetLaneSequence(); got != 3 {
		t.Errorf("the edge is told %d, want 3", got)
	}
}
