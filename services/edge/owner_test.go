package edge

import (
	"errors"
	"slices"
	"sync"

	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// owner stands in for the owner of user partition 0.
type owner struct {
	mu       sync.Mutex // guards the fields below
	away     bool
	known    bool
	epoch    uint64
	sequence uint64
	heads    map[string]*imv1.Head
	users    []string
	requests []*imv1.SessionRequest
}

func newOwner(w *world) *owner {
	o := &owner{epoch: 1, heads: make(map[string]*imv1.Head)}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.session = o.answer
	return o
}

func (o *owner) answer(r *imv1.SessionRequest) (*imv1.SessionReply, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.away {
		return nil, errors.New("nobody answers")
	}
	o.requests = append(o.requests, r)
	if r.GetReplace() {
		o.users, o.known = nil, true
	}
	if !o.known {
		return &imv1.SessionReply{Epoch: o.epoch}, nil
	}
	reply := &imv1.SessionReply{Epoch: o.epoch, Known: true, LaneSequence: o.sequence}
	for _, u := range r.GetAddUserIds() {
		o.users = append(o.users, u)
		reply.Heads = append(reply.Heads, o.heads[u])
	}
	o.users = slices.DeleteFunc(o.users, func(u string) bool { return slices.Contains(r.GetDropUserIds(), u) })
	return reply, nil
}

func (o *owner) set(f func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f()
}

func (o *owner) has(user string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Contains(o.users, user)
}

func (o *owner) asked() int { return len(o.heard()) }

// heard is what it was asked so far.
func (o *owner) heard() []*imv1.SessionRequest {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.requests)
}
