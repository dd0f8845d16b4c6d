package load

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/catena-im/catena/services/bench/latency"
	"github.com/catena-im/catena/services/bench/pace"
)

// step is sending at one rate for some time.
type step struct {
	rate           float64
	warmUp, length time.Duration // sending takes both; only the second counts
	patience       time.Duration // how long a message may be under way, on average, before the step is hopeless
	bound          time.Duration // of the p99, without which the step need not go on; 0: it goes on
	start          time.Time
	started        chan struct{} // closed when start is set

	sent, refused    atomic.Int64
	acked, delivered side
	over             atomic.Bool // what is still under way is given up
	lost             atomic.Bool // it ended because the bound cannot be kept any more
	done             chan struct{}
	once             sync.Once // closes done

	mu     sync.Mutex // guards the field below
	failed string     // why it was cut short
}

func newStep(rate float64, warmUp, length time.Duration) *step {
	s := &step{rate: rate, warmUp: warmUp, length: length, patience: patient, started: make(chan struct{}), done: make(chan struct{})}
	s.acked.step, s.delivered.step = s, s
	return s
}

func (s *step) begin() {
	s.start = time.Now()
	close(s.started)
}

// fail cuts the step short. The first reason counts.
func (s *step) fail(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == "" {
		s.failed = fmt.Sprintf(format, args...)
	}
	s.end()
}

// end ends the sending before the plan does.
func (s *step) end() { s.once.Do(func() { close(s.done) }) }

func (s *step) failure() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

const (
	pacers      = 2 // goroutines that send
	watchEvery  = 20 * time.Millisecond
	patient     = 15 * time.Second        // of a rate that was asked for
	impatient   = 1500 * time.Millisecond // of a rate that a search tries
	leastQueue  = 500                     // pushes that may be under way whatever the rate
	leastFew    = 30                      // messages that may be, whatever the rate and the pushes of each
	drainWithin = 10 * time.Second
)

// Step is what came of sending at one rate.
type Step struct {
	Offered       float64           `json:"offered"` // messages per second that were to be sent
	Rate          float64           `json:"rate"`    // acknowledged per second
	DeliveredRate float64           `json:"delivered_rate"`
	Acked         latency.Quantiles `json:"acked"`     // from the intended time of sending to the answer
	Delivered     latency.Quantiles `json:"delivered"` // from there to the receiver's socket
	Sent          int64             `json:"sent"`      // the warm-up included, as in what follows
	AckedCount    int64             `json:"acked_count"`
	Refused       int64             `json:"refused"`
	Missing       int64             `json:"missing"` // messages whose answer or some of whose pushes did not come in time
	Cost          Cost              `json:"cost"`
	Kept          bool              `json:"kept"`             // the rate was kept up within the bound, and nothing was refused or missing
	Lost          bool              `json:"lost"`             // it ended early, since the bound could not be kept any more
	Failed        string            `json:"failed,omitempty"` // why it could not go on
}

// run sends at a rate and returns when everything is answered and delivered, or given up.
func (t *traffic) run(ctx context.Context, s *step, bound time.Duration) (Step, error) {
	before, err := t.bench.usage(ctx)
	if err != nil {
		return Step{}, err
	}
	s.begin()
	t.follow(ctx, s)
	if ctx.Err() != nil {
		return Step{}, context.Cause(ctx)
	}
	missing := t.drain(ctx)
	s.over.Store(true)
	after, err := t.bench.usage(ctx)
	if err != nil {
		return Step{}, err
	}
	return s.result(missing, after.since(before), bound), context.Cause(ctx)
}

// follow sends what the step plans, until that is done or has failed.
func (t *traffic) follow(ctx context.Context, s *step) {
	sending, cut := context.WithCancel(ctx)
	defer cut()
	var parts, watch sync.WaitGroup
	senders := t.senders()
	lanes := min(pacers, len(senders))
	for lane := range lanes {
		var own []*client // each belongs to one pacer, so that its messages keep their order
		for i := lane; i < len(senders); i += lanes {
			own = append(own, senders[i])
		}
		parts.Go(func() {
			choose := t.chooser(own)
			plan := pace.Plan{Rate: s.rate, Duration: s.warmUp + s.length, Lane: lane, Lanes: lanes}
			plan.Follow(sending, s.start, func(_ int, due time.Duration) bool { return t.send(s, choose(), due) })
		})
	}
	watch.Go(func() { t.watch(s, cut) })
	parts.Wait()
	s.end()
	watch.Wait()
	s.length = max(0, min(s.length, time.Since(s.start)-s.warmUp)) // it may have ended early
}

// senders are the clients who have a lane.
func (t *traffic) senders() (senders []*client) {
	for i := range t.lanes {
		for _, l := range [][]*lane{t.lanes[i], t.rooms[i]} {
			if len(l) > 0 {
				senders = append(senders, l[0].from)
				break
			}
		}
	}
	return senders
}

// chooser chooses lanes of senders by chance, of groups as often as their share says.
func (t *traffic) chooser(senders []*client) func() *lane {
	source := rand.New(rand.NewPCG(t.numbers.Load(), uint64(senders[0].at)))
	var single, rooms [][]*lane
	for _, c := range senders {
		if l := t.lanes[c.at]; len(l) > 0 {
			single = append(single, l)
		}
		if l := t.rooms[c.at]; len(l) > 0 {
			rooms = append(rooms, l)
		}
	}
	return func() *lane {
		from := single
		if len(single) == 0 || len(rooms) > 0 && source.Float64() < t.share {
			from = rooms
		}
		lanes := from[source.IntN(len(from))]
		return lanes[source.IntN(len(lanes))]
	}
}

// receivers is how many are pushed a message, on average and at the most.
func (t *traffic) receivers() (mean, most float64) {
	single, rooms := receiversOf(t.lanes), receiversOf(t.rooms)
	switch {
	case rooms == 0:
		return single, single
	case single == 0:
		return rooms, rooms
	}
	return (1-t.share)*single + t.share*rooms, max(single, rooms)
}

// receiversOf is how many are pushed a message of these lanes, all of which have as many.
func receiversOf(all [][]*lane) float64 {
	for _, lanes := range all {
		if len(lanes) > 0 {
			return float64(lanes[0].receivers)
		}
	}
	return 0
}

// watch tells the progress, and ends a step that is hopeless so that it does not bury the server. It cuts the sending
// when the step is done.
func (t *traffic) watch(s *step, cut func()) {
	defer cut()
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	told := time.Now()
	_, receivers := t.receivers()
	for {
		select {
		case <-s.done:
			return
		case <-tick.C:
		}
		if s.cannotKeep(int64(receivers)) {
			s.lost.Store(true)
			s.end()
			return
		}
		if limit := max(leastQueue/(1+receivers), leastFew, s.rate*s.patience.Seconds()); float64(t.pending.Load()) > limit {
			s.fail("more than %.0f messages wait for their answers or pushes", limit)
			return
		}
		if time.Since(told) > time.Second {
			told = time.Now()
			t.bench.say("%.0f/s: %d sent, %d acknowledged, %d delivered, %d refused, delivered %v", s.rate, s.sent.Load(),
				s.acked.count.Load(), s.delivered.count.Load(), s.refused.Load(), s.delivered.took.Quantiles())
		}
	}
}

// cannotKeep reports whether the bound is missed for certain, whatever the rest of the step comes to: something was refused,
// or more came late than a hundredth of all that it is to measure, if each message has as many receivers.
func (s *step) cannotKeep(receivers int64) bool {
	planned := int64(pace.Count(s.warmUp+s.length, s.rate) - pace.Count(s.warmUp, s.rate))
	return s.bound > 0 && (s.refused.Load() > 0 ||
		s.acked.late.Load() > few(planned) || s.delivered.late.Load() > few(receivers*planned))
}

// few is how many of n may be late while the p99 is in time.
func few(n int64) int64 { return n - int64(math.Round(0.99*float64(n))) }

// drain waits for what is under way and returns how many messages something is missing of.
func (t *traffic) drain(ctx context.Context) int64 {
	timer := time.NewTimer(drainWithin)
	defer timer.Stop()
	for t.pending.Load() > 0 {
		select {
		case <-t.idle:
		case <-ctx.Done():
			return 0
		case <-timer.C:
			return t.pending.Load()
		}
	}
	return 0
}

func (s *step) result(missing int64, cost Usage, bound time.Duration) Step {
	r := Step{
		Offered: s.rate, Acked: s.acked.took.Quantiles(), Delivered: s.delivered.took.Quantiles(),
		Sent: s.sent.Load(), AckedCount: s.acked.count.Load(), Refused: s.refused.Load(), Missing: missing,
		Lost: s.lost.Load(), Failed: s.failure(),
	}
	r.Rate, r.DeliveredRate = s.acked.rate(r.Acked), s.delivered.rate(r.Delivered)
	r.Cost = cost.per(r.AckedCount)
	limit := float64(bound.Microseconds()) / 1000
	// A sender that falls behind needs no test of its own: its messages are late.
	r.Kept = r.Failed == "" && !r.Lost && r.Refused == 0 && r.Missing == 0 && r.Acked.Count > 0 &&
		(bound == 0 || r.Acked.P99 <= limit && r.Delivered.P99 <= limit)
	return r
}
