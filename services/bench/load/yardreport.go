package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// YardstickConfig says how large the yardsticks are. Zero stands for the default.
type YardstickConfig struct {
	Connections int           // to the gws server; 0: 5,000
	Settle      time.Duration // as in IdleConfig
	Entries     int           // of Pebble; 0: 200,000
}

// YardstickReport is the result of Yardstick. The rate is that of raw publish.
type YardstickReport struct {
	Core
	Yardsticks   Yardsticks      `json:"yardsticks"`
	IdleBytes    float64         `json:"bare_gws_bytes_per_connection"`
	IdlePoints   []MemoryPoint   `json:"bare_gws_points"`
	Pebble       PebbleYardstick `json:"pebble"`
	PebbleScanMB float64         `json:"pebble_scan_mb_per_s"`
}

const (
	entryOverhead = 120 // bytes of a chain entry besides its text, about
	yardstickPage = 100
)

// Yardstick measures the yardsticks alone; it needs no server.
func (b *Bench) Yardstick(ctx context.Context, c YardstickConfig) (report *YardstickReport, err error) {
	setDefault(&c.Connections, 5000)
	setDefault(&c.Settle, defaultSettle)
	setDefault(&c.Entries, 200_000)
	switch {
	case !b.hasYardsticks():
		return nil, errors.New("there are no yardsticks here")
	case c.Connections < idlePoints || c.Connections > mostConnections || c.Entries < yardstickPage:
		return nil, fmt.Errorf("%d connections and %d entries; give %d to %d connections and at least %d entries",
			c.Connections, c.Entries, idlePoints, mostConnections, yardstickPage)
	}
	report = &YardstickReport{Core: Core{Bench: "yardstick"}}
	if report.Yardsticks, err = b.measureYardsticks(ctx); err != nil {
		return nil, err
	}
	b.say("%d connections to a bare gws server", c.Connections)
	if report.IdlePoints, err = b.bareIdle(ctx, IdleConfig{Connections: c.Connections, Settle: c.Settle}, func(context.Context) error { return nil }); err != nil {
		return nil, err
	}
	report.IdleBytes = each(report.IdlePoints)
	b.say("%d entries in plain Pebble", c.Entries)
	if report.Pebble, err = b.deps.Yardsticks.Pebble(ctx, c.Entries, b.Body+entryOverhead, yardstickPage); err != nil {
		return nil, err
	}
	report.PebbleScanMB = report.Pebble.MB(report.Pebble.Scan)
	report.Rate, report.DeliveredRate = report.Yardsticks.RawPublish, report.Yardsticks.EchoRate
	report.latencies(report.Yardsticks.EchoRoundTrip)
	report.conclude(b, report.Yardsticks.RawPublish)
	return report, nil
}

// Print writes the report for people.
func (r *YardstickReport) Print(w io.Writer) {
	var t table
	y, p := r.Yardsticks, r.Pebble
	t.row("raw publish", "%.0f/s with default sync, %.0f/s synced", y.RawPublish, y.RawPublishSynced)
	t.row("gws echo", "%.0f/s; round trip %v", y.EchoRate, y.EchoRoundTrip)
	t.row("gws idle", "%.0f bytes resident for a connection", r.IdleBytes)
	t.row("Pebble write", "%.0f entries/s of %d bytes, without fsync", p.Write, p.Bytes)
	t.row("Pebble scan", "%.0f entries/s, %.0f MB/s; cold %.0f entries/s; by pages of %d %.0f entries/s", p.Scan, p.MB(p.Scan), p.ColdScan, yardstickPage, p.Pages)
	t.row("fsync", "%v", y.Fsync)
	r.verdict(&t)
	t.write(w)
}
