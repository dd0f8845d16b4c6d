package plan

import "math"

// The resources that have a name elsewhere too.
const (
	resourceCPU    = "CPU"
	resourceMemory = "memory"
	resourceDisk   = "disk"
)

// cell is one of several equal ones.
type cell struct {
	c     Config
	load  Load
	parts []Part

	convNeeded, userNeeded float64 // partitions by their load, whatever a cell may have
	bodies                 bodies
}

// bodies are the bytes that depend on the length of a message.
type bodies struct {
	streams float64 // bytes a second that streams take, one copy, in the busiest minute
	held    float64 // bytes that streams hold of the retention, one copy
	stored  float64 // bytes in TiKV on disk, one copy, when the retention is reached
	raw     float64 // the same, uncompressed: by this regions are cut
	written float64 // bytes a second that TiKV is given, in the busiest minute
}

// newCell is one of n cells, with as few of each part as carry it.
func newCell(c Config, n int) *cell {
	c.Users /= float64(n)
	k := &cell{c: c}
	k.traffic()
	k.partitions()
	k.batches()
	k.keep()
	edge := k.edge()
	perEdge := k.load.Connections / float64(edge.Nodes)
	k.load.Pulls = k.load.Entries - k.load.Deliveries + perEdge*stormEntries.Value/stormSeconds.Value
	k.lanes(edge.Nodes)
	k.keys()
	sequencer := k.sequencer()
	k.load.Announcements = k.load.Renewals * renewEvery / float64(sequencer.Nodes)
	k.parts = []Part{edge, sequencer, k.history(), k.nats(), k.tikv()}
	return k
}

// use is what may be used of what a node has.
func (k *cell) use(of float64) float64 { return of * (1 - k.c.Headroom) }

// microseconds of a core in a second that may be used of a node.
func (k *cell) cpu() float64 { return k.use(k.c.NodeCores) * 1e6 }

// traffic is what users do in a second of the busiest minute. The receiver of a message between two counts as online,
// a member of a group is so as often as any user; each has one device.
func (k *cell) traffic() {
	c, l := k.c, &k.load
	l.Connections = c.Users * c.OnlineShare
	l.Messages = c.Users * c.MessagesPerDay * c.PeakFactor / secondsADay
	l.Entries = l.Messages * k.entries()
	l.Deliveries = l.Messages * ((1 - c.GroupShare) + c.GroupShare*(c.GroupMembers-1)*c.OnlineShare)
}

// entries of user chains that a message makes, in the mean.
func (k *cell) entries() float64 {
	return (1-k.c.GroupShare)*2 + k.c.GroupShare*k.c.GroupMembers
}

// partitions are as many as the load needs, doubled from the least.
func (k *cell) partitions() {
	l := &k.load
	k.convNeeded = l.Messages / k.use(convMost.Value)
	k.userNeeded = l.Entries / k.use(userMost.Value)
	l.ConvPartitions, l.UserPartitions = k.step(k.convNeeded), k.step(k.userNeeded)
	l.Touched = (1-k.c.GroupShare)*distinct(2, l.UserPartitions) + k.c.GroupShare*distinct(k.c.GroupMembers, l.UserPartitions)
}

func (k *cell) step(needed float64) int {
	n := k.c.LeastPartitions
	for float64(n) < needed && n < maxPartitions {
		n *= 2
	}
	return min(n, maxPartitions)
}

// distinct is how many of q partitions hear of a message to this many users.
func distinct(users float64, q int) float64 {
	return float64(q) * (1 - math.Pow(1-1/float64(q), users))
}

// batches are the stream messages at most: each pair of partitions has one under way at a time, and so has each pair of
// an edge and a partition. How many edges there are is not known yet: as if they never found two messages to send.
func (k *cell) batches() {
	l := &k.load
	l.Commands = l.Messages
	pairs := float64(l.ConvPartitions * l.UserPartitions)
	l.Fanouts = min(l.Messages*l.Touched, pairs/k.c.BatchTime.Seconds())
}

// lanes counts again, now that the edges are known.
func (k *cell) lanes(edges int) {
	l := &k.load
	l.Commands = min(l.Messages, float64(edges*l.ConvPartitions)/k.c.BatchTime.Seconds())
	l.Renewals = float64(edges*l.UserPartitions) / renewEvery
}

// streamBytes of so many messages with so many stream messages.
func (k *cell) streamBytes(messages, batches float64) float64 {
	return messages*(k.c.Body+commandBytes.Value) + messages*k.load.Touched*(k.c.Body+fanoutBytes.Value) +
		messages*k.entries()*fanoutUser.Value + batches*batchBytes.Value
}

// keep is what streams and TiKV hold.
func (k *cell) keep() {
	c, l := k.c, &k.load
	k.bodies.streams = k.streamBytes(l.Messages, l.StreamMessages())
	mean := l.Messages / c.PeakFactor
	batches := min(mean*(1+l.Touched), l.StreamMessages()) // at the mean of the day fewer share one
	k.bodies.held = k.streamBytes(mean, batches) * c.StreamRetention.Seconds()
	users := mean * (l.Touched*(c.Body+fanoutBytes.Value) + k.entries()*fanoutUser.Value + l.Touched*batchBytes.Value)
	conv := mean * (c.Body + commandBytes.Value + batchBytes.Value)
	// The owner trims a stream that is more than half full, whatever its age.
	l.StreamMaxBytes = 2 * c.StreamRetention.Seconds() * max(conv/float64(l.ConvPartitions), users/float64(l.UserPartitions))

	raw := (c.Body + chainRaw.Value + mvccRaw.Value) + (idRaw.Value + mvccRaw.Value) + k.entries()*(entryRaw.Value+mvccRaw.Value)
	disk := (c.Body + chainDisk.Value + mvccDisk.Value) + (idDisk.Value + mvccDisk.Value) + k.entries()*(entryDisk.Value+mvccDisk.Value)
	messages := c.Users * c.MessagesPerDay * c.RetentionDays
	k.bodies.raw, k.bodies.stored = messages*raw, messages*disk
	k.bodies.written = l.Messages * raw
	l.Compression = disk / raw
	borders := float64(l.ConvPartitions + l.UserPartitions + 2)
	l.Regions = max(math.Ceil(k.bodies.raw/tikvRegion.Value), borders)
}

func (k *cell) keys() {
	l := &k.load
	l.KeysWritten = l.Messages*keysMessage.Value + l.Entries*keysEntry.Value + l.StreamMessages()*keysBatch.Value
	l.KeysRead = l.Messages*keysReadMsg.Value + l.Pulls*keysReadEntry.Value
}

// further are user chain entries and deliveries beyond those that a message between two has anyway.
func (k *cell) further() (entries, deliveries float64) {
	l := k.load
	return max(0, l.Entries-2*l.Messages), max(0, l.Deliveries-l.Messages)
}

// limits are what one cell can be, against what k would have to be.
func (k *cell) limits() []Limit {
	nodesOf := func(name string) float64 {
		for _, p := range k.parts {
			if p.Name == name {
				return float64(p.Nodes)
			}
		}
		return 0
	}
	partitions := float64(k.load.ConvPartitions + k.load.UserPartitions)
	return []Limit{
		{"conversation partitions", math.Ceil(k.convNeeded), maxPartitions, "all leases are listed in one answer"},
		{"user partitions", math.Ceil(k.userNeeded), maxPartitions, "all leases are listed in one answer"},
		{"sequencers", nodesOf(partSequencer), partitions, "a partition has one owner"},
		{"NATS servers", nodesOf(partNATS), natsServers.Value, natsServers.From + "; assumed"},
		{"TiKV stores", nodesOf(partTiKV), tikvStores.Value, tikvStores.From + "; assumed"},
	}
}

func (k *cell) broken() bool {
	for _, l := range k.limits() {
		if l.Broken() {
			return true
		}
	}
	return false
}
