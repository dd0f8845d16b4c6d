package load

import (
	"slices"

	"github.com/catena-im/catena/services/bench/latency"
	"github.com/catena-im/catena/services/bench/plot"
)

// Plot is latency against rate; nil when there was one rate only.
func (r *SendReport) Plot() []byte {
	if len(r.Steps) < 2 {
		return nil
	}
	steps := slices.Clone(r.Steps)
	slices.SortFunc(steps, func(a, b Step) int { return int(a.Offered - b.Offered) })
	line := func(name string, value func(Step) float64) plot.Line {
		l := plot.Line{Name: name}
		for _, s := range steps {
			l.Points = append(l.Points, plot.Point{X: s.Offered, Y: value(s)})
		}
		return l
	}
	quantile := func(name string, of func(Step) latency.Quantiles, value func(latency.Quantiles) float64) plot.Line {
		return line(name, func(s Step) float64 { return value(of(s)) })
	}
	acked, delivered := func(s Step) latency.Quantiles { return s.Acked }, func(s Step) latency.Quantiles { return s.Delivered }
	p50, p99 := func(q latency.Quantiles) float64 { return q.P50 }, func(q latency.Quantiles) float64 { return q.P99 }
	return plot.Chart{
		Title: "Latency against rate: " + r.who(), X: "messages per second, offered", Y: "ms", LogX: true, LogY: true, Bound: r.Bound,
		Lines: []plot.Line{
			quantile("acknowledged p50", acked, p50), quantile("acknowledged p99", acked, p99),
			quantile("delivered p50", delivered, p50), quantile("delivered p99", delivered, p99),
		},
	}.SVG()
}

// Plot is memory against connections.
func (r *IdleReport) Plot() []byte {
	line := func(name string, points []MemoryPoint) plot.Line {
		l := plot.Line{Name: name}
		for _, p := range points {
			l.Points = append(l.Points, plot.Point{X: float64(p.Connections), Y: p.RSS})
		}
		return l
	}
	c := plot.Chart{Title: "Resident memory against idle connections", X: "connections", Y: "MB", Lines: []plot.Line{line("catena", r.Points)}}
	if len(r.BarePoints) > 0 {
		c.Lines = append(c.Lines, line("bare gws", r.BarePoints))
	}
	return c.SVG()
}

// Plot is the memory of a bare gws server against connections.
func (r *YardstickReport) Plot() []byte {
	return (&IdleReport{BarePoints: r.IdlePoints}).Plot()
}
