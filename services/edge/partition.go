package edge

import (
	"slices"
	"sync"

	"github.com/catena-im/catena/pkg/im"
	"github.com/catena-im/catena/pkg/refusal"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// maxDevices is the most sessions of one user at one edge.
const maxDevices = 64

// partition holds the users of one user partition who have sessions here, and what its owner was told of them.
type partition struct {
	edge   *Edge
	number int
	wake   chan struct{} // holds a token when the owner is to be told something

	mu       sync.Mutex // guards the fields below; a session's lock may be taken under it
	users    map[im.UserID]*user
	changed  map[im.UserID]struct{} // users who came or went since the owner was told
	announce bool                   // the owner is to be told everything anew
	lane     deliveryLane
}

// user is a user with sessions at this edge.
type user struct {
	sessions []*session
	head     head // the furthest that is known of the user's chain and list: every session was told, or will be
}

// head is where a user's chain and list stand.
type head struct{ index, oldest, list uint64 }

func headOf(h *imv1.Head) head {
	return head{h.GetUserIndex(), h.GetOldestUserIndex(), h.GetListVersion()}
}

func (h head) wire() *imv1.Head {
	return &imv1.Head{UserIndex: h.index, OldestUserIndex: h.oldest, ListVersion: h.list}
}

// merge is the later of both, field by field: each of them only grows.
func (h head) merge(o head) head {
	return head{max(h.index, o.index), max(h.oldest, o.oldest), max(h.list, o.list)}
}

func newPartition(e *Edge, number int) *partition {
	return &partition{edge: e, number: number, wake: make(chan struct{}, 1),
		users: make(map[im.UserID]*user), changed: make(map[im.UserID]struct{})}
}

func (e *Edge) partitionOf(u im.UserID) *partition {
	return e.partitions[im.Partition(u, len(e.partitions))]
}

// join adds an authenticated session and returns the one of the same device that it replaces, if there is one.
func (p *partition) join(s *session) (replaced *session, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	u := p.users[s.user]
	if u == nil {
		u = new(user)
		p.users[s.user] = u
		p.note(s.user)
	}
	i := slices.IndexFunc(u.sessions, func(o *session) bool { return o.device == s.device })
	switch {
	case i >= 0:
		replaced, u.sessions[i] = u.sessions[i], s
	case len(u.sessions) >= maxDevices:
		return nil, refusal.New(imv1.ErrorCode_ERROR_CODE_OVERLOADED,
			"the user has sessions of %d devices at this server; end one of them first", maxDevices)
	default:
		u.sessions = append(u.sessions, s)
	}
	return replaced, nil
}

// leave removes a session; one that was replaced is gone already.
func (p *partition) leave(s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	u := p.users[s.user]
	if u == nil {
		return
	}
	u.sessions = slices.DeleteFunc(u.sessions, func(o *session) bool { return o == s })
	if len(u.sessions) == 0 {
		delete(p.users, s.user)
		p.note(s.user)
	}
}

// note marks a user as one of whom the owner is to be told. The lock is held.
func (p *partition) note(u im.UserID) {
	p.changed[u] = struct{}{}
	p.poke()
}

// announceAll has the owner told everything anew.
func (p *partition) announceAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.announce = true
	p.poke()
}

func (p *partition) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// settle completes the join of a session: it is told where the chain stands, and gets pushes from there on.
func (p *partition) settle(s *session, h head, connected func(*imv1.Head) *imv1.ServerFrame) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if u := p.users[s.user]; u != nil {
		u.head = u.head.merge(h)
		h = u.head
	}
	frame := s.encode(connected(h.wire()))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stage = joined
	s.reply(frame)
}

// advance notes where a user's chain stands by the owner's word, and tells the sessions when that is news to them.
// The lock is held.
func (p *partition) advance(u *user, h head) {
	known := u.head
	u.head = known.merge(h)
	if u.head.index == known.index && u.head.list == known.list {
		return
	}
	for _, s := range u.sessions {
		s.tellHead(u.head)
	}
}

// tellHead tells a session that missed pushes where the chain stands.
func (e *Edge) tellHead(s *session) {
	p := e.partitionOf(s.user)
	p.mu.Lock()
	defer p.mu.Unlock()
	if u := p.users[s.user]; u != nil && slices.Contains(u.sessions, s) {
		s.tellHead(u.head)
	}
}

// tellHead sends Head to a session that got Connected. The partition's lock is held.
func (s *session) tellHead(h head) {
	frame := s.encode(&imv1.ServerFrame{Body: &imv1.ServerFrame_Head{Head: h.wire()}})
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stage == joined {
		s.reply(frame)
	}
}
