package main

import "fmt"

// table is one table of the page: a benchmark, and what changes from row to row.
type table struct {
	name, title string
	rows        string // what the first column is
	columns     columns
	of          []row
}

type row struct{ name, args string }

// report is what is read of a report.
type report struct {
	Rate      float64 `json:"rate"`
	Delivered float64 `json:"delivered_rate"`
	P50       float64 `json:"p50_ms"`
	P99       float64 `json:"p99_ms"`
	CPU       float64 `json:"cpu_s_per_million"`
	RSS       float64 `json:"rss_mb"`
	Result    struct {
		Cost struct {
			Stream float64 `json:"stream_messages_per_message"`
		} `json:"cost"`
	} `json:"result"`
}

// columns are what a table shows of each report.
type columns struct {
	names []string
	of    func(report) []string
}

var sending = columns{
	[]string{"acknowledged/s", "delivered p50, ms", "p99, ms", "server, µs of CPU per message", "stream messages per message", "resident, MB"},
	func(r report) []string {
		return []string{
			fmt.Sprintf("%.0f", r.Rate), fmt.Sprintf("%.1f", r.P50), fmt.Sprintf("%.0f", r.P99), fmt.Sprintf("%.0f", r.CPU),
			fmt.Sprintf("%.2f", r.Result.Cost.Stream), fmt.Sprintf("%.0f", r.RSS),
		}
	},
}

var fanning = columns{
	[]string{"messages/s", "deliveries/s", "delivered p50, ms", "p99, ms", "server, µs of CPU per delivery", "resident, MB"},
	func(r report) []string {
		return []string{
			fmt.Sprintf("%.0f", r.Rate), fmt.Sprintf("%.0f", r.Delivered), fmt.Sprintf("%.1f", r.P50), fmt.Sprintf("%.0f", r.P99),
			fmt.Sprintf("%.1f", r.CPU*r.Rate/r.Delivered), fmt.Sprintf("%.0f", r.RSS),
		}
	},
}

const plain = "send --yardsticks 0 --duration 8s --warm-up 2s"

// each makes a row of each value of one thing.
func each[T any](format string, values ...T) (rows []row) {
	for _, v := range values {
		rows = append(rows, row{fmt.Sprint(v), fmt.Sprintf(format, v)})
	}
	return rows
}

var tables = []table{
	{"rate", "500 users, each with 10 peers; the batches grow with the rate.", "offered/s", sending,
		each(plain+" --rate %v", 500, 1000, 2000, 4000, 8000, 12000, 16000)},
	{"partitions", "4,000 messages/s; as many user partitions as conversation partitions.", "partitions of each kind", sending,
		each(plain+" --rate 4000 --server-flag=--partitions-conv=%[1]v --server-flag=--partitions-user=%[1]v", 1, 2, 4, 8, 16, 64)},
	{"users", "4,000 messages/s, each user with 10 peers.", "users, connected", sending,
		each(plain+" --rate 4000 --users %v", 20, 100, 500, 2000, 5000)},
	{"length", "Two users in one conversation, 2,000 messages/s.", "messages in the chain before", sending,
		each(plain+" --rate 2000 --users 2 --peers 1 --fill %v", 0, 10_000, 100_000, 1_000_000)},
	{"database", "500 users, each with 10 peers, 4,000 messages/s.", "messages in the store before", sending,
		each(plain+" --rate 4000 --fill %v", 0, 100_000, 1_000_000, 10_000_000)},
	{"groups", "One sender, all members connected; the highest rate that keeps a p99 of 100 ms, and 480/s at the most, since a client may send 500.", "members", fanning,
		each("fanout --members %v", 2, 10, 50, 100, 500)},
}

func names() (all []string) {
	for _, t := range tables {
		all = append(all, t.name)
	}
	return all
}
