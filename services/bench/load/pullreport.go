package load

import (
	"fmt"
	"io"

	"github.com/catena-im/catena/services/bench/latency"
)

// PullReport is the result of Pull. The rate counts entries of conversation chains per second and the delivered rate
// those of user chains, both warm; the latencies are of a page of a conversation chain.
type PullReport struct {
	Core
	Readers       int               `json:"readers"`
	Messages      int               `json:"messages"`
	Conversations int               `json:"conversations"` // in the list
	Page          int               `json:"page_entries"`
	Body          int               `json:"body_bytes"`
	History       Pulls             `json:"history"` // conversation chains
	Sync          Pulls             `json:"sync"`    // user chains
	List          latency.Quantiles `json:"list"`    // of the whole list, in pages of 500
	Listed        int               `json:"listed"`

	Pebble        PebbleYardstick `json:"pebble"` // entries of the same size
	RatioToScan   float64         `json:"history_ratio_to_pebble_scan"`
	RatioToPages  float64         `json:"history_ratio_to_pebble_pages"`
	SyncToScan    float64         `json:"sync_ratio_to_pebble_scan"`
	ColdToScan    float64         `json:"history_cold_ratio_to_pebble_cold_scan"`
	ListUnder20ms bool            `json:"list_p50_below_20ms"`
}

// Pulls are the rates of one kind of pull.
type Pulls struct {
	Cold            PullRate `json:"cold"` // the first pass
	Warm            PullRate `json:"warm"`
	Bytes           float64  `json:"bytes"`             // of an encoded message
	ColdIsRestarted bool     `json:"cold_is_restarted"` // the server was restarted before; its caches were empty, not the system's
}

// PullRate is how fast pages came, per second over all readers.
type PullRate struct {
	Pages   float64           `json:"pages"`
	Entries float64           `json:"entries"`
	MB      float64           `json:"mb"`
	Took    latency.Quantiles `json:"page"`
	CPU     float64           `json:"cpu_s_per_million"` // entries
	RSS     float64           `json:"rss_mb"`
}

func (r *PullReport) finish(b *Bench, raw float64, c PullConfig) {
	h, s := r.History.Warm, r.Sync.Warm
	r.Rate, r.DeliveredRate, r.CPU, r.RSS = h.Entries, s.Entries, h.CPU, s.RSS
	r.latencies(h.Took)
	r.RatioToScan, r.RatioToPages = ratio(h.Entries, r.Pebble.Scan), ratio(h.Entries, r.Pebble.Pages)
	r.SyncToScan, r.ColdToScan = ratio(s.Entries, r.Pebble.Scan), ratio(r.History.Cold.Entries, r.Pebble.ColdScan)
	r.ListUnder20ms = r.List.P50 < 20
	if h.Entries == 0 || s.Entries == 0 {
		r.trouble("nothing was pulled")
	}
	if r.Listed != c.Conversations {
		r.trouble("the list has %d conversations, not %d", r.Listed, c.Conversations)
	}
	r.conclude(b, raw)
}

func (p PullRate) String() string {
	return fmt.Sprintf("%.0f entries/s, %.0f pages/s, %.1f MB/s; page %v; %.1f s of processor time per million",
		p.Entries, p.Pages, p.MB, p.Took, p.CPU)
}

// Print writes the report for people.
func (r *PullReport) Print(w io.Writer) {
	var t table
	first := "first pass"
	if r.History.ColdIsRestarted {
		first = "cold (restarted)"
	}
	t.row("who", "%d readers, pages of %d, %d messages of %d bytes", r.Readers, r.Page, r.Messages, r.Body)
	t.row("history, "+first, "%v", r.History.Cold)
	t.row("history, warm", "%v", r.History.Warm)
	t.row("sync, "+first, "%v", r.Sync.Cold)
	t.row("sync, warm", "%v", r.Sync.Warm)
	t.row("list", "%d conversations: %v", r.Listed, r.List)
	if p := r.Pebble; p.Scan > 0 {
		t.row("Pebble scan", "%.0f entries/s of %d bytes, cold %.0f; by pages %.0f", p.Scan, p.Bytes, p.ColdScan, p.Pages)
		t.row("ratio", "history %s of a scan, %s of one by pages, cold %s of a cold scan; sync %s of a scan",
			times(r.RatioToScan), times(r.RatioToPages), times(r.ColdToScan), times(r.SyncToScan))
	}
	t.row("server", "%.0f MB resident", r.RSS)
	r.verdict(&t)
	t.write(w)
}

// Plot is nothing: there is one point.
func (r *PullReport) Plot() []byte { return nil }
