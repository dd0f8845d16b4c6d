package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/catena-im/catena/services/bench/plot"
)

// FanoutConfig says how large the groups are. Zero stands for the default.
type FanoutConfig struct {
	Members  []int         // sizes of groups, measured one after the other; nil: 500
	Rate     float64       // messages per second; 0: search for the highest that keeps the bound
	P99      time.Duration // the bound; 0: 100 ms
	Duration time.Duration // of measuring; 0: 5 s
	WarmUp   time.Duration // 0: 1 s
}

// FanoutReport is the result of Fanout. The rate counts messages of the one sender and the delivered rate pushes to the
// other members, both of the largest group; the latencies are those from the intended time of sending to a member's
// socket.
type FanoutReport struct {
	Core
	Body       int        `json:"body_bytes"`
	Bound      float64    `json:"bound_p99_ms"`
	Sizes      []Fanout   `json:"sizes"`
	Yardsticks Yardsticks `json:"yardsticks"`
}

// Fanout is the result for one size of group.
type Fanout struct {
	Members       int     `json:"members"`
	DeliveredRate float64 `json:"delivered_rate"`
	CPU           float64 `json:"cpu_s_per_million_deliveries"`
	RatioToRaw    float64 `json:"ratio_to_raw_publish"` // of deliveries
	RatioToEcho   float64 `json:"ratio_to_echo"`        // of deliveries
	CutShort      bool    `json:"cut_short"`            // as in SendReport
	Result        Step    `json:"result"`
	Steps         []Step  `json:"steps"`
	Verdict       Verdict `json:"verdict"`
}

// mostOfOne is the rate of one sender: a server takes 500 frames per second of a connection.
const mostOfOne = 480

// Fanout measures groups with one sender, all of whose members are online.
func (b *Bench) Fanout(ctx context.Context, c FanoutConfig) (report *FanoutReport, err error) {
	if len(c.Members) == 0 {
		c.Members = []int{mostMembers}
	}
	for _, n := range c.Members {
		if n < 2 || n > mostMembers {
			return nil, fmt.Errorf("a group of %d members; give 2 to %d", n, mostMembers)
		}
	}
	if c.Rate > mostOfOne {
		return nil, fmt.Errorf("a rate of %.0f; one sender may send %d messages per second", c.Rate, mostOfOne)
	}
	report = &FanoutReport{Core: Core{Bench: "fanout"}, Body: b.Body}
	err = b.against(ctx, func(ctx context.Context) error { return b.fanout(ctx, c, report) })
	return report, err
}

func (b *Bench) fanout(ctx context.Context, c FanoutConfig, report *FanoutReport) (err error) {
	if report.Yardsticks, err = b.measureYardsticks(ctx); err != nil {
		return err
	}
	var errs error
	for i, n := range c.Members {
		s := SendConfig{Rate: c.Rate, P99: c.P99, Duration: c.Duration, WarmUp: c.WarmUp, Users: n, Members: n, Speakers: 1, Most: mostOfOne}
		s.fill()
		if err := s.validate(); err != nil {
			return err
		}
		t := b.newTraffic(n)
		if i > 0 { // each size has the time of a benchmark
			t.until = time.Now().Add(b.Within)
		}
		one := &SendReport{Yardsticks: report.Yardsticks, Bound: ms(s.P99), Members: n}
		err := b.sendWith(ctx, t, s, one)
		errs = errors.Join(errs, err)
		if err != nil {
			break
		}
		one.finish(b, c.Rate == 0)
		report.add(one, fmt.Sprintf("group of %d: ", n))
	}
	if errs == nil {
		errs = b.publishAgain(ctx, &report.Yardsticks)
	}
	report.finish(b)
	return errs
}

// add adds the result for one size.
func (r *FanoutReport) add(one *SendReport, name string) {
	for _, trouble := range one.Troubles {
		r.trouble("%s%s", name, trouble)
	}
	f := Fanout{
		Members: one.Members, DeliveredRate: one.DeliveredRate, CutShort: one.CutShort,
		Result: one.Result, Steps: one.Steps, Verdict: one.Verdict,
	}
	f.CPU = ratio(one.Result.Cost.CPU, float64(one.Members-1))
	r.Bound = one.Bound
	r.Sizes = append(r.Sizes, f)
}

func (r *FanoutReport) finish(b *Bench) {
	largest := Fanout{}
	for i := range r.Sizes {
		f := &r.Sizes[i]
		f.RatioToRaw, f.RatioToEcho = ratio(f.DeliveredRate, r.Yardsticks.RawPublish), ratio(f.DeliveredRate, r.Yardsticks.EchoRate)
		if f.Members > largest.Members {
			largest = *f
		}
	}
	r.Rate, r.DeliveredRate = largest.Result.Rate, largest.DeliveredRate
	r.CPU, r.RSS = largest.Result.Cost.CPU, largest.Result.Cost.RSS
	r.latencies(largest.Result.Delivered)
	r.conclude(b, r.Yardsticks.RawPublish)
}

// Print writes the report for people.
func (r *FanoutReport) Print(w io.Writer) {
	var t table
	for _, f := range r.Sizes {
		t.row(fmt.Sprintf("group of %d", f.Members), "%.0f messages/s, %.0f deliveries/s; delivered %v",
			f.Result.Rate, f.DeliveredRate, f.Result.Delivered)
		t.row("", "acknowledged %v", f.Result.Acked)
		t.row("", "%.2f s of processor time per million deliveries; ratio of deliveries %s to raw publish, %s to gws echo",
			f.CPU, times(f.RatioToRaw), times(f.RatioToEcho))
		if f.CutShort {
			t.row("", cutShortText)
		}
		f.Result.Cost.rows(&t)
	}
	if y := r.Yardsticks; y.RawPublish > 0 {
		t.row("raw publish", "%.0f/s", y.RawPublish)
		t.row("gws echo", "%.0f/s", y.EchoRate)
	}
	r.verdict(&t)
	t.write(w)
}

// Plot is cost and deliveries against the size of the group; nil when there was one size only.
func (r *FanoutReport) Plot() []byte {
	if len(r.Sizes) < 2 {
		return nil
	}
	cost, rate := plot.Line{Name: "µs of CPU a delivery"}, plot.Line{Name: "1,000 deliveries/s"}
	for _, f := range r.Sizes {
		cost.Points = append(cost.Points, plot.Point{X: float64(f.Members), Y: f.CPU})
		rate.Points = append(rate.Points, plot.Point{X: float64(f.Members), Y: f.DeliveredRate / 1000})
	}
	return plot.Chart{
		Title: "Fan-out against the size of the group", X: "members online", Y: "µs, or 1,000/s", LogX: true, LogY: true,
		Lines: []plot.Line{cost, rate},
	}.SVG()
}
