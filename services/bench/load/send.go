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
	WarmUp   time.Duration // before each measurement; 0: 1 s
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
	setDefault(&c.Duration, usualDuration)
	setDefault(&c.WarmUp, usualWarmUp)
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
	usualDuration = 5 * time.Second
	usualWarmUp   = time.Second
	witnesses     = 20
	searchWarmUp  = 4 * time.Second // conversations begin, and a server that was just started grows
	warmRate      = 0.6             // of where a search begins
	firstRate     = 0.15            // of raw publish, for messages between two: where a search begins
	eachPush      = 0.1             // of what such a message costs, which pushes one: another push
	plainFirst    = 25              // messages of two per second of each user, where there are no yardsticks
	climb         = 1.4             // to the next rate, while each was kept
	precision     = 1.08            // of what is found
	fullSteps     = 5               // that a search has time for, if all take as long as they may
	unloadedTime  = time.Second
	verifyWithin  = 2 * time.Second
	afterSearch   = 4 * time.Second // for verifying, the last yardstick, and a margin
	overRate      = 0.7             // of what an overloaded server carried, to try next
	lessRate      = 0.85            // of a rate that was nearly kept
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
		if b.limited() {
			c.Most = min(c.Most, fillRate*float64(len(t.senders())))
		}
		filling := time.Now()
		if err := t.fill(ctx, clients, c.Fill); err != nil {
			return err
		}
		t.until = t.until.Add(time.Since(filling))
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
	report.Refusals, report.Result = t.refusals(), chosen(report.Steps)
	report.CutShort = c.Rate == 0 && cutShort(report.Steps, report.Result, c.Most)
	return err
}

// cutShort reports whether a search ended with a rate below the most, and tried none that was too much.
func cutShort(steps []Step, best Step, most float64) bool {
	return best.Kept && best.Offered < most &&
		!slices.ContainsFunc(steps, func(s Step) bool { return !s.Kept && s.Offered > best.Offered })
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
	if c.Rate == 0 {
		return t.search(ctx, c, report)
	}
	t.bench.say("measuring at %.0f/s for %v", c.Rate, c.Duration)
	r, err := t.run(ctx, newStep(c.Rate, c.WarmUp, c.Duration), c.P99)
	if err == nil {
		report.Steps = append(report.Steps, r)
	}
	return err
}

// search looks for the highest rate that keeps the bound, in the time that there is.
func (t *traffic) search(ctx context.Context, c SendConfig, report *SendReport) error {
	first := min(max(t.first(c, report.Yardsticks.RawPublish), 10), c.Most)
	warmUp := newStep(warmRate*first, 0, min(searchWarmUp, c.Duration)) // not reported
	warmUp.patience = impatient
	if _, err := t.run(ctx, warmUp, c.P99); err != nil {
		return err
	}
	search := pace.Search{First: first, Most: c.Most, Up: climb, Precision: precision}
	end := t.until.Add(c.longer() - afterSearch)
	for rate, more := search.Next(); more; rate, more = search.Next() {
		s := newStep(rate, c.WarmUp, c.Duration)
		s.patience, s.bound = impatient, c.P99
		r, err := t.run(ctx, s, c.P99)
		if err != nil {
			return err
		}
		report.Steps = append(report.Steps, r)
		t.bench.say("%.0f/s: %s", rate, r.brief())
		search.Tell(rate, r.Kept, r.likely(c.P99))
		if time.Until(end) < c.WarmUp+c.Duration {
			break
		}
	}
	return nil
}

// longer is how much more time a search gets because of the lengths that were asked for.
func (c SendConfig) longer() time.Duration {
	return fullSteps * max(0, c.WarmUp+c.Duration-usualWarmUp-usualDuration)
}

// first is the rate that a search begins with.
func (t *traffic) first(c SendConfig, raw float64) float64 {
	if c.First > 0 {
		return c.First
	}
	receivers, _ := t.receivers()
	weight := 1 + eachPush*(receivers-1)
	if raw > 0 {
		return firstRate * raw / weight
	}
	return plainFirst * float64(c.Users) / weight
}

// likely is the rate that the server would keep, by the looks of one that it did not. Overload makes large batches, so what
// a server carries then is more than what it carries in time.
func (s Step) likely(bound time.Duration) float64 {
	if limit := ms(bound); s.Failed == "" && s.Refused == 0 && s.Missing == 0 && s.Acked.P90 <= limit && s.Delivered.P90 <= limit {
		return lessRate * s.Offered
	}
	return overRate * min(s.Offered, s.Rate)
}

// chosen is the step that the report is about: the one asked for, or the highest rate that was kept; where none was, the last.
func chosen(steps []Step) Step {
	best := Step{}
	for _, s := range steps {
		if s.Kept && s.Offered > best.Offered || !best.Kept {
			best = s
		}
	}
	return best
}
