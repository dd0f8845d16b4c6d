package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/catena-im/catena/services/bench/latency"
	"github.com/catena-im/catena/services/bench/pace"
)

// FailoverConfig says what the server is killed under. Zero stands for the default.
type FailoverConfig struct {
	Users    int           // 0: 50
	Rate     float64       // messages per second of all together; 0: 500
	Duration time.Duration // of sending; 0: 12 s
	Kills    int           // evenly over that time; 0: 1
}

// FailoverReport is the result of Failover. The rate counts messages that were sent and acknowledged per second, the
// latencies are those to the receiver, the stall included: messages were sent on while the server was away.
type FailoverReport struct {
	Core
	Users         int               `json:"users"`
	Kills         int               `json:"kills"`
	Stall         float64           `json:"stall_ms"`          // longest time without an acknowledgement to anybody
	DeliveryStall float64           `json:"delivery_stall_ms"` // longest time without a delivery to anybody
	Restart       float64           `json:"restart_ms"`        // from the kill until the server said it was ready; the longest
	RatioStall    float64           `json:"stall_ratio_to_restart"`
	Acked         latency.Quantiles `json:"acked"`
	Delivered     latency.Quantiles `json:"delivered"`
	Sent          int               `json:"sent"`
	Missing       int64             `json:"missing"` // answers and deliveries that did not come in time
	Reconnects    int64             `json:"reconnects"`
	Verdict       Verdict           `json:"verdict"`
}

const settleWithin = 30 * time.Second

// Failover measures what clients see when the server dies and comes back.
func (b *Bench) Failover(ctx context.Context, c FailoverConfig) (report *FailoverReport, err error) {
	setDefault(&c.Users, 50)
	setDefault(&c.Rate, 500)
	setDefault(&c.Duration, 12*time.Second)
	setDefault(&c.Kills, 1)
	switch {
	case c.Users < 2 || c.Rate <= 0 || c.Duration < 0 || c.Kills < 1:
		return nil, errors.New("give at least 2 users, a positive rate and duration, and at least one kill")
	case c.Rate/float64(c.Users) > fillRate:
		return nil, fmt.Errorf("%.0f messages per second of one user; a server takes %d", c.Rate/float64(c.Users), fillRate)
	case b.deps.Crash == nil:
		return nil, errors.New("this server cannot be killed from here; measure one that is started with --spawn")
	}
	report = &FailoverReport{Core: Core{Bench: "failover"}, Users: c.Users, Kills: c.Kills}
	err = b.against(ctx, func(ctx context.Context) error { return b.failover(ctx, c, report) })
	return report, err
}

func (b *Bench) failover(ctx context.Context, c FailoverConfig, report *FailoverReport) error {
	raw, err := b.rawPublish(ctx, false)
	if err != nil {
		return err
	}
	crisis := &crisis{bench: b, rate: c.Rate, survivors: c.Users}
	var all []*survivor
	users := b.users(c.Users)
	for i, u := range users {
		all = append(all, &survivor{crisis: crisis, user: u, peer: users[(i+1)%len(users)], at: i,
			acked: map[uint64]bool{}, got: map[uint64]bool{}})
	}
	if err := b.live(ctx, all, c, report); err != nil {
		return err
	}
	report.Acked, report.Delivered = crisis.acked.took.Quantiles(), crisis.delivered.took.Quantiles()
	report.Stall, report.DeliveryStall = ms(crisis.acked.stall()), ms(crisis.delivered.stall())
	report.Reconnects = crisis.reconnects.Load()
	used, err := b.usage(ctx)
	if err != nil {
		return err
	}
	report.RSS = mega(used.server.Resident)
	b.say("pulling the chains")
	if report.Verdict, err = b.verifySurvivors(ctx, all); err != nil {
		return err
	}
	report.finish(b, raw, c)
	return nil
}

// live lets the survivors talk while the server is killed, and waits until everything has come.
func (b *Bench) live(ctx context.Context, all []*survivor, c FailoverConfig, report *FailoverReport) error {
	living, stop := context.WithCancel(ctx)
	var parts sync.WaitGroup
	defer parts.Wait()
	defer stop()
	crisis := all[0].crisis
	crisis.start = time.Now()
	for _, s := range all {
		parts.Go(func() { s.live(living) })
	}
	var killing sync.WaitGroup
	var failed error
	killing.Go(func() { failed = b.kills(ctx, c, report) })
	pace.Plan{Rate: c.Rate, Duration: c.Duration, Lanes: 1}.Follow(ctx, crisis.start, func(k int, _ time.Duration) bool {
		number := uint64(k + len(all))
		all[k%len(all)].enqueue(number)
		report.Sent++
		if k%int(c.Rate+1) == 0 {
			b.say("%d sent, %d answers and deliveries are awaited, %d reconnects", k, crisis.waiting.Load(), crisis.reconnects.Load())
		}
		return true
	})
	killing.Wait()
	if err := errors.Join(failed, context.Cause(ctx)); err != nil {
		return err
	}
	for began := time.Now(); crisis.waiting.Load() > 0 && time.Since(began) < settleWithin && pause(ctx, mendEvery); {
	}
	report.Missing = crisis.waiting.Load()
	return context.Cause(ctx)
}

// kills kills the server, evenly over the time of sending.
func (b *Bench) kills(ctx context.Context, c FailoverConfig, report *FailoverReport) error {
	for range c.Kills {
		if !pause(ctx, c.Duration/time.Duration(c.Kills+1)) {
			return nil
		}
		b.say("killing the server")
		start := time.Now()
		if err := b.deps.Crash(ctx); err != nil {
			return fmt.Errorf("start the server again: %w", err)
		}
		took := time.Since(start)
		report.Restart = max(report.Restart, ms(took))
		b.say("it is ready again after %v", took.Round(time.Millisecond))
	}
	return nil
}

// verifySurvivors pulls every chain: each must hold what its user and its peer were told is there.
func (b *Bench) verifySurvivors(ctx context.Context, all []*survivor) (v Verdict, err error) {
	t := b.newTraffic(len(all))
	users := make([]string, len(all))
	for i, s := range all {
		users[i] = s.user
	}
	err = b.crowd(ctx, users, t, func(ctx context.Context, clients []*client) error {
		for i, s := range all {
			before := all[(i+len(all)-1)%len(all)]
			clients[i].head = 0 // the whole chain
			w := &witness{client: clients[i], acked: map[uint64]bool{}}
			for _, acked := range []map[uint64]bool{s.acked, before.acked} {
				for number := range acked {
					w.acked[number] = true
				}
			}
			t.watched[i] = w
		}
		v, err = t.verify(ctx, settleWithin)
		return err
	})
	return v, err
}

func (r *FailoverReport) finish(b *Bench, raw float64, c FailoverConfig) {
	r.latencies(r.Delivered)
	r.Rate, r.DeliveredRate = float64(r.Acked.Count)/c.Duration.Seconds(), float64(r.Delivered.Count)/c.Duration.Seconds()
	r.RatioStall = ratio(r.Stall, r.Restart)
	for _, v := range r.Verdict.Violations {
		r.trouble("%s", v)
	}
	if r.Missing > 0 {
		r.trouble("%d answers and deliveries did not come within %v after the last message", r.Missing, settleWithin)
	}
	if r.Reconnects == 0 {
		r.trouble("no client lost its connection")
	}
	r.conclude(b, raw)
}

// Print writes the report for people.
func (r *FailoverReport) Print(w io.Writer) {
	var t table
	t.row("stall", "%.0f ms without an acknowledgement, %.0f ms without a delivery, with %d kills", r.Stall, r.DeliveryStall, r.Kills)
	t.row("restart", "%.0f ms until the server was ready; ratio of the stall %s", r.Restart, times(r.RatioStall))
	t.row("acknowledged", "%d of %d; %v", r.Acked.Count, r.Sent, r.Acked)
	t.row("delivered", "%d; %v", r.Delivered.Count, r.Delivered)
	t.row("reconnects", "%d", r.Reconnects)
	t.row("chains pulled", "%d with %d entries, %d acknowledged messages looked for", r.Verdict.Users, r.Verdict.Entries, r.Verdict.Expected)
	r.verdict(&t)
	t.write(w)
}

// Plot is nothing: there is one point.
func (r *FailoverReport) Plot() []byte { return nil }
