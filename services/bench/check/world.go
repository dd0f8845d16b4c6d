package check

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
)

// maxPeers bounds how many others a user talks to one to one, so that a conversation list fits into one page.
const maxPeers = 8

// world is who there is and who talks to whom. All but the members of groups is decided before the run.
type world struct {
	users  []string
	peers  map[string][]string // by user; the relation is symmetric
	plans  []groupPlan
	mu     sync.Mutex // guards groups and what they lead to
	groups []*group
}

// groupPlan is a group that is to be made.
type groupPlan struct {
	title, owner string
	members      []string // without the owner
}

// group is a group and who is thought to be in it. The chain may know better; the judge asks the chain.
type group struct {
	id      string
	owner   string
	members []string // with the owner
}

func newWorld(c Config) *world {
	rng := rand.New(rand.NewPCG(c.Seed, 1))
	w := &world{peers: map[string][]string{}}
	for i := range c.Users {
		w.users = append(w.users, fmt.Sprintf("%s-u%02d", c.Run, i+1))
	}
	for i, u := range w.users {
		for range 3 {
			w.befriend(u, w.users[rng.IntN(len(w.users))])
		}
		w.befriend(u, w.users[(i+1)%len(w.users)]) // nobody is left alone
	}
	for i := range c.Groups {
		shuffled := slices.Clone(w.users)
		rng.Shuffle(len(shuffled), func(a, b int) { shuffled[a], shuffled[b] = shuffled[b], shuffled[a] })
		size := 3 + rng.IntN(max(1, min(len(shuffled), 12)-2)) // 3 to 12 members
		w.plans = append(w.plans, groupPlan{fmt.Sprintf("group %d", i+1), shuffled[0], shuffled[1:min(size, len(shuffled)-1)]})
	}
	return w
}

func (w *world) befriend(a, b string) {
	if a == b || slices.Contains(w.peers[a], b) || len(w.peers[a]) >= maxPeers || len(w.peers[b]) >= maxPeers {
		return
	}
	w.peers[a] = append(w.peers[a], b)
	w.peers[b] = append(w.peers[b], a)
}

func single(a, b string) string { return "s:" + min(a, b) + ":" + max(a, b) }

func (w *world) founded(g *group) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.groups = append(w.groups, g)
}

// learned sets who is in a group.
func (w *world) learned(id, owner string, members []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, g := range w.groups {
		if g.id == id {
			g.owner, g.members = owner, slices.Clone(members)
		}
	}
}

// all returns copies of the groups.
func (w *world) all() []group {
	w.mu.Lock()
	defer w.mu.Unlock()
	var groups []group
	for _, g := range w.groups {
		groups = append(groups, group{g.id, g.owner, slices.Clone(g.members)})
	}
	return groups
}

// of returns the groups that user is thought to be in.
func (w *world) of(user string) []group {
	return slices.DeleteFunc(w.all(), func(g group) bool { return !slices.Contains(g.members, user) })
}
