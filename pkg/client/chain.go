package client

import (
	"slices"
	"time"

	imv1 "github.com/catena-im/catena/proto/im/v1"
)

const (
	maxWaiting = 512 // chain entries handed on that OnEvent has not had yet
	maxEarly   = 256 // pushes kept from beyond a gap
	pageWish   = 200 // entries asked for in one pull
)

// chain decides what of the user chain is handed on and what is pulled. It is a pure step like outbox. A push is a
// hint: next in line, it is handed on; below, dropped; beyond, up to maxEarly are kept while the gap before them is
// pulled and the rest is dropped and pulled as well. While OnEvent is maxWaiting entries behind, nothing is handed on.
type chain struct {
	backoff
	timeout time.Duration
	page    int // entries asked for in one pull

	have   uint64            // last UserIndex handed on
	head   uint64            // last UserIndex known to exist
	oldest uint64            // oldest UserIndex that the server keeps
	list   uint64            // version of the conversation list that was last told of
	early  []*imv1.UserEntry // pushes from beyond the gap, rising, all above have
	room   int               // entries that may be handed on

	flight   uint64    // the pull in flight; 0 when there is none
	sentAt   time.Time // of that pull
	timeouts int       // pulls in a row that were not answered on this connection
	hold     time.Time // no pull before
	failures int       // pulls in a row that brought nothing
}

// advance is a step along the chain: to the next entry, or over entries that the server no longer keeps.
type advance struct {
	entry    *imv1.UserEntry
	from, to uint64 // without an entry
}

func (a advance) position() uint64 {
	if a.entry != nil {
		return a.entry.GetUserIndex()
	}
	return a.to
}

func newChain(timeout time.Duration, b backoff) *chain {
	return &chain{backoff: b, timeout: timeout, page: pageWish, room: maxWaiting}
}

// connected opens a connection with the head as the server told it.
func (c *chain) connected(h *imv1.Head) ([]advance, error) {
	if h == nil { // the server does not know it now; a push or a Head will tell
		return nil, nil
	}
	if h.GetUserIndex() < c.have {
		return nil, ErrChainWentBack
	}
	c.head = h.GetUserIndex()
	return c.tell(h), nil
}

// disconnected forgets the pull in flight and the pushes beyond it.
func (c *chain) disconnected() {
	c.flight, c.timeouts, c.early = 0, 0, nil
}

// tell takes in a head.
func (c *chain) tell(h *imv1.Head) []advance {
	c.head = max(c.head, h.GetUserIndex())
	c.oldest = max(c.oldest, min(h.GetOldestUserIndex(), c.head+1))
	if c.have+1 >= c.oldest {
		return nil
	}
	skip := advance{from: c.have + 1, to: c.oldest - 1}
	c.have = skip.to
	return append([]advance{skip}, c.absorb()...)
}

// push takes in a pushed entry.
func (c *chain) push(e *imv1.UserEntry) []advance {
	i := e.GetUserIndex()
	c.head = max(c.head, i)
	if i <= c.have {
		return nil
	}
	at, found := slices.BinarySearchFunc(c.early, i, func(e *imv1.UserEntry, i uint64) int {
		return int(min(max(int64(e.GetUserIndex()-i), -1), 1))
	})
	if !found && (len(c.early) < maxEarly || at == 0) {
		c.early = slices.Insert(c.early, at, e)
	}
	out := c.absorb()
	c.early = c.early[:min(len(c.early), maxEarly)]
	return out
}

// absorb hands on the kept pushes that are in line.
func (c *chain) absorb() []advance {
	rest := c.early
	for len(rest) > 0 && rest[0].GetUserIndex() <= c.have {
		rest = rest[1:]
	}
	out := c.take(rest)
	c.early = slices.Delete(c.early, 0, len(c.early)-len(rest)+len(out))
	return out
}

// take hands on those of the rising entries that are in line, as far as there is room.
func (c *chain) take(entries []*imv1.UserEntry) (out []advance) {
	for _, e := range entries {
		if e.GetUserIndex() <= c.have {
			continue
		}
		if e.GetUserIndex() != c.have+1 || c.room == 0 {
			break
		}
		c.have++
		c.room--
		out = append(out, advance{entry: e})
	}
	return out
}

// released makes room for n entries that OnEvent has had.
func (c *chain) released(n int) []advance {
	c.room += n
	return c.absorb()
}

// next is the pull to send now as request id, or nil.
func (c *chain) next(id uint64, now time.Time) *imv1.PullUser {
	if !c.gap() || c.flight != 0 || now.Before(c.hold) {
		return nil
	}
	c.flight, c.sentAt = id, now
	from, limit := c.have+1, uint32(min(c.page, c.room))
	pull := &imv1.PullUser{FromIndex: &from, Limit: limit}
	if len(c.early) > 0 {
		to := c.early[0].GetUserIndex() - 1
		pull.ToIndex = &to
	}
	return pull
}

// pending is how many pulls may wait for their answers at the server.
func (c *chain) pending() int {
	if c.flight == 0 {
		return c.timeouts
	}
	return c.timeouts + 1
}

// gap reports whether there is something to pull and room for it.
func (c *chain) gap() bool {
	next := len(c.early) > 0 && c.early[0].GetUserIndex() == c.have+1
	return c.have < c.head && !next && c.room >= min(c.page, maxWaiting/2)
}

// paged takes in the answer to the pull sent as request id; a late page is as good as any.
func (c *chain) paged(id uint64, p *imv1.UserPage, now time.Time, dice float64) []advance {
	entries := p.GetEntries()
	out := append(c.take(entries), c.tell(p.GetHead())...)
	out = append(out, c.take(entries)...)
	out = append(out, c.absorb()...)
	useless := len(out) == 0 && (len(entries) == 0 || entries[len(entries)-1].GetUserIndex() > c.have)
	switch {
	case len(out) > 0:
		c.failures = 0
	case useless && c.gap() && id == c.flight:
		c.failed(id, 0, now, dice)
	}
	c.answered(id)
	return out
}

// failed takes the answer that the pull sent as request id was refused.
func (c *chain) failed(id uint64, after time.Duration, now time.Time, dice float64) {
	if id != c.flight {
		return
	}
	c.hold = now.Add(after + c.wait(c.failures, dice))
	c.failures++
	c.answered(id)
}

func (c *chain) answered(id uint64) {
	if id == c.flight {
		c.flight = 0
	}
	c.timeouts = 0
}

// expire makes an overdue pull be sent again. It reports whether another connection is called for.
func (c *chain) expire(now time.Time) (stuck bool) {
	if c.flight == 0 || now.Before(c.due()) {
		return false
	}
	c.flight = 0
	c.timeouts++
	return c.timeouts == maxTimeouts
}

func (c *chain) due() time.Time { return c.sentAt.Add(c.timeout << c.timeouts) }

// deadline is when next or expire has something to do that only time brings; zero when nothing.
func (c *chain) deadline(now time.Time) time.Time {
	switch {
	case c.flight != 0:
		return c.due()
	case c.gap() && c.hold.After(now):
		return c.hold
	}
	return time.Time{}
}

// listed takes in a version of the conversation list and reports whether the application was not told of it.
func (c *chain) listed(version uint64) bool {
	news := version > c.list
	c.list = max(c.list, version)
	return news
}

// moved takes in the version that a read position's move made. It reports whether the move is news, and whether
// others before it were missed.
func (c *chain) moved(version uint64) (news, missed bool) {
	missed = version > c.list+1
	return c.listed(version), missed
}
