package bus

import (
	"fmt"
	"time"
)

// Layout is what a cell is provisioned for. The zero value of a field is its default.
type Layout struct {
	ConvPartitions  int           // 1 to 400; default 4. Fixed by the first Provision.
	UserPartitions  int           // likewise
	Replicas        int           // of streams, consumers and buckets: 1, 3 or 5; default 1
	StreamMaxBytes  int64         // of each stream; at the bound Append returns ErrFull. Default 1 GiB
	DuplicateWindow time.Duration // for which a stream knows message ids again; default 1 min
	// ConsumersInMemory spares the disk what only says how far the readers are, which they know by themselves. For one
	// server, and a process that provisions again when that server was started again.
	ConsumersInMemory bool
}

const (
	maxPartitions    = 400 // of a kind: the leases of all partitions and workers are listed in one answer, of maxListed
	defaultPartition = 4
)

func (l Layout) withDefaults() Layout {
	set := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	set(&l.ConvPartitions, defaultPartition)
	set(&l.UserPartitions, defaultPartition)
	set(&l.Replicas, 1)
	if l.StreamMaxBytes == 0 {
		l.StreamMaxBytes = 1 << 30
	}
	if l.DuplicateWindow == 0 {
		l.DuplicateWindow = time.Minute
	}
	return l
}

func (l Layout) validate() error {
	switch {
	case l.ConvPartitions < 1 || l.ConvPartitions > maxPartitions:
		return fmt.Errorf("%w: %d conversation partitions, 1 to %d", ErrInvalid, l.ConvPartitions, maxPartitions)
	case l.UserPartitions < 1 || l.UserPartitions > maxPartitions:
		return fmt.Errorf("%w: %d user partitions, 1 to %d", ErrInvalid, l.UserPartitions, maxPartitions)
	case l.Replicas != 1 && l.Replicas != 3 && l.Replicas != 5:
		return fmt.Errorf("%w: %d replicas, 1, 3 or 5", ErrInvalid, l.Replicas)
	case l.StreamMaxBytes < 0:
		return fmt.Errorf("%w: streams of %d bytes", ErrInvalid, l.StreamMaxBytes)
	case l.DuplicateWindow < 0:
		return fmt.Errorf("%w: a duplicate window of %s", ErrInvalid, l.DuplicateWindow)
	}
	return nil
}

// Partitions are all partitions of the layout.
func (l Layout) Partitions() []Partition {
	l = l.withDefaults()
	all := make([]Partition, 0, l.ConvPartitions+l.UserPartitions)
	for i := range l.ConvPartitions {
		all = append(all, Partition{Conv, i})
	}
	for i := range l.UserPartitions {
		all = append(all, Partition{User, i})
	}
	return all
}
