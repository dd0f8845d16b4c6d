package load

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	imv1 "github.com/catena-im/catena/proto/im/v1"
	"github.com/catena-im/catena/services/bench/latency"
)

// pulling counts the pages that all readers get.
type pulling struct {
	page           int
	length         time.Duration // 0: one pass
	until          time.Time
	pages, entries atomic.Int64
	bytes          atomic.Int64
	took           latency.Recorder
}

// pass reads everything that a client has of one kind.
type pass func(context.Context, *client, *pulling) error

// pullKind measures one kind of pull: a first pass, after a restart if the server can be restarted, and then passes for
// some time.
func (b *Bench) pullKind(ctx context.Context, readers []string, name string, c PullConfig, to *Pulls, pass pass) error {
	if b.deps.Crash != nil {
		b.say("restarting the server")
		if err := b.deps.Crash(ctx); err != nil {
			return err
		}
		to.ColdIsRestarted = true
	}
	return b.crowd(ctx, readers, deaf{}, func(ctx context.Context, clients []*client) (err error) {
		b.say("pulling %s: the first time", name)
		if to.Cold, _, err = b.passes(ctx, clients, &pulling{page: c.Page}, pass); err != nil {
			return err
		}
		b.say("pulling %s: for %v", name, c.Duration)
		to.Warm, to.Bytes, err = b.passes(ctx, clients, &pulling{page: c.Page, length: c.Duration}, pass)
		return err
	})
}

// passes lets every reader read everything, once or until the time is over.
func (b *Bench) passes(ctx context.Context, clients []*client, p *pulling, pass pass) (r PullRate, bytes float64, err error) {
	before, err := b.usage(ctx)
	if err != nil {
		return r, 0, err
	}
	start := time.Now()
	p.until = start.Add(p.length)
	g, in := errgroup.WithContext(ctx)
	for _, c := range clients {
		g.Go(func() error {
			for {
				if err := pass(in, c, p); err != nil || !p.again() {
					return err
				}
			}
		})
	}
	if err := g.Wait(); err != nil {
		return r, 0, err
	}
	took := time.Since(start).Seconds()
	after, err := b.usage(ctx)
	if err != nil {
		return r, 0, err
	}
	entries := float64(p.entries.Load())
	r = PullRate{
		Pages: float64(p.pages.Load()) / took, Entries: entries / took, MB: float64(p.bytes.Load()) / took / 1e6,
		Took: p.took.Quantiles(), CPU: after.since(before).per(p.entries.Load()).CPU, RSS: mega(after.server.Resident),
	}
	return r, ratio(float64(p.bytes.Load()), entries), nil
}

// again reports whether another pass begins.
func (p *pulling) again() bool { return time.Now().Before(p.until) }

// over reports whether a pass ends in its middle.
func (p *pulling) over() bool { return p.length > 0 && !p.again() }

// one pulls one page and counts it.
func (p *pulling) one(ctx context.Context, c *client, f *imv1.ClientFrame) (page, error) {
	start := time.Now()
	got, err := c.pull(ctx, f)
	if err != nil {
		return got, err
	}
	p.took.Record(c.at, time.Since(start))
	p.pages.Add(1)
	p.entries.Add(int64(got.entries))
	p.bytes.Add(int64(got.bytes))
	return got, nil
}

// chain pulls a whole chain; ask makes the request for the page that begins with an index.
func (p *pulling) chain(ctx context.Context, c *client, ask func(from uint64) *imv1.ClientFrame) error {
	for from, more := uint64(1), true; more; {
		got, err := p.one(ctx, c, ask(from))
		if err != nil {
			return err
		}
		from, more = got.last+1, got.more && got.entries > 0 && !p.over()
	}
	return nil
}

// passHistory pulls the conversations of c from their first messages to their last.
func (b *Bench) passHistory(ctx context.Context, c *client, p *pulling) error {
	conversations, err := c.conversations(ctx)
	if err != nil {
		return err
	}
	for _, id := range conversations {
		err := p.chain(ctx, c, func(from uint64) *imv1.ClientFrame {
			return &imv1.ClientFrame{Body: &imv1.ClientFrame_PullConversation{PullConversation: &imv1.PullConversation{
				ConversationId: id, FromIndex: &from, Limit: uint32(p.page),
			}}}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// conversations are the ids in the list of c, the first page of it.
func (c *client) conversations(ctx context.Context) (ids []string, err error) {
	c.mu.Lock()
	ids = c.listed
	c.mu.Unlock()
	if ids != nil {
		return ids, nil
	}
	answer, err := c.call(ctx, &imv1.ClientFrame{Body: &imv1.ClientFrame_ListConversations{ListConversations: &imv1.ListConversations{}}})
	if err != nil {
		return nil, err
	}
	for _, s := range answer.GetConversationList().GetConversations() {
		ids = append(ids, s.GetConversationId())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.listed = ids
	return ids, nil
}

// passSync pulls the user chain of c.
func (b *Bench) passSync(ctx context.Context, c *client, p *pulling) error {
	return p.chain(ctx, c, func(from uint64) *imv1.ClientFrame {
		return &imv1.ClientFrame{Body: &imv1.ClientFrame_PullUser{PullUser: &imv1.PullUser{FromIndex: &from, Limit: uint32(p.page)}}}
	})
}

// pullList pulls the whole list some times, one page after the other.
func (b *Bench) pullList(ctx context.Context, user []string, page int, report *PullReport) error {
	var took latency.Recorder
	err := b.crowd(ctx, user, deaf{}, func(ctx context.Context, clients []*client) error {
		for range listRepeats {
			start := time.Now()
			n, err := clients[0].list(ctx, max(page, mostPage))
			if err != nil {
				return err
			}
			took.Record(0, time.Since(start))
			report.Listed = n
		}
		return nil
	})
	report.List = took.Quantiles()
	return err
}

// list pulls the whole list and counts it.
func (c *client) list(ctx context.Context, page int) (n int, err error) {
	token := ""
	for {
		answer, err := c.call(ctx, &imv1.ClientFrame{Body: &imv1.ClientFrame_ListConversations{
			ListConversations: &imv1.ListConversations{PageToken: token, Limit: uint32(page)}}})
		if err != nil {
			return n, err
		}
		n += len(answer.GetConversationList().GetConversations())
		if token = answer.GetConversationList().GetNextPageToken(); token == "" {
			return n, nil
		}
	}
}
