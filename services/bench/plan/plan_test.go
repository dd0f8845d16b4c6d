package plan

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"
)

// habits are what the tests plan for.
func habits(users float64) Config {
	c := Default()
	c.Users, c.MessagesPerDay = users, 40
	return c
}

func mustMake(t *testing.T, c Config) *Plan {
	t.Helper()
	p, err := Make(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func near(got, want float64) bool { return math.Abs(got-want) <= 1e-9*math.Abs(want) }

// What a whole message was measured to cost is what its parts sum up to.
func TestDividedCostsSumUpToWhatWasMeasured(t *testing.T) {
	sums := []struct {
		name string
		want float64
		of   []Unit
	}{
		{"a message between two", 85, []Unit{edgeMessage, seqMessage, natsMessage}},
		{"a stream message", 160, []Unit{edgeBatch, seqBatch, natsBatch}},
		{"a further member who is online", 9, []Unit{edgeDelivery, seqEntry, seqDelivery, natsEntry}},
	}
	for _, s := range sums {
		got := 0.0
		for _, u := range s.of {
			got += u.Value
		}
		if got != s.want {
			t.Errorf("%s: the parts sum up to %v us, want %v", s.name, got, s.want)
		}
	}
	group := edgeMessage.Value + seqMessage.Value + natsMessage.Value + 498*9
	if math.Abs(group-4530) > 100 {
		t.Errorf("a message to 500 who are online comes to %v us, measured were 4,530", group)
	}
}

// byHand are 864,000 users with 20 messages a day: 200 a second, at a peak of 5 1,000.
func byHand() Config {
	return Config{
		Users: 864_000, MessagesPerDay: 20, PeakFactor: 5, OnlineShare: 0.5, GroupShare: 0.5, GroupMembers: 10, Body: 100,
		RetentionDays: 10, Replicas: 3, Headroom: 0.5, StreamRetention: time.Hour, BatchTime: 10 * time.Millisecond, LeastPartitions: 32,
		NodeCores: 16, NodeMemory: 64 << 30, Disk: 4e12,
	}
}

// The arithmetic, once by hand.
func TestLoadByHand(t *testing.T) {
	p := mustMake(t, byHand())
	two, ten := 32*(1-math.Pow(31.0/32, 2)), 32*(1-math.Pow(31.0/32, 10))
	touched := (two + ten) / 2
	edges := 2.0 // 432,000 connections of 250,000 usable
	raw := 355.0 + 83 + 6*124
	want := Load{
		Connections: 432_000, Messages: 1000, Entries: 6000, Deliveries: 500 + 500*9*0.5,
		Pulls: 6000 - 2750 + 216_000*20/60.0, Touched: touched, Commands: 1000, Fanouts: 1000 * touched,
		ConvPartitions: 32, UserPartitions: 32, Renewals: edges * 32 / 5, Announcements: edges * 32 / 2,
		Compression: (212 + 76 + 6*49) / raw,
		Regions:     math.Ceil(864_000 * 20 * 10 * raw / (256 << 20)),
	}
	want.KeysWritten = 3000 + 18_000 + 2*(1000+1000*touched)
	want.KeysRead = 3000 + 2*want.Pulls
	want.StreamMaxBytes = 2 * 3600 * 200 * (touched*(255+150) + 6*23) / 32
	got := p.Load
	for _, v := range []struct {
		name      string
		got, want float64
	}{
		{"connections", got.Connections, want.Connections}, {"messages", got.Messages, want.Messages},
		{"entries", got.Entries, want.Entries}, {"deliveries", got.Deliveries, want.Deliveries},
		{"pulls", got.Pulls, want.Pulls}, {"touched", got.Touched, want.Touched},
		{"commands", got.Commands, want.Commands}, {"fan-outs", got.Fanouts, want.Fanouts},
		{"keys written", got.KeysWritten, want.KeysWritten}, {"keys read", got.KeysRead, want.KeysRead},
		{"conversation partitions", float64(got.ConvPartitions), 32}, {"user partitions", float64(got.UserPartitions), 32},
		{"bytes of a stream", got.StreamMaxBytes, want.StreamMaxBytes}, {"regions", got.Regions, want.Regions},
		{"compression", got.Compression, want.Compression},
		{"renewals", got.Renewals, want.Renewals}, {"announcements", got.Announcements, want.Announcements},
	} {
		if !near(v.got, v.want) {
			t.Errorf("%s: got %v, want %v", v.name, v.got, v.want)
		}
	}
}

// What the parts take for the load of TestLoadByHand, by the units' numbers.
func TestNeedsByHand(t *testing.T) {
	p := mustMake(t, byHand())
	l := p.Load
	s := l.Commands + l.Fanouts
	bytes := func(messages, batches float64) float64 {
		return messages*230 + messages*l.Touched*255 + messages*6*23 + batches*150
	}
	want := map[string]float64{
		"edge connections":       432_000,
		"edge memory":            432_000 * 7_096,
		"edge CPU":               (1000*69 + 1750*4.5 + 14_400*10) / 1e6,
		"edge network":           2750 * 330,
		"sequencer CPU":          (1000*38.5 + 4000*3.5 + 1750*0.5 + s*110 + 12.8*50) / 1e6,
		"sequencer memory":       432_000*200 + 64*(16<<20),
		"sequencer network":      2*bytes(1000, 1000+l.Fanouts) + 2750*255,
		"history CPU":            l.Pulls * 6 / 1e6,
		"history network":        l.Pulls * 270,
		"NATS server CPU":        3 * (1000*7.5 + 4000*0.5 + s*20) / 1e6,
		"NATS server syncs":      3 * s / (1 + s/64*165e-6),
		"NATS server disk":       3 * 3600 * bytes(200, 200*(1+l.Touched)),
		"NATS server network":    3*bytes(1000, 1000+l.Fanouts) + 2750*255 + l.Pulls*270,
		"NATS server memory":     3 * (64*(512<<10) + s*60*150),
		"NATS server streams":    3 * 2 * 64,
		"TiKV store disk":        3 * 864_000 * 20 * 10 * (212 + 76 + 6*49),
		"TiKV store CPU":         (3*25*l.KeysWritten + 10*l.KeysRead) / 1e6,
		"TiKV store regions":     3 * l.Regions,
		"TiKV store disk writes": 3 * 12 * 1000 * (355 + 83 + 6*124),
	}
	for _, part := range p.Parts {
		for _, n := range part.Needs {
			name := part.Name + " " + n.Resource
			if !near(n.Amount, want[name]) || !near(n.Nodes, n.Amount/n.Usable) {
				t.Errorf("%s: got %v, want %v", name, n.Amount, want[name])
			}
			delete(want, name)
		}
	}
	if len(want) > 0 {
		t.Errorf("nothing says what there is of %v", want)
	}
}

// Every part has as many nodes as its tightest need asks for, names it, and no cell is beyond its limits.
func TestNodesCarryWhatTheyHaveTo(t *testing.T) {
	for _, users := range []float64{1000, 1e6, 3e7, 1e8, 1e9, 1e10} {
		c := habits(users)
		p := mustMake(t, c)
		for _, part := range p.Parts {
			most, by := 0.0, ""
			for _, n := range part.Needs {
				if n.Nodes > most {
					most, by = n.Nodes, n.Resource
				}
			}
			least := 2
			if part.Name == partNATS || part.Name == partTiKV {
				least = c.Replicas
			}
			want := max(least, int(math.Ceil(most)))
			if part.Nodes != want || (want > least && part.Bound != "by "+by) {
				t.Errorf("%v users: %d of %s (%s), want %d (by %s)", users, part.Nodes, part.Name, part.Bound, want, by)
			}
		}
		if k := newCell(c, p.Cells); k.broken() {
			t.Errorf("%v users: each of %d cells is beyond its limits: %+v", users, p.Cells, k.limits())
		}
		if p.Cells > 1 && !newCell(c, 1).broken() {
			t.Errorf("%v users: %d cells where one would do", users, p.Cells)
		}
	}
}

// More of something that costs never makes a plan smaller.
func TestMoreCostsMore(t *testing.T) {
	worth := func(c Config) float64 {
		t.Helper()
		sum := 0.0
		for _, part := range mustMake(t, c).Parts {
			for _, n := range part.Needs {
				sum += n.Nodes
			}
		}
		return sum
	}
	base := habits(1e6)
	base.BatchTime = time.Second // so that pairs of partitions have to share stream messages
	for name, change := range map[string]func(*Config){
		"messages":         func(c *Config) { c.MessagesPerDay *= 2 },
		"peak":             func(c *Config) { c.PeakFactor *= 2 },
		"online":           func(c *Config) { c.OnlineShare *= 2 },
		"groups":           func(c *Config) { c.GroupShare *= 2 },
		"members":          func(c *Config) { c.GroupMembers *= 2 },
		"body":             func(c *Config) { c.Body *= 2 },
		"retention":        func(c *Config) { c.RetentionDays *= 2 },
		"copies":           func(c *Config) { c.Replicas = 5 },
		"headroom":         func(c *Config) { c.Headroom = 0.7 },
		"stream retention": func(c *Config) { c.StreamRetention *= 2 },
		"batches":          func(c *Config) { c.BatchTime /= 20 },
		"partitions":       func(c *Config) { c.LeastPartitions *= 2 },
		"small processors": func(c *Config) { c.NodeCores /= 2 },
		"small memories":   func(c *Config) { c.NodeMemory /= 2 },
		"small disks":      func(c *Config) { c.Disk /= 2 },
	} {
		c := base
		change(&c)
		if got, was := worth(c), worth(base); got <= was {
			t.Errorf("with more %s: %v nodes' worth, before %v", name, got, was)
		}
	}
}

func TestWrongInputIsNamed(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"users":            func(c *Config) { c.Users = 0 },
		"messages-per-day": func(c *Config) { c.MessagesPerDay = math.NaN() },
		"peak-factor":      func(c *Config) { c.PeakFactor = 0.5 },
		"online-share":     func(c *Config) { c.OnlineShare = 10 },
		"group-share":      func(c *Config) { c.GroupShare = -1 },
		"group-members":    func(c *Config) { c.GroupMembers = 501 },
		"body":             func(c *Config) { c.Body = 1 << 20 },
		"retention-days":   func(c *Config) { c.RetentionDays = 0 },
		"replicas":         func(c *Config) { c.Replicas = 2 },
		"headroom":         func(c *Config) { c.Headroom = 1 },
		"stream-retention": func(c *Config) { c.StreamRetention = time.Second },
		"batch-time":       func(c *Config) { c.BatchTime = 0 },
		"least-partitions": func(c *Config) { c.LeastPartitions = 401 },
		"node-cores":       func(c *Config) { c.NodeCores = 0 },
		"node-memory":      func(c *Config) { c.NodeMemory = 64 },
		"disk":             func(c *Config) { c.Disk = 4 },
	} {
		c := habits(1e6)
		change(&c)
		_, err := Make(c)
		var wrong *InputError
		if !errors.As(err, &wrong) || wrong.Name != name || !strings.Contains(wrong.Why, "give ") {
			t.Errorf("a wrong %s: %v", name, err)
		}
	}
}

// The smallest and the largest that is allowed end, the latter in a plan or in an error that says what to change.
func TestExtremesEnd(t *testing.T) {
	c := Default()
	c.Users, c.MessagesPerDay = 1, 0.001
	if p := mustMake(t, c); p.Cells != 1 || p.Totals.Nodes != 12 {
		t.Errorf("one user gets %d cells with %d nodes, want one with 2 edges, sequencers, history, 3 NATS servers and stores", p.Cells, p.Totals.Nodes)
	}
	c.Users, c.MessagesPerDay, c.PeakFactor, c.OnlineShare = 1e10, 10_000, 100, 1
	c.GroupShare, c.GroupMembers, c.RetentionDays, c.Body = 1, 500, 36_500, 60<<10
	c.NodeCores, c.NodeMemory, c.Disk, c.Headroom, c.BatchTime = 1, 1<<30, 1e10, 0.9, time.Millisecond
	var wrong *InputError
	if p, err := Make(c); !errors.As(err, &wrong) || wrong.Name != "node-cores" {
		t.Errorf("the largest of everything: %+v, %v", p, err)
	}
}

func TestAmountsHaveThreeDigits(t *testing.T) {
	for _, a := range []struct {
		v          float64
		unit, want string
	}{
		{0, "", "0"}, {0.0004, "", "0"}, {0.35, "", "0.35"}, {35, "us", "35 us"}, {165e-6, "s", "165 us"}, {60, "s", "60 s"},
		{999.4, "", "999"}, {999.6, "", "1 k"}, {1234, "/s", "1.23 k/s"}, {4e12, "B", "4 TB"}, {1.25e9, "B/s", "1.25 GB/s"},
		{0.5, "cores", "0.5 cores"},
	} {
		if got := amount(a.v, a.unit); got != a.want {
			t.Errorf("%v%s is written %q, want %q", a.v, a.unit, got, a.want)
		}
	}
	if got := whole(37632); got != "37,632" {
		t.Errorf("37632 is written %q", got)
	}
}
