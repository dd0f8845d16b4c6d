package sequencer

import (
	"maps"
	"slices"
	"sync"
	"time"

	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// sessionTTL is how long an edge is taken for alive after its last word; edges renew every third of it.
const sessionTTL = 15 * time.Second

// sessions is the owner's table of which edges hold sessions of which users. It lives in memory only: a new owner asks
// the edges to register again. It is as large as the number of users with a session in the partition.
type sessions struct {
	epoch uint64

	mu    sync.Mutex // guards the fields below
	edges map[string]*edgeSessions
	users map[string][]*edgeSessions // nearly always one; a set of its own for each user takes 250 bytes more
}

// edgeSessions is one edge as the owner sees it.
type edgeSessions struct {
	id    string
	users map[string]struct{}
	stale map[string]struct{} // of users, those that a registration under way has not named yet
	heard time.Time
	lane  uint64 // last lane_sequence sent
}

func newSessions(epoch uint64) *sessions {
	return &sessions{epoch: epoch, edges: make(map[string]*edgeSessions), users: make(map[string][]*edgeSessions)}
}

// register carries a request out, all but the heads.
func (s *sessions) register(r *imv1.SessionRequest, now time.Time) *imv1.SessionReply {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire(now)
	e := s.edges[r.GetEdgeId()]
	if e == nil && !r.GetReplace() {
		return &imv1.SessionReply{Epoch: s.epoch}
	}
	if e == nil {
		e = &edgeSessions{id: r.GetEdgeId(), users: make(map[string]struct{})}
		s.edges[r.GetEdgeId()] = e
	}
	e.heard = now
	if r.GetReplace() {
		e.stale = maps.Clone(e.users)
	}
	for _, u := range r.GetDropUserIds() {
		s.drop(e, u)
	}
	for _, u := range r.GetAddUserIds() {
		delete(e.stale, u)
		if _, ok := e.users[u]; !ok {
			e.users[u] = struct{}{}
			s.users[u] = append(s.users[u], e)
		}
	}
	if !r.GetMore() {
		for u := range e.stale {
			s.drop(e, u)
		}
		e.stale = nil
	}
	return &imv1.SessionReply{Epoch: s.epoch, Known: true, LaneSequence: e.lane}
}

// expire forgets the edges that have not been heard of. Called with mu held.
func (s *sessions) expire(now time.Time) {
	for id, e := range s.edges {
		if now.Sub(e.heard) <= sessionTTL {
			continue
		}
		for u := range e.users {
			s.drop(e, u)
		}
		delete(s.edges, id)
	}
}

// drop takes user off edge. Called with mu held.
func (s *sessions) drop(e *edgeSessions, user string) {
	delete(e.users, user)
	rest := slices.DeleteFunc(s.users[user], func(other *edgeSessions) bool { return other == e })
	if s.users[user] = rest; len(rest) == 0 {
		delete(s.users, user)
	}
}

// edgesOf calls fn for each edge that holds sessions of user.
func (s *sessions) edgesOf(user string, fn func(edge string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.users[user] {
		fn(e.id)
	}
}

// nextLane is the number of the next batch to edge; 0 when the edge is not known any more.
func (s *sessions) nextLane(edge string) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.edges[edge]
	if e == nil {
		return 0
	}
	e.lane++
	return e.lane
}
