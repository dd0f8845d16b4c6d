package plan

import (
	"fmt"
	"math"
)

const (
	partEdge      = "edge"
	partSequencer = "sequencer"
	partHistory   = "history"
	partNATS      = "NATS server"
	partTiKV      = "TiKV store"
)

// need divides an amount by what is usable of a node; units are those behind it.
func need(resource string, amount float64, unit string, usable float64, from string, units ...Unit) Need {
	n := Need{Resource: resource, Amount: amount, Unit: unit, Usable: usable, Nodes: amount / usable, From: from}
	for _, u := range units {
		n.Assumed = n.Assumed || !u.Measured
	}
	return n
}

// part sizes a kind of process by its needs, at least least of them.
func part(name string, least int, needs ...Need) Part {
	p := Part{Name: name, Needs: needs}
	p.Nodes, p.Bound = nodes(needs, least)
	return p
}

func (k *cell) cpuNeed(us float64, from string, units ...Unit) Need {
	return need(resourceCPU, us/1e6, "cores", k.cpu()/1e6, from, units...)
}

func (k *cell) memoryNeed(bytes float64, from string, units ...Unit) Need {
	return need(resourceMemory, bytes, "B", k.use(k.c.NodeMemory), from, units...)
}

func (k *cell) diskNeed(bytes float64, from string, units ...Unit) Need {
	return need(resourceDisk, bytes, "B", k.use(k.c.Disk), from, units...)
}

func (k *cell) networkNeed(bytes float64, from string, units ...Unit) Need {
	return need("network", bytes, "B/s", k.use(network.Value), from, append(units, network)...)
}

const leastProcesses = 2 // so that one may stop

func (k *cell) edge() Part {
	l := k.load
	_, deliveries := k.further()
	us := l.Messages*(edgeMessage.Value+edgeBatch.Value) + deliveries*edgeDelivery.Value + l.Connections/heartbeat*edgePing.Value
	return part(partEdge, leastProcesses,
		need("connections", l.Connections, "", k.use(edgeMost.Value), "users online; a file descriptor each", edgeMost),
		k.memoryNeed(l.Connections*(edgeBytes.Value+kernelBytes.Value), fmt.Sprintf("%s and %s a connection, ours and the kernel's", edgeBytes, kernelBytes), edgeBytes, kernelBytes),
		k.cpuNeed(us, fmt.Sprintf("%s a message, %s a further delivery, %s a ping", edgeMessage.plus(edgeBatch), edgeDelivery, edgePing), edgeMessage, edgeBatch, edgeDelivery, edgePing),
		k.networkNeed(l.Deliveries*(k.c.Body+pushBytes.Value), fmt.Sprintf("body and %s a delivery", pushBytes), pushBytes),
	)
}

func (k *cell) sequencer() Part {
	l := k.load
	entries, deliveries := k.further()
	us := l.Messages*seqMessage.Value + entries*seqEntry.Value + deliveries*seqDelivery.Value +
		l.StreamMessages()*seqBatch.Value + l.Renewals*seqRenewal.Value
	partitions := float64(l.ConvPartitions + l.UserPartitions)
	return part(partSequencer, leastProcesses,
		k.cpuNeed(us, fmt.Sprintf("%s a message, %s a stream message, %s a further entry", seqMessage, seqBatch, seqEntry), seqMessage, seqBatch, seqEntry, seqDelivery, seqRenewal),
		k.memoryNeed(l.Connections*seqSession.Value+partitions*seqPartition.Value, fmt.Sprintf("%s a session, %s a partition", seqSession, seqPartition), seqSession, seqPartition),
		k.networkNeed(2*k.bodies.streams+l.Deliveries*(k.c.Body+fanoutBytes.Value), "streams read, fan-out and deliveries written", fanoutBytes),
	)
}

func (k *cell) history() Part {
	return part(partHistory, leastProcesses,
		k.cpuNeed(k.load.Pulls*historyEntry.Value, fmt.Sprintf("%s a pulled entry", historyEntry), historyEntry),
		k.networkNeed(k.load.Pulls*(k.c.Body+pullBytes.Value), fmt.Sprintf("body and %s a pulled entry", pullBytes), pullBytes),
	)
}

func (k *cell) nats() Part {
	l, copies := k.load, float64(k.c.Replicas)
	entries, _ := k.further()
	us := copies * (l.Messages*natsMessage.Value + entries*natsEntry.Value + l.StreamMessages()*natsBatch.Value)
	streams := float64(l.ConvPartitions + l.UserPartitions)
	rate := l.StreamMessages() / streams
	syncs := copies * l.StreamMessages() / (1 + rate*natsSync.Value) // the next sync begins with the next message, or when this one ends
	bytes := k.bodies.streams*copies + l.Deliveries*(k.c.Body+fanoutBytes.Value) + l.Pulls*(k.c.Body+pullBytes.Value)
	memory := copies * (streams*natsStream.Value + l.StreamMessages()*dedupeWindow*natsID.Value)
	return part(partNATS, k.c.Replicas,
		k.cpuNeed(us, fmt.Sprintf("%s a stream message, %s a message, each copy", natsBatch, natsMessage), natsBatch, natsMessage, natsEntry),
		need("syncs", syncs, "/s", k.use(natsSyncs.Value), "a stream message each, or what came during the last, each copy", natsSyncs, natsSync),
		k.diskNeed(k.bodies.held*copies, "bytes of the stream retention, each copy", batchBytes, commandBytes, fanoutBytes, fanoutUser),
		k.networkNeed(bytes, "each copy of a stream, deliveries and pulls pass through", fanoutBytes, pullBytes),
		k.memoryNeed(memory, fmt.Sprintf("%s a stream, %s an id for %.0f s, each copy", natsStream, natsID, dedupeWindow), natsStream, natsID),
		need("streams", 2*streams*copies, "", k.use(natsAssets.Value), "copies of streams and consumers", natsAssets),
	)
}

func (k *cell) tikv() Part {
	l, copies := k.load, float64(k.c.Replicas)
	us := l.KeysWritten*copies*tikvWrite.Value + l.KeysRead*tikvRead.Value
	return part(partTiKV, k.c.Replicas,
		k.diskNeed(k.bodies.stored*copies, "bytes of the retention, compressed, each copy", chainDisk, idDisk, entryDisk, mvccDisk),
		k.cpuNeed(us, fmt.Sprintf("%s a key written, each copy; %s a key read", tikvWrite, tikvRead), tikvWrite, tikvRead, keysReadMsg, keysReadEntry),
		need("regions", math.Ceil(l.Regions)*copies, "", k.use(tikvRegions.Value), fmt.Sprintf("uncompressed bytes by %s, each copy", tikvRegion), tikvRegion, tikvRegions),
		need("disk writes", k.bodies.written*copies*tikvAmplify.Value, "B/s", k.use(diskWrites.Value), fmt.Sprintf("%s bytes to disk for each, each copy", tikvAmplify), tikvAmplify, diskWrites),
	)
}
