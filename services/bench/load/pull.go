package load

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	imv1 "github.com/catena-im/catena/proto/im/v1"
	"github.com/catena-im/catena/services/bench/latency"
)

// PullConfig says what is there and how it is pulled. Zero stands for the default.
type PullConfig struct {
	Readers       int           // connections that pull, each one page at a time; 0: 8
	Messages      int           // in all conversations together; 0: 20,000
	Page          int           // entries of a page; 0: 100
	Conversations int           // in the list of the user who lists; 0: 1,000
	Duration      time.Duration // of each kind of pull, warm; 0: 3 s
}

func (c *PullConfig) fill() error {
	setDefault(&c.Readers, 8)
	setDefault(&c.Messages, 20_000)
	setDefault(&c.Page, 100)
	setDefault(&c.Conversations, 1000)
	setDefault(&c.Duration, 3*time.Second)
	switch {
	case c.Readers < 2:
		return errors.New("give at least 2 readers")
	case c.Page < 1 || c.Page > mostPage:
		return fmt.Errorf("pages of %d entries; give 1 to %d", c.Page, mostPage)
	case c.Messages < c.Readers || c.Conversations < 1 || c.Duration < 0:
		return errors.New("give at least as many messages as readers, one conversation, and a positive duration")
	}
	return nil
}

const (
	mostPage    = 500
	pullPeers   = 2  // of each reader
	fillWindow  = 60 // messages of one connection under way while chains are filled
	listRepeats = 20 // times that the whole list is pulled
	scanFactor  = 10 // entries that plain Pebble scans for each message: more than caches of a processor hold
)

// Pull measures how fast chains and lists are read.
func (b *Bench) Pull(ctx context.Context, c PullConfig) (report *PullReport, err error) {
	if err := c.fill(); err != nil {
		return nil, err
	}
	report = &PullReport{Core: Core{Bench: "pull"}, Page: c.Page, Messages: c.Messages, Readers: c.Readers, Conversations: c.Conversations, Body: b.Body}
	err = b.against(ctx, func(ctx context.Context) error { return b.pull(ctx, c, report) })
	return report, err
}

func (b *Bench) pull(ctx context.Context, c PullConfig, report *PullReport) (err error) {
	raw, err := b.rawPublish(ctx, false)
	if err != nil {
		return err
	}
	readers, lister := b.users(c.Readers), b.users(1)
	b.say("filling chains with %d messages, and a list with %d conversations", c.Messages, c.Conversations)
	if err := b.fill(ctx, readers, c.Messages); err != nil {
		return fmt.Errorf("fill the chains: %w", err)
	}
	if err := b.fillList(ctx, lister, c.Conversations); err != nil {
		return fmt.Errorf("fill the list: %w", err)
	}
	for _, k := range []struct {
		name string
		to   *Pulls
		pass func(context.Context, *client, *pulling) error
	}{
		{"conversation chains", &report.History, b.passHistory},
		{"user chains", &report.Sync, b.passSync},
	} {
		if err := b.pullKind(ctx, readers, k.name, c, k.to, k.pass); err != nil {
			return err
		}
	}
	b.say("pulling the list of conversations")
	if err := b.pullList(ctx, lister, c.Page, report); err != nil {
		return err
	}
	if b.hasYardsticks() && report.History.Bytes > 0 {
		b.say("yardstick: plain Pebble with entries of %.0f bytes", report.History.Bytes)
		if report.Pebble, err = b.deps.Yardsticks.Pebble(ctx, scanFactor*c.Messages, int(report.History.Bytes), c.Page); err != nil {
			return err
		}
	}
	report.finish(b, raw, c)
	return nil
}

// fill puts messages into the conversations of the readers, as fast as the server takes them.
func (b *Bench) fill(ctx context.Context, users []string, messages int) error {
	t := b.newTraffic(len(users))
	return b.crowd(ctx, users, t, func(ctx context.Context, clients []*client) error {
		t.address(clients, pullPeers)
		n := 0
		return t.flood(ctx, messages, len(clients), func() *lane {
			n++
			lanes := t.lanes[n%len(clients)]
			return lanes[n/len(clients)%len(lanes)]
		})
	})
}

// fillList lets one user write to many.
func (b *Bench) fillList(ctx context.Context, user []string, conversations int) error {
	t := b.newTraffic(1)
	return b.crowd(ctx, user, t, func(ctx context.Context, clients []*client) error {
		n := 0
		return t.flood(ctx, conversations, 1, func() *lane {
			n++
			return &lane{from: clients[0], to: fmt.Sprintf("%s-%d", clients[0].user, n)}
		})
	})
}

// flood sends messages with a window that suits so many senders, and returns when all are acknowledged. A refusal because
// of the rate slows it down.
func (t *traffic) flood(ctx context.Context, messages, senders int, choose func() *lane) error {
	s := newStep(0, 0, time.Hour)
	s.begin()
	told := time.Now()
	for sent := 0; sent < messages; {
		if t.pending.Load() > int64(fillWindow*senders) || time.Since(s.start) < time.Duration(float64(sent)/float64(senders)/fillRate*float64(time.Second)) {
			if !pause(ctx, time.Millisecond) {
				return context.Cause(ctx)
			}
			continue
		}
		if !t.send(s, choose(), time.Since(s.start)) {
			return errors.New(s.failure())
		}
		sent++
		if time.Since(told) > time.Second {
			told = time.Now()
			t.bench.say("%d of %d messages sent", sent, messages)
		}
	}
	missing := t.drain(ctx)
	if missing > 0 || s.refused.Load() > 0 {
		return fmt.Errorf("%d messages were refused %v, and something is missing of %d", s.refused.Load(), t.refusals(), missing)
	}
	return context.Cause(ctx)
}

// fillRate is how many messages per second one connection sends: a server takes 500.
const fillRate = 450

// pulling counts the pages that all readers get.
type pulling struct {
	page           int
	length         time.Duration // 0: one pass
	until          time.Time
	pages, entries atomic.Int64
	bytes          atomic.Int64
	took           latency.Recorder
}

// pullKind measures one kind of pull: a first pass, after a restart if the server can be restarted, and then passes for
// some time.
func (b *Bench) pullKind(ctx context.Context, readers []string, name string, c PullConfig, to *Pulls, pass func(context.Context, *client, *pulling) error) error {
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
func (b *Bench) passes(ctx context.Context, clients []*client, p *pulling, pass func(context.Context, *client, *pulling) error) (r PullRate, bytes float64, err error) {
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
