package load

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/catena-im/catena/services/bench/pace"
)

// SendConfig says what is sent. Zero stands for the default.
type SendConfig struct {
	Rate     float64       // messages per second; 0: search for the highest that keeps the bound
	P99      time.Duration // the bound: of the answer and of the delivery; 0: 100 ms
	Duration time.Duration // of measuring, after the warm-up; 0: 5 s
	WarmUp   time.Duration // before each measurement; 0: 1 s, less for the tries of a search
	Users    int           // 0: 500
	Peers    int           // with whom each user talks; 0: 10
	Members  int           // of the groups that users are in; 0: no groups
	Share    float64       // of the messages that go to groups, when there are some; 0: all
	Speakers int           // of each group; 0: all
	Fill     int           // messages between two that are sent before anything is measured
	First    float64       // rate at which a search begins; 0: chosen
	Most     float64       // rate beyond which no search goes; 0: 200,000
}

func (c *SendConfig) fill() {
	setDefault(&c.P99, 100*time.Millisecond)
	setDefault(&c.Duration, 5*time.Second)
	setDefault(&c.WarmUp, time.Second)
	setDefault(&c.Users, 500)
	setDefault(&c.Peers, 10)
	setDefault(&c.Most, 200_000)
	if c.Members > 0 {
		setDefault(&c.Share, 1)
	}
}

func setDefault[T comparable](field *T, value T) {
	if *field == *new(T) {
		*field = value
	}
}

func (c *SendConfig) validate() error {
	switch {
	case c.Rate < 0, c.P99 < 0, c.Duration < 0, c.WarmUp < 0, c.Most < 0, c.First < 0:
		return errors.New("rates and durations must not be negative")
	case c.Fill < 0 || c.Fill > 0 && c.Members > 0 && c.Share == 1:
		return fmt.Errorf("%d messages between two to begin with; give 0 or more, and a share below 1 where there are groups", c.Fill)
	case c.Users < 2:
		return fmt.Errorf("%d users; give at least 2", c.Users)
	case c.Members == 1 || c.Members < 0 || c.Members > mostMembers:
		return fmt.Errorf("groups of %d members; give 2 to %d", c.Members, mostMembers)
	case c.Members > c.Users:
		return fmt.Errorf("groups of %d members and %d users; give more users", c.Members, c.Users)
	case c.Share < 0 || c.Share > 1:
		return fmt.Errorf("a share of %v; give 0 to 1", c.Share)
	case c.Speakers < 0 || c.Speakers > c.Members:
		return fmt.Errorf("%d speakers in groups of %d", c.Speakers, c.Members)
	}
	return nil
}

const (
	witnesses    = 20
	searchWarmUp = 4 * time.Second // before the tries: conversations begin, and a server that was just started grows
	warmRate     = 0.75            // of where a search begins
	tryWarmUp    = 500 * time.Millisecond
	tryLength    = 1500 * time.Millisecond
	leastTry     = 500 * time.Millisecond
	firstRate    = 0.16 // of raw publish, in messages and pushes: where a search begins
	plainFirst   = 16   // messages and pushes per second of each user, where there are no yardsticks
	precision    = 1.2  // of the tries
	nearBound    = 0.85 // of the bound, or more: a little more would be too much
	rung         = 1.08 // between rates that are measured for the whole duration
	unloadedTime = time.Second
	verifyWithin = 2 * time.Second
	afterSearch  = 4 * time.Second // for verifying, the last yardstick, and a margin
	overRate     = 0.7             // of what an overloaded server carried
	lessRate     = 0.85            // of one that was not kept
)

// Send measures how many messages the server takes and delivers.
func (b *Bench) Send(ctx context.Context, c SendConfig) (report *SendReport, err error) {
	c.fill()
	if err := c.validate(); err != nil {
		return nil, err
	}
	report = &SendReport{Core: Core{Bench: "send"}, Users: c.Users, Peers: c.Peers, Members: c.Members, Share: c.Share,
		Body: b.Body, Bound: ms(c.P99)}
	err = b.against(ctx, func(ctx context.Context) error { return b.send(ctx, c, report) })
	return report, err
}

func (b *Bench) send(ctx context.Context, c SendConfig, report *SendReport) (err error) {
	if report.Yardsticks, err = b.measureYardsticks(ctx); err != nil {
		return err
	}
	t := b.newTraffic(c.Users)
	err = b.sendWith(ctx, t, c, report)
	if err == nil {
		err = b.publishAgain(ctx, &report.Yardsticks)
	}
	report.finish(b, c.Rate == 0)
	return err
}

// sendWith measures with traffic that was made for the number of users.
func (b *Bench) sendWith(ctx context.Context, t *traffic, c SendConfig, report *SendReport) error {
	b.say("%d users connect", c.Users)
	err := b.crowd(ctx, b.users(c.Users), t, func(ctx context.Context, clients []*client) (err error) {
		if err := t.people(ctx, clients, c); err != nil {
			return err
		}
		if err := t.fill(ctx, clients, c.Fill); err != nil {
			return err
		}
		if report.Unloaded, err = t.unloaded(ctx, min(unloadedTime, c.Duration)); err != nil {
			return err
		}
		if err := t.measure(ctx, c, report); err != nil {
			return err
		}
		b.say("pulling the chains of some users")
		report.Verdict, err = t.verify(ctx, verifyWithin)
		return err
	})
	report.Refusals, report.Result = t.refusals(), chosen(report.Steps, c.Rate == 0)
	report.Confirmed = report.Result.Kept && report.Result.Whole
	report.CutShort = c.Rate == 0 && cutShort(report.Steps, report.Result, c.Most)
	return err
}

// cutShort reports whether a search ended with a rate below the most, and tried none that was too much, nor the same for
// longer.
func cutShort(steps []Step, best Step, most float64) bool {
	return best.Kept && best.Offered < most &&
		!slices.ContainsFunc(steps, func(s Step) bool { return !s.Kept && s.Offered >= best.Offered })
}

// people makes witnesses, conversations and groups.
func (t *traffic) people(ctx context.Context, clients []*client, c SendConfig) error {
	t.witnesses(clients, witnesses)
	if c.Members == 0 || c.Share < 1 {
		t.address(clients, c.Peers)
	}
	if c.Members == 0 {
		return nil
	}
	t.share = c.Share
	t.bench.say("making groups of %d", c.Members)
	return t.groups(ctx, clients, c.Members, c.Speakers)
}

// unloaded measures messages one at a time: from the sending itself, since nothing waits.
func (t *traffic) unloaded(ctx context.Context, d time.Duration) (Step, error) {
	t.bench.say("one message at a time")
	before, err := t.bench.usage(ctx)
	if err != nil {
		return Step{}, err
	}
	s := newStep(0, 0, d)
	s.begin()
	choose := t.chooser(t.senders())
	missing := int64(0)
	for time.Since(s.start) < d && missing == 0 && ctx.Err() == nil {
		if !t.send(s, choose(), time.Since(s.start)) {
			break
		}
		missing = t.drain(ctx)
	}
	s.over.Store(true)
	after, err := t.bench.usage(ctx)
	if err != nil {
		return Step{}, err
	}
	r := s.result(missing, after.since(before), 0)
	if r.Failed != "" {
		err = errors.New(r.Failed)
	}
	return r, errors.Join(err, context.Cause(ctx))
}

// measure runs the steps of the benchmark.
func (t *traffic) measure(ctx context.Context, c SendConfig, report *SendReport) error {
	if c.Rate > 0 {
		_, err := t.whole(ctx, newStep(c.Rate, c.WarmUp, c.Duration), c, report)
		return err
	}
	rate, err := t.search(ctx, c, report)
	if err != nil || rate == 0 {
		return err
	}
	return t.confirm(ctx, rate, c, report)
}

// confirm measures for the whole duration, since a short try may have been lucky, or not: at the rate that a search found,
// and then at lower ones until one is kept and at higher ones until one is not, in the time that there is.
func (t *traffic) confirm(ctx context.Context, rate float64, c SendConfig, report *SendReport) error {
	ladder := pace.Ladder{Most: c.Most, Rung: rung}
	for more := true; more; {
		s := newStep(rate, c.WarmUp, c.Duration)
		s.patience = impatient
		r, err := t.whole(ctx, s, c, report)
		if err != nil || t.left() < c.WarmUp+c.Duration+afterSearch {
			return err
		}
		rate, more = ladder.Next(rate, r.Kept, r.far(c.P99))
	}
	return nil
}

// far reports whether a step was far from the bound.
func (s Step) far(bound time.Duration) bool {
	if s.Kept {
		return max(s.Acked.P99, s.Delivered.P99) < nearBound*ms(bound)
	}
	return !s.hiccup(bound)
}

// whole measures for the whole duration.
func (t *traffic) whole(ctx context.Context, s *step, c SendConfig, report *SendReport) (Step, error) {
	t.bench.say("measuring at %.0f/s for %v", s.rate, c.Duration)
	r, err := t.run(ctx, s, c.P99)
	if err == nil {
		r.Whole = true
		report.Steps = append(report.Steps, r)
	}
	return r, err
}

// chosen is the step that the report is about: the one asked for, or the highest rate that was kept, for the whole
// duration if any was; where none was kept, the last.
func chosen(steps []Step, searched bool) Step {
	if len(steps) == 0 {
		return Step{}
	}
	best := steps[len(steps)-1]
	if !searched {
		return best
	}
	for _, s := range steps {
		if s.Kept && (!best.Kept || s.Whole && !best.Whole || s.Whole == best.Whole && s.Offered > best.Offered) {
			best = s
		}
	}
	return best
}

// search returns the rate to begin with in measuring for the whole duration: the highest that kept the bound, or, where
// there is no time to get closer, one between it and what is too much; 0 when none was kept in the time that there is.
func (t *traffic) search(ctx context.Context, c SendConfig, report *SendReport) (float64, error) {
	first := c.First
	if first == 0 {
		first = firstRate * report.Yardsticks.RawPublish / float64(1+t.receivers())
	}
	if first == 0 {
		first = plainFirst * float64(c.Users) / float64(1+t.receivers())
	}
	s := pace.NewSearch(max(first, 10), c.Most, precision)
	warmUp := newStep(first*warmRate, 0, min(searchWarmUp, c.Duration)) // not reported
	warmUp.patience = impatient
	if _, err := t.run(ctx, warmUp, c.P99); err != nil {
		return 0, err
	}
	for missed := false; ; {
		rate, ok := s.Next()
		left := t.left() - c.WarmUp - c.Duration - afterSearch // for another try, or the same one twice
		if missed {
			left -= 2 * (c.WarmUp + c.Duration) // what was kept may be too much for longer, and what comes next, too
		}
		if !ok || len(report.Steps) > 0 && (left < 0 || left < 2*(tryWarmUp+tryLength) && s.Best() > 0) {
			if ok {
				return s.Between(), nil
			}
			return s.Best(), nil
		}
		r, err := t.try(ctx, rate, c)
		if err == nil && r.hiccup(c.P99) {
			report.Steps = append(report.Steps, r)
			t.bench.say("%.0f/s: %s; once more", rate, r.brief())
			r, err = t.try(ctx, rate, c)
		}
		if err != nil {
			return 0, err
		}
		report.Steps = append(report.Steps, r)
		missed = missed || !r.Kept
		t.bench.say("%.0f/s: %s", rate, r.brief())
		s.Tell(rate, r.Kept, r.likely(c.P99))
	}
}

// try sends at a rate for a short time.
func (t *traffic) try(ctx context.Context, rate float64, c SendConfig) (Step, error) {
	s := newStep(rate, min(tryWarmUp, c.WarmUp), min(tryLength, max(c.Duration, leastTry)))
	s.patience = impatient
	return t.run(ctx, s, c.P99)
}

// likely is the rate that the server would keep, by the looks of one that it did not. Overload makes large batches, so what
// a server carries then is more than what it carries in time.
func (s Step) likely(bound time.Duration) float64 {
	if s.hiccup(bound) {
		return lessRate * s.Offered
	}
	return min(s.Offered/2, overRate*s.Rate)
}

// hiccup reports whether a step missed the bound by a few messages only: a single pause of the machine does that in a
// short time.
func (s Step) hiccup(bound time.Duration) bool {
	limit := ms(bound)
	return !s.Kept && s.Failed == "" && s.Refused == 0 && s.Missing == 0 && s.Acked.P90 <= limit && s.Delivered.P90 <= limit
}
