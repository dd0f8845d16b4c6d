package plan

// A Unit is the cost of one operation, or what one thing can bear.
type Unit struct {
	Name     string  `json:"name"`
	Value    float64 `json:"value"`
	Per      string  `json:"unit"`
	Measured bool    `json:"measured"` // else it is assumed, for the reason in From
	From     string  `json:"from"`
}

// Processor time is that of a core of the machine it was measured on: 2 cores of an EPYC, virtual, one process that is
// server and store, clients over loopback on the same cores. A message between two cost 85 us with full batches, a
// stream message 160 us more, a further member of a group 9 us. How these divide between processes is by profile for
// the first, and assumed for the others.
var (
	edgeMessage   = Unit{"edge, a message", 39, "us", true, "36 % of 85 us, and half of the runtime's share"}
	edgeBatch     = Unit{"edge, a stream message", 30, "us", false, "of 160 us; the division is assumed"}
	edgeDelivery  = Unit{"edge, a further delivery", 4.5, "us", false, "of 9 us for a further member who is online; the division is assumed"}
	edgePing      = Unit{"edge, a ping and its answer", 10, "us", false, "a read and a write of a socket"}
	edgeBytes     = Unit{"edge, a connection", 3_000, "B", true, "resident, without TLS: 2,330 B of each of 9,000, 2,730 B of 5,000; bare gws in the same runs 9,240 B"}
	kernelBytes   = Unit{"kernel, a connection", 4096, "B", false, "a TCP socket with empty buffers; more while clients read slowly"}
	edgeMost      = Unit{"connections of an edge", 500_000, "", false, "limits.connections can be that; held so far: 10,000"}
	pushBytes     = Unit{"push to a socket, beside the body", 230, "B", false, "frame, ids, TCP and TLS"}
	seqMessage    = Unit{"sequencer, a message", 38.5, "us", true, "10 % steps and 25 % store of 85 us, and half of the runtime's share; Pebble's part stands for client-go's"}
	seqBatch      = Unit{"sequencer, a stream message", 110, "us", false, "of 160 us; the division is assumed"}
	seqEntry      = Unit{"sequencer, a further user chain entry", 3.5, "us", false, "of 9 us; the division is assumed"}
	seqDelivery   = Unit{"sequencer, a further delivery", 0.5, "us", false, "of 9 us; the division is assumed"}
	seqRenewal    = Unit{"sequencer, a renewal of an edge's sessions", 50, "us", false, "a request and its answer"}
	seqSession    = Unit{"sequencer, a session", 200, "B", false, "a place in the session table"}
	seqPartition  = Unit{"sequencer, a partition", 16 << 20, "B", false, "batches at their bounds"}
	convMost      = Unit{"messages of a conversation partition", 10_000, "/s", true, "14,500/s in one partition on Pebble, with a margin; not measured on TiKV"}
	userMost      = Unit{"entries of a user partition", 20_000, "/s", true, "29,000/s between two in one partition on Pebble, with a margin; not measured on TiKV"}
	historyEntry  = Unit{"history, a pulled entry", 6, "us", false, "2 us were measured on Pebble; 4 more for TiKV's client are assumed"}
	pullBytes     = Unit{"pulled entry, beside the body", 170, "B", false, "ids and indexes"}
	natsMessage   = Unit{"NATS, a message, each copy", 7.5, "us", true, "9 % of 85 us, with one copy"}
	natsEntry     = Unit{"NATS, a further user chain entry, each copy", 0.5, "us", false, "of 9 us; the division is assumed"}
	natsBatch     = Unit{"NATS, a stream message, each copy", 20, "us", true, "36,600/s, synced, 3 copies on 2 cores with their publisher: 55 us for all three"}
	natsSyncs     = Unit{"NATS server, syncs", 20_000, "/s", false, "11,500/s over 8 streams were measured on a small virtual disk; an NVMe disk with power-loss protection should do this"}
	natsSync      = Unit{"NATS, a sync of a stream", 165e-6, "s", true, "append and fsync, the median on a small virtual disk; what comes meanwhile shares the next"}
	natsAssets    = Unit{"NATS server, streams and consumers with copies", 2000, "", false, "what its maintainers recommend at most"}
	natsServers   = Unit{"NATS servers of a cell", 15, "", false, "each has routes to all others, and all decide on streams together"}
	natsStream    = Unit{"NATS, a copy of a stream and its consumer", 512 << 10, "B", true, "256 streams of 1 copy, with warm caches"}
	natsID        = Unit{"NATS, a stream message in the duplicate window", 150, "B", true, "123 to 150 B each, on every copy"}
	batchBytes    = Unit{"stream message, beside its content", 150, "B", true, "115 of a command batch, 170 of a fan-out batch"}
	commandBytes  = Unit{"command in a stream, beside the body", 130, "B", true, "112,166 of them in 619 stream messages"}
	fanoutBytes   = Unit{"fan-out of a message to a user partition, beside the body", 155, "B", true, "with the three units around it, the streams of all runs come out within 8 %"}
	fanoutUser    = Unit{"fan-out, each user named", 23, "B", true, "ids of 21 characters"}
	chainRaw      = Unit{"chain entry, beside the body", 215, "B", true, "key and value between two; in groups it is 157"}
	chainDisk     = Unit{"chain entry on disk, beside the body", 82, "B", true, "Pebble, compacted"}
	idRaw         = Unit{"message id record", 43, "B", true, "key and value"}
	idDisk        = Unit{"message id record on disk", 46, "B", true, "Pebble, compacted"}
	entryRaw      = Unit{"user chain entry", 84, "B", true, "key and value between two; in groups it is 66"}
	entryDisk     = Unit{"user chain entry on disk", 19, "B", true, "Pebble, compacted: neighbours differ in little"}
	mvccRaw       = Unit{"TiKV, a key beside its content", 40, "B", false, "padding, two timestamps, a write record"}
	mvccDisk      = Unit{"TiKV, a key beside its content, on disk", 30, "B", false, "the same, compressed"}
	keysMessage   = Unit{"keys written for a message", 3, "", true, "chain entry, message id, conversation head"}
	keysEntry     = Unit{"keys written for a user chain entry", 3, "", true, "entry, user head, conversation list; 10.2 in all were counted for a message between two at 0.7 commits each"}
	keysBatch     = Unit{"keys written for a stream message", 2, "", true, "fence and fan-out progress"}
	keysReadMsg   = Unit{"keys read for a message", 3, "", false, "message id, heads; many are in memory"}
	keysReadEntry = Unit{"keys read for a pulled entry", 2, "", false, "the entry and its message"}
	tikvWrite     = Unit{"TiKV, a key written, each copy", 25, "us", false, "Raft log, apply and compaction, in batches; not measured"}
	tikvRead      = Unit{"TiKV, a key read", 10, "us", false, "from the block cache; not measured"}
	tikvAmplify   = Unit{"TiKV, bytes written to disk for each byte", 12, "", false, "Raft log, flush and the compactions of a levelled tree"}
	tikvRegion    = Unit{"TiKV, a region", 256 << 20, "B", false, "the default size since 8.4"}
	tikvRegions   = Unit{"TiKV store, regions", 30_000, "", false, "with hibernation of those that rest"}
	tikvStores    = Unit{"TiKV stores of a cell", 300, "", false, "one PD; larger clusters exist, and are their operators' main work"}
	diskWrites    = Unit{"disk, writes", 1e9, "B/s", false, "a data centre's NVMe disk"}
	network       = Unit{"network of a node, each direction", 1.25e9, "B/s", false, "10 Gbit/s"}
	stormEntries  = Unit{"reconnect, entries pulled", 20, "", false, "what a client missed while its edge was lost"}
	stormSeconds  = Unit{"reconnect of all clients of an edge", 60, "s", false, "with the SDK's back-off"}
)

// What the program fixes.
const (
	heartbeat     = 30.0  // seconds between pings: edge.Config.Heartbeat
	renewEvery    = 5.0   // seconds: edge.Config.RenewEvery
	dedupeWindow  = 60.0  // seconds: stream.duplicate_window
	maxPartitions = 400   // of a kind: bus.Layout
	secondsADay   = 86400 //
)

// Units are all of them, in the order of the way of a message.
func Units() []Unit {
	return []Unit{
		edgeMessage, edgeBatch, edgeDelivery, edgePing, edgeBytes, kernelBytes, edgeMost, pushBytes,
		seqMessage, seqBatch, seqEntry, seqDelivery, seqRenewal, seqSession, seqPartition, convMost, userMost,
		historyEntry, pullBytes, stormEntries, stormSeconds,
		natsMessage, natsEntry, natsBatch, natsSyncs, natsSync, natsAssets, natsServers, natsStream, natsID,
		batchBytes, commandBytes, fanoutBytes, fanoutUser,
		keysMessage, keysEntry, keysBatch, keysReadMsg, keysReadEntry,
		chainRaw, chainDisk, idRaw, idDisk, entryRaw, entryDisk, mvccRaw, mvccDisk,
		tikvWrite, tikvRead, tikvAmplify, tikvRegion, tikvRegions, tikvStores, diskWrites, network,
	}
}
