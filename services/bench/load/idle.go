package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/catena-im/catena/services/bench/latency"
	"github.com/catena-im/catena/services/bench/process"
)

// IdleConfig says how many connections are held. Zero stands for the default.
type IdleConfig struct {
	Connections int           // 0: 5,000
	Settle      time.Duration // before memory is looked at in the end; on the way a sixth of it; 0: 3 s
	// Hold is how long they are held after the last has connected. Without it the memory that connecting left behind is
	// counted as well: an idle Go process collects its garbage every two minutes.
	Hold time.Duration
}

// IdleReport is the result of Idle. The rate counts connections that were authenticated per second, the latencies are
// of connecting.
type IdleReport struct {
	Core
	Connections   int           `json:"connections"`
	Bytes         float64       `json:"bytes_per_connection"` // resident
	BareBytes     float64       `json:"bare_gws_bytes_per_connection"`
	RatioToBare   float64       `json:"ratio_to_bare_gws"`
	Points        []MemoryPoint `json:"points"`
	BarePoints    []MemoryPoint `json:"bare_gws_points"`
	Alive         int           `json:"alive"` // connections that answered in the end
	PerGigabyte   float64       `json:"connections_per_gigabyte"`
	HeldForSecond float64       `json:"held_s"`
}

// MemoryPoint is the resident memory of a server that holds so many connections.
type MemoryPoint struct {
	Connections int     `json:"connections"`
	RSS         float64 `json:"rss_mb"`
}

const (
	idlePoints      = 5 // at which memory is looked at
	settlePart      = 6 // of the time to settle, on the way
	defaultSettle   = 3 * time.Second
	mostConnections = 500_000
)

// Idle measures what connections cost that do nothing.
func (b *Bench) Idle(ctx context.Context, c IdleConfig) (report *IdleReport, err error) {
	setDefault(&c.Connections, 5000)
	setDefault(&c.Settle, defaultSettle)
	switch {
	case c.Connections < idlePoints || c.Connections > mostConnections:
		return nil, fmt.Errorf("%d connections; give %d to %d", c.Connections, idlePoints, mostConnections)
	case c.Hold < 0 || c.Settle < 0:
		return nil, errors.New("times must not be negative")
	case b.deps.PID == nil:
		return nil, errors.New("the memory of this server cannot be read; measure one on this machine: --spawn, or --data")
	}
	report = &IdleReport{Core: Core{Bench: "idle"}, Connections: c.Connections, HeldForSecond: c.Hold.Seconds()}
	err = b.against(ctx, func(ctx context.Context) error { return b.idle(ctx, c, report) })
	return report, err
}

func (b *Bench) idle(ctx context.Context, c IdleConfig, report *IdleReport) error {
	raw, err := b.rawPublish(ctx, false)
	if err != nil {
		return err
	}
	var cost Cost
	measure := func(ctx context.Context) (err error) {
		b.say("%d connections to the server", c.Connections)
		cost, err = b.hold(ctx, c, report)
		return err
	}
	if b.hasYardsticks() {
		b.say("yardstick: %d connections to a bare gws server", c.Connections)
		report.BarePoints, err = b.bareIdle(ctx, c, measure)
	} else {
		err = measure(ctx)
	}
	if err != nil {
		return err
	}
	report.CPU, report.RSS = cost.CPU, cost.RSS
	report.Bytes, report.BareBytes = each(report.Points), each(report.BarePoints)
	report.RatioToBare, report.PerGigabyte = ratio(report.Bytes, report.BareBytes), ratio(1e9, report.Bytes)
	if report.Alive != c.Connections {
		report.trouble("%d of %d connections answer in the end", report.Alive, c.Connections)
	}
	report.conclude(b, raw)
	return nil
}

// each is what each connection takes, in bytes: what is there more at the last point than at the first.
func each(points []MemoryPoint) float64 {
	if len(points) < 2 {
		return 0
	}
	first, last := points[0], points[len(points)-1]
	return (last.RSS - first.RSS) * 1e6 / float64(last.Connections-first.Connections)
}

// hold connects, looks at the memory on the way, and asks every connection in the end whether it lives.
func (b *Bench) hold(ctx context.Context, c IdleConfig, report *IdleReport) (cost Cost, err error) {
	pid, err := b.deps.PID()
	if err != nil {
		return cost, err
	}
	before, err := b.usage(ctx)
	if err != nil {
		return cost, err
	}
	users, clients := b.users(c.Connections), make([]*client, c.Connections)
	defer func() {
		for _, c := range clients {
			if c != nil {
				_ = c.conn.Close()
			}
		}
	}()
	var took latency.Recorder
	points, opening, err := b.watch(ctx, filling{pid, c.Connections, c.Settle, func(ctx context.Context, i int) (err error) {
		began := time.Now()
		clients[i], err = b.open(ctx, users[i], i)
		took.Record(i, time.Since(began))
		return err
	}})
	if err != nil {
		return cost, err
	}
	report.Points = points
	report.latencies(took.Quantiles())
	report.Rate = float64(c.Connections) / opening.Seconds()
	err = hold(ctx, clients, deaf{}, func(ctx context.Context) error {
		if c.Hold > 0 {
			b.say("holding them for %v", c.Hold)
			pause(ctx, c.Hold)
			u, err := process.Read(pid)
			if err != nil {
				return err
			}
			report.Points = append(report.Points, MemoryPoint{c.Connections, mega(u.Resident)})
		}
		after, err := b.usage(ctx)
		if err != nil {
			return err
		}
		cost = after.since(before).per(int64(c.Connections))
		report.Alive, err = alive(ctx, clients)
		return err
	})
	return cost, err
}

// Print writes the report for people.
func (r *IdleReport) Print(w io.Writer) {
	var t table
	for _, p := range r.Points {
		t.row(fmt.Sprintf("  %d connections", p.Connections), "%.1f MB", p.RSS)
	}
	t.row("a connection", "%.0f bytes resident; a gigabyte holds %.0f", r.Bytes, r.PerGigabyte)
	if r.BareBytes > 0 {
		t.row("bare gws", "%.0f bytes; ratio %s", r.BareBytes, times(r.RatioToBare))
	}
	t.row("connected", "%.0f/s, p50 %.1f, p99 %.1f, max %.1f ms, %.0f s of processor time per million", r.Rate, r.P50, r.P99, r.Max, r.CPU)
	r.verdict(&t)
	t.write(w)
}
