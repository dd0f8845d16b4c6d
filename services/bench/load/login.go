package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/catena-im/catena/services/bench/latency"
	"github.com/catena-im/catena/services/bench/socket"
	"github.com/catena-im/catena/services/bench/yardstick"
)

// LoginConfig says how large the storm is. Zero stands for the default.
type LoginConfig struct {
	Clients    int           // that lose their connections at once; 0: 5,000
	Bystanders int           // that keep theirs and talk; 0: 50
	Rate       float64       // messages per second of the bystanders; 0: 100
	Within     time.Duration // in which all must be back; 0: 10 s, for more than 10,000 more in proportion
}

const (
	stormPerSecond = 1000 // clients that must be served, where no time is given
	stormLeast     = 10 * time.Second
	giveUp         = 60 * time.Second
	calm           = 500 * time.Millisecond // before the storm
	leastRetry     = 50 * time.Millisecond
	mostRetry      = 250 * time.Millisecond
)

// LoginReport is the result of Login. The rate counts clients that are authenticated again per second of the storm, the
// latencies are from its start to the answer of the server. The delivered rate is that of the bystanders.
type LoginReport struct {
	Core
	Clients    int     `json:"clients"`
	Took       float64 `json:"storm_s"`  // until the last was back
	Within     float64 `json:"within_s"` // in which all had to be
	Retries    int64   `json:"retries"`  // attempts that failed
	LastError  string  `json:"last_error,omitempty"`
	Bystanders int     `json:"bystanders"`
	During     Step    `json:"bystanders_during"` // what the bystanders saw meanwhile

	BareRate    float64 `json:"bare_gws_rate"` // the same storm on a bare gws server, with one echo each
	RatioToBare float64 `json:"ratio_to_bare_gws"`
}

// Login measures a storm of reconnects.
func (b *Bench) Login(ctx context.Context, c LoginConfig) (report *LoginReport, err error) {
	setDefault(&c.Clients, 5000)
	setDefault(&c.Bystanders, 50)
	setDefault(&c.Rate, 100)
	setDefault(&c.Within, max(stormLeast, time.Duration(c.Clients)*time.Second/stormPerSecond))
	if c.Clients < 1 || c.Bystanders < 2 || c.Rate < 0 || c.Within < 0 {
		return nil, errors.New("give at least one client, two bystanders, and a positive rate")
	}
	report = &LoginReport{Core: Core{Bench: "login"}, Clients: c.Clients, Bystanders: c.Bystanders, Within: c.Within.Seconds()}
	err = b.against(ctx, func(ctx context.Context) error { return b.login(ctx, c, report) })
	return report, err
}

func (b *Bench) login(ctx context.Context, c LoginConfig, report *LoginReport) error {
	raw, err := b.rawPublish(ctx, false)
	if err != nil {
		return err
	}
	if b.hasYardsticks() {
		b.say("yardstick: the storm on a bare gws server")
		if report.BareRate, err = b.bareStorm(ctx, c.Clients); err != nil {
			return err
		}
	}
	b.say("%d clients and %d bystanders connect", c.Clients, c.Bystanders)
	clients, err := b.openAll(ctx, b.users(c.Clients))
	defer closeAll(clients)
	if err != nil {
		return err
	}
	t := b.newTraffic(c.Bystanders)
	err = b.crowd(ctx, b.users(c.Bystanders), t, func(ctx context.Context, bystanders []*client) error {
		t.address(bystanders, 2)
		return b.stormBeside(ctx, t, clients, c, report)
	})
	if err != nil {
		return fmt.Errorf("a bystander suffers: %w", err)
	}
	report.finish(b, raw)
	return nil
}

func closeAll(clients []*client) {
	for _, c := range clients {
		if c != nil {
			_ = c.conn.Close()
		}
	}
}

// stormBeside lets the clients lose their connections and come back, while the bystanders talk.
func (b *Bench) stormBeside(ctx context.Context, t *traffic, clients []*client, c LoginConfig, report *LoginReport) error {
	before, err := b.usage(ctx)
	if err != nil {
		return err
	}
	s := newStep(c.Rate, 0, giveUp)
	var took latency.Recorder
	var storm sync.WaitGroup
	var lost error
	storm.Go(func() {
		defer s.end()
		select {
		case <-s.started:
		case <-s.done:
		}
		if !pause(ctx, calm) {
			return
		}
		b.say("all connections are cut, and all clients connect again")
		report.Took, lost = b.storm(ctx, clients, &took, report)
	})
	report.During, err = t.run(ctx, s, 0)
	s.end() // when it could not begin
	storm.Wait()
	after, usage := b.usage(ctx)
	if err = errors.Join(err, lost, usage); err != nil {
		return err
	}
	q := took.Quantiles()
	report.latencies(q)
	report.Rate = ratio(float64(q.Count), report.Took)
	report.CPU, report.RSS = after.since(before).per(q.Count).CPU, mega(after.server.Resident)
	return nil
}

// storm cuts the connections of all clients and opens new ones. It returns how many seconds that took.
func (b *Bench) storm(ctx context.Context, clients []*client, took *latency.Recorder, report *LoginReport) (float64, error) {
	var all sync.WaitGroup
	var retries, back atomic.Int64
	var last atomic.Pointer[error]
	ctx, cancel := context.WithTimeout(ctx, giveUp)
	defer cancel()
	for _, c := range clients {
		c.conn.Cut()
	}
	start := time.Now()
	for i, old := range clients {
		all.Go(func() {
			for ctx.Err() == nil {
				c, err := b.open(ctx, old.user, i)
				if err == nil {
					took.Record(i, time.Since(start))
					clients[i] = c
					back.Add(1)
					return
				}
				retries.Add(1)
				last.Store(&err)
				pause(ctx, leastRetry+rand.N(mostRetry-leastRetry))
			}
		})
	}
	all.Wait()
	report.Retries = retries.Load()
	if err := last.Load(); err != nil {
		report.LastError = (*err).Error()
	}
	if n := int(back.Load()); n < len(clients) {
		return 0, fmt.Errorf("%d of %d clients came back: %s", n, len(clients), report.LastError)
	}
	return time.Since(start).Seconds(), nil
}

// bareStorm lets as many clients connect at once to a bare gws server, each with one message there and back.
func (b *Bench) bareStorm(ctx context.Context, clients int) (rate float64, err error) {
	err = b.deps.Yardsticks.GWS(ctx, func(ctx context.Context, s yardstick.Server) error {
		ctx, cancel := context.WithTimeout(ctx, giveUp)
		defer cancel()
		conns := make([]*socket.Conn, clients)
		var all sync.WaitGroup
		start := time.Now()
		for i := range conns {
			all.Go(func() {
				for conns[i] == nil && ctx.Err() == nil {
					var err error
					if conns[i], err = b.echoOnce(ctx, s.URL, i); err != nil {
						pause(ctx, leastRetry+rand.N(mostRetry-leastRetry))
					}
				}
			})
		}
		all.Wait()
		rate = float64(clients) / time.Since(start).Seconds()
		for _, c := range conns {
			if c != nil {
				c.Cut() // leaves no port behind that waits
			}
		}
		return context.Cause(ctx)
	})
	return rate, err
}

func (r *LoginReport) finish(b *Bench, raw float64) {
	r.RatioToBare = ratio(r.Rate, r.BareRate)
	r.DeliveredRate = r.During.DeliveredRate
	if r.Took > r.Within {
		r.trouble("the last client was back after %.1f s; it should have been within %.1f s", r.Took, r.Within)
	}
	if s := r.During; s.Refused > 0 || s.Missing > 0 || s.Failed != "" {
		r.trouble("the bystanders suffered%s", reason(s))
	}
	r.conclude(b, raw)
}

// Print writes the report for people.
func (r *LoginReport) Print(w io.Writer) {
	var t table
	t.row("storm", "%d clients were back after %.2f s: %.0f/s, %d attempts failed", r.Clients, r.Took, r.Rate, r.Retries)
	t.row("", "p50 %.0f, p90 %.0f, p99 %.0f, max %.0f ms", r.P50, r.P90, r.P99, r.Max)
	if r.LastError != "" {
		t.row("last error", "%s", r.LastError)
	}
	if r.BareRate > 0 {
		t.row("bare gws", "%.0f/s; ratio %s", r.BareRate, times(r.RatioToBare))
	}
	t.row("bystanders", "%d messages of %d users meanwhile: acknowledged %v", r.During.Sent, r.Bystanders, r.During.Acked)
	t.row("", "delivered %v", r.During.Delivered)
	if r.RSS > 0 {
		t.row("server", "%.0f s of processor time per million logins, %.0f MB resident", r.CPU, r.RSS)
	}
	r.verdict(&t)
	t.write(w)
}

// Plot is nothing: there is one point.
func (r *LoginReport) Plot() []byte { return nil }
