package load

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/catena-im/catena/services/bench/latency"
)

// Core is what every benchmark reports. What a rate counts, and what its latencies are of, stands beside each report.
type Core struct {
	Bench         string   `json:"bench"`
	OK            bool     `json:"ok"` // everything that was checked is as it should be
	Rate          float64  `json:"rate"`
	DeliveredRate float64  `json:"delivered_rate"`
	P50           float64  `json:"p50_ms"`
	P90           float64  `json:"p90_ms"`
	P99           float64  `json:"p99_ms"`
	P999          float64  `json:"p99_9_ms"`
	Max           float64  `json:"max_ms"`
	CPU           float64  `json:"cpu_s_per_million"` // processor seconds of the server per million of what the rate counts
	RSS           float64  `json:"rss_mb"`            // resident memory of the server at the end
	RawPublish    float64  `json:"raw_publish_rate"`  // raw JetStream publish in the same run, messages per second
	Ratio         float64  `json:"ratio_to_raw_publish"`
	Seconds       float64  `json:"seconds"`
	Troubles      []string `json:"troubles"` // what kept the benchmark from showing what it should
}

func (c *Core) latencies(q latency.Quantiles) {
	c.P50, c.P90, c.P99, c.P999, c.Max = q.P50, q.P90, q.P99, q.P999, q.Max
}

func (c *Core) trouble(format string, args ...any) {
	c.Troubles = append(c.Troubles, fmt.Sprintf(format, args...))
}

// Passed reports whether everything that was checked is as it should be.
func (c *Core) Passed() bool { return c.OK }

// conclude fills what follows from the rest.
func (c *Core) conclude(b *Bench, raw float64) {
	c.RawPublish, c.Ratio = raw, ratio(c.Rate, raw)
	c.Seconds = time.Since(b.began).Seconds()
	c.OK = len(c.Troubles) == 0
	if c.Troubles == nil {
		c.Troubles = []string{}
	}
}

// table is a report as people read it.
type table struct{ rows [][2]string }

func (t *table) row(name, format string, args ...any) {
	t.rows = append(t.rows, [2]string{name, fmt.Sprintf(format, args...)})
}

// write writes the rows, their values below each other.
func (t *table) write(w io.Writer) {
	width := 0
	for _, r := range t.rows {
		width = max(width, len(r[0]))
	}
	for _, r := range t.rows {
		fmt.Fprintf(w, "%-*s  %s\n", width, r[0], r[1])
	}
}

// verdict adds what every report ends with.
func (c *Core) verdict(t *table) {
	if c.OK {
		t.row("checked", "ok")
	}
	for _, trouble := range c.Troubles {
		t.row("TROUBLE", "%s", trouble)
	}
}

// cost adds what the server used, as far as that is known.
func (c Cost) rows(t *table) {
	if c.RSS > 0 {
		t.row("server", "%.1f s of processor time per million messages, %.0f MB resident (%.0f at most)", c.CPU, c.RSS, c.PeakRSS)
	}
	t.row("load generator", "%.1f s of processor time per million messages", c.OwnCPU)
	if c.Streamed > 0 {
		t.row("stream messages", "%.4f per message; each is one fsync where durability is fsync", c.Streamed)
	}
}

// times shows a ratio to a yardstick.
func times(v float64) string {
	if v == 0 {
		return "unknown"
	}
	return fmt.Sprintf("%.3g", v)
}

// refusals are the errors that the server answered with.
func (t *traffic) refusals() map[string]int {
	t.mu.Lock()
	defer t.mu.Unlock()
	named := map[string]int{}
	for code, n := range t.errors {
		named[strings.TrimPrefix(code.String(), "ERROR_CODE_")] = n
	}
	return named
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
