// Package plan is the arithmetic of capacity: from a number of users and their habits to partitions, nodes, disks and
// memory, by the cost of single operations (units.go). It promises that every number it gives follows from its inputs
// and from a unit that says where it comes from, and that what was measured and what is assumed are told apart. It
// measures nothing itself, and a plan is no promise: units were measured on a small machine, and load is never even.
package plan

import (
	"fmt"
	"math"
	"time"
)

// Config is who uses the cluster, and what it is built of. Every field is needed; Default has the usual habits.
type Config struct {
	Users          float64 `json:"users"`
	MessagesPerDay float64 `json:"messages_per_day"` // that a user sends
	PeakFactor     float64 `json:"peak_factor"`      // the busiest minute against the mean of the day
	OnlineShare    float64 `json:"online_share"`     // of the users, connected in the busiest minute
	GroupShare     float64 `json:"group_share"`      // of the messages, sent to groups; the others are between two
	GroupMembers   float64 `json:"group_members"`    // of the group that such a message goes to, in the mean
	Body           float64 `json:"body_bytes"`
	RetentionDays  float64 `json:"retention_days"` // how long messages are kept

	Replicas        int           `json:"replicas"`            // of streams and of TiKV's regions
	Headroom        float64       `json:"headroom"`            // share of each resource that stays free in the busiest minute
	StreamRetention time.Duration `json:"stream_retention_ns"` // how long streams keep what was handled: stream.max_age
	// BatchTime is how long a partition is at a batch, from reading it until its fan-out is acknowledged. What comes
	// meanwhile shares the next stream message, so a longer time makes fewer of them, and every message slower.
	BatchTime time.Duration `json:"batch_time_ns"`

	// LeastPartitions of each kind are there from the first day, since their numbers cannot be changed.
	LeastPartitions int `json:"least_partitions"`

	NodeCores  float64 `json:"node_cores"`
	NodeMemory float64 `json:"node_memory_bytes"`
	Disk       float64 `json:"disk_bytes"` // of a NATS server, and of a TiKV store
}

// Default is a Config for which only users and their messages are missing.
func Default() Config {
	return Config{
		PeakFactor: 5, OnlineShare: 0.1, GroupShare: 0.3, GroupMembers: 50, Body: 200, RetentionDays: 365,
		Replicas: 3, Headroom: 0.5, StreamRetention: 72 * time.Hour, BatchTime: 20 * time.Millisecond, LeastPartitions: 32,
		NodeCores: 16, NodeMemory: 64 << 30, Disk: 4e12,
	}
}

// An InputError names the input that makes no sense, as the flags of `catena plan` do, and says what would.
type InputError struct {
	Name string // such as group-share
	Why  string
}

func (e *InputError) Error() string { return e.Name + " " + e.Why }

// validate answers an *InputError for the first input that makes no sense.
func (c Config) validate() error {
	for _, r := range []struct {
		name        string
		value       float64
		least, most float64
		hint        string
	}{
		{"users", c.Users, 1, 1e10, "how many users there are"},
		{"messages-per-day", c.MessagesPerDay, 0.001, 10_000, "what one user sends in a day, not all of them"},
		{"peak-factor", c.PeakFactor, 1, 100, "the busiest minute against the mean of the day"},
		{"online-share", c.OnlineShare, 0.0001, 1, "the part of the users that is connected, such as 0.1"},
		{"group-share", c.GroupShare, 0, 1, "the part of the messages that goes to groups, such as 0.3"},
		{"group-members", c.GroupMembers, 2, 500, "the members of a group; 500 is the most that a group may have"},
		{"body", c.Body, 1, 60 << 10, "the bytes of a message's text"},
		{"retention-days", c.RetentionDays, 1, 36_500, "how many days messages are kept"},
		{"headroom", c.Headroom, 0, 0.9, "the part of each resource that stays free, such as 0.5"},
		{"stream-retention", c.StreamRetention.Hours(), 1, 24 * 365, "the hours that streams keep messages, such as 72h"},
		{"batch-time", c.BatchTime.Seconds(), 0.001, 10, "how long a batch takes, such as 20ms"},
		{"least-partitions", float64(c.LeastPartitions), 1, maxPartitions, "the partitions of a kind to begin with"},
		{"node-cores", c.NodeCores, 1, 1024, "the cores of a node"},
		{"node-memory", c.NodeMemory, 1 << 30, 64 << 40, "the memory of a node, such as 64GiB"},
		{"disk", c.Disk, 1e10, 1e15, "the disk of a node, such as 4TB"},
	} {
		if !(r.value >= r.least && r.value <= r.most) { // so that NaN is refused
			return &InputError{r.name, fmt.Sprintf("is out of range (%s to %s): give %s", exact(r.least), exact(r.most), r.hint)}
		}
	}
	if c.Replicas != 1 && c.Replicas != 3 && c.Replicas != 5 {
		return &InputError{"replicas", fmt.Sprintf("is %d: give 1, 3 or 5", c.Replicas)}
	}
	return nil
}

// exact is a bound as one would write it.
func exact(v float64) string { return fmt.Sprintf("%.12g", v) }

// Plan is what the users need. Everything but Cells, Reason and Limits is of one cell.
type Plan struct {
	Config Config  `json:"config"`
	Cells  int     `json:"cells"`  // clusters of NATS and TiKV with their processes
	Limits []Limit `json:"limits"` // what one cell for everybody would come to against what a cell can be
	Load   Load    `json:"load"`   // in the busiest minute
	Parts  []Part  `json:"parts"`
	Totals Totals  `json:"totals"` // of all cells
}

// Load is what happens in one cell, per second of the busiest minute where nothing else is said.
type Load struct {
	Connections    float64 `json:"connections"`
	Messages       float64 `json:"messages"`
	Entries        float64 `json:"entries"`         // of user chains
	Deliveries     float64 `json:"deliveries"`      // pushes to sockets
	Pulls          float64 `json:"pulled_entries"`  // what was not pushed, and what a lost edge's clients ask for
	Touched        float64 `json:"touched"`         // user partitions that hear of a message, in the mean
	Commands       float64 `json:"command_batches"` // stream messages from edges
	Fanouts        float64 `json:"fanout_batches"`  // stream messages from conversation to user partitions
	KeysWritten    float64 `json:"keys_written"`
	KeysRead       float64 `json:"keys_read"`
	ConvPartitions int     `json:"conv_partitions"`
	UserPartitions int     `json:"user_partitions"`
	StreamMaxBytes float64 `json:"stream_max_bytes"` // the setting stream.max_bytes that the retention needs
	Regions        float64 `json:"regions"`          // of TiKV, when the retention is reached
	Compression    float64 `json:"compression"`      // bytes on TiKV's disks for each byte of keys and values, one copy
	Renewals       float64 `json:"renewals"`         // requests by which edges renew their sessions with the owners
	Announcements  float64 `json:"announcements"`    // such requests at once when a sequencer is lost
}

// StreamMessages is how many messages a second the streams take.
func (l Load) StreamMessages() float64 { return l.Commands + l.Fanouts }

// A Part is one kind of process, and as many of them as its tightest resource asks for.
type Part struct {
	Name  string `json:"name"`
	Nodes int    `json:"nodes"`
	Bound string `json:"bound"` // what asks for that many nodes
	Needs []Need `json:"needs"`
}

// A Need is what a part takes of one resource, all its nodes together.
type Need struct {
	Resource string  `json:"resource"`
	Amount   float64 `json:"amount"`
	Unit     string  `json:"unit"`     // of Amount and Usable
	Usable   float64 `json:"usable"`   // of one node, with the headroom taken off
	Nodes    float64 `json:"nodes"`    // Amount / Usable
	Assumed  bool    `json:"assumed"`  // a unit behind it was not measured
	From     string  `json:"computed"` // from which units
}

// A Limit is what one cell for everybody would need, and the most that a cell can have.
type Limit struct {
	What   string  `json:"what"`
	Needed float64 `json:"needed"`
	Most   float64 `json:"most"`
	Why    string  `json:"why"`
}

// Broken reports whether one cell cannot be that large.
func (l Limit) Broken() bool { return l.Needed > l.Most }

// Totals sums up all cells.
type Totals struct {
	Nodes  int     `json:"nodes"`
	Cores  float64 `json:"cores"`
	Memory float64 `json:"memory_bytes"`
	Disk   float64 `json:"disk_bytes"` // of NATS servers and TiKV stores
	Stored float64 `json:"stored_bytes"`
}

// mostCells bounds the search; the largest input that validate takes needs fewer.
const mostCells = 1 << 24

// Make makes the plan, or answers an *InputError.
func Make(c Config) (*Plan, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	one := newCell(c, 1)
	p := &Plan{Config: c, Cells: 1, Limits: one.limits()}
	cell := one
	for cell.broken() {
		// At least as many as the worst limit asks for. Fewer users make less of everything, so this ends.
		worst := 1.0
		for _, l := range cell.limits() {
			worst = max(worst, l.Needed/l.Most)
		}
		p.Cells = max(p.Cells+1, int(float64(p.Cells)*min(worst, 1.05)))
		if p.Cells > mostCells {
			return nil, &InputError{"node-cores", "and disk are too small for so many users: give larger nodes"}
		}
		cell = newCell(c, p.Cells)
	}
	p.Load, p.Parts = cell.load, cell.parts
	p.total()
	return p, nil
}

func (p *Plan) total() {
	for _, part := range p.Parts {
		n := part.Nodes * p.Cells
		p.Totals.Nodes += n
		p.Totals.Cores += float64(n) * p.Config.NodeCores
		p.Totals.Memory += float64(n) * p.Config.NodeMemory
		for _, need := range part.Needs {
			if need.Resource == resourceDisk {
				p.Totals.Disk += float64(n) * p.Config.Disk
				p.Totals.Stored += need.Amount * float64(p.Cells)
			}
		}
	}
}

// nodes is how many nodes the tightest need asks for, at least least.
func nodes(needs []Need, least int) (n int, bound string) {
	n, bound = least, fmt.Sprintf("at least %d", least)
	for _, need := range needs {
		if k := int(math.Ceil(need.Nodes - 1e-9)); k > n {
			n, bound = k, "by "+need.Resource
		}
	}
	return n, bound
}
