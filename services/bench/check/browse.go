package check

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	imv1 "github.com/catena-im/catena/proto/im/v1"
	"github.com/catena-im/catena/services/bench/check/judge"
)

const (
	browseEvery = 1500 * time.Millisecond
	callTimeout = 15 * time.Second // of one direct request, its repetitions included
	browsePage  = 30               // entries
	listPage    = 100              // conversations; a longer list comes in pages, which are not one snapshot
)

// browse reads like a person until load ends: marks as read, scrolls back, looks at the list. What it starts may end a
// little later, within ctx.
func (d *device) browse(ctx, load context.Context, rng *rand.Rand) {
	for pause(load, jitter(rng, d.every(browseEvery))) {
		call, cancel := context.WithTimeout(ctx, callTimeout)
		switch chance := rng.IntN(100); {
		case d.refreshDue() || chance < 10:
			_, _ = d.list(call)
		case chance < 60:
			d.markRead(call, rng)
		case chance < 80:
			d.pullConversation(call, rng)
		default:
			d.pullUser(call, rng)
		}
		cancel()
	}
}

// refreshDue reports, once, that the list is to be read again.
func (d *device) refreshDue() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	due := d.stale
	d.stale = false
	return due
}

// refreshLater makes refreshDue report.
func (d *device) refreshLater() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stale = true
}

// list reads the conversation list and takes in what it tells.
func (d *device) list(ctx context.Context) ([]*imv1.ConversationSummary, error) {
	list, head, err := d.now().Conversations(ctx)
	if err != nil {
		d.refreshLater()
		return nil, err
	}
	for _, s := range list {
		d.journal.saw(d.user, judge.ViaList, 0, s.GetLastMessage())
		if len(list) <= listPage {
			d.told(s.GetConversationId(), s.GetReadIndex(), head.GetListVersion())
		}
	}
	return list, nil
}

// somewhere picks a conversation of the device and its last index; empty when there is none.
func (d *device) somewhere(rng *rand.Rand) (string, uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.heads) == 0 {
		return "", 0
	}
	ids := slices.Sorted(maps.Keys(d.heads))
	id := ids[rng.IntN(len(ids))]
	return id, d.heads[id]
}

// markRead moves a read position, mostly forward; a wish to move it back must have no effect. After an error nobody
// knows whether it moved, so the list is read again.
func (d *device) markRead(ctx context.Context, rng *rand.Rand) {
	id, head := d.somewhere(rng)
	if id == "" {
		return
	}
	index := head - min(head-1, uint64(rng.IntN(10)))
	d.journal.mark(d.user, id, index)
	marked, err := d.now().MarkRead(ctx, id, index)
	if err != nil {
		d.refreshLater()
		return
	}
	if marked.GetListVersion() != 0 { // it moved
		d.told(marked.GetConversationId(), marked.GetReadIndex(), marked.GetListVersion())
	}
}

func (d *device) pullConversation(ctx context.Context, rng *rand.Rand) {
	id, head := d.somewhere(rng)
	if id == "" {
		return
	}
	pull := &imv1.PullConversation{ConversationId: id, Limit: browsePage, NewestFirst: rng.IntN(2) == 0}
	if rng.IntN(2) == 0 {
		from := 1 + rng.Uint64N(head)
		pull.FromIndex = &from
	}
	page, err := d.now().PullConversation(ctx, pull)
	if err != nil {
		return
	}
	for _, m := range page.GetMessages() {
		d.journal.saw(d.user, judge.ViaPull, 0, m)
	}
}

func (d *device) pullUser(ctx context.Context, rng *rand.Rand) {
	page, err := d.now().PullUser(ctx, &imv1.PullUser{Limit: browsePage, NewestFirst: rng.IntN(3) > 0})
	if err != nil {
		return
	}
	for _, e := range page.GetEntries() {
		d.journal.saw(d.user, judge.ViaPull, e.GetUserIndex(), e.GetMessage())
	}
}
