package load

import (
	"context"
	"errors"
	"fmt"
	"time"
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
	listRepeats = 20 // times that the whole list is pulled
	scanFactor  = 10 // entries that plain Pebble scans for each message: more than caches of a processor hold
)

// Pull measures how fast chains and lists are read.
func (b *Bench) Pull(ctx context.Context, c PullConfig) (report *PullReport, err error) {
	if err := c.fill(); err != nil {
		return nil, err
	}
	report = &PullReport{Core: Core{Bench: "pull"}, Page: c.Page, Messages: c.Messages, Readers: c.Readers,
		Conversations: c.Conversations, Body: b.Body}
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
		pass pass
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
