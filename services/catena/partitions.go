package main

import (
	"cmp"
	"context"
	"errors"

	"github.com/catena-im/catena/pkg/bus"
)

// mostFresh bounds the partitions that a new folder gets of each kind.
const mostFresh = 16

// freshPartitions is how many partitions of each kind a new folder gets on so many processors. More of them mean smaller
// batches, and so more fsyncs; fewer would be what a machine with many processors waits for.
func freshPartitions(processors int) int { return min((processors+3)/4, mostFresh) }

// settle gives partition counts that were left open (0) the numbers that are recorded where b leads to, or fresh where
// nothing is; bus.ErrNoStream if that is 0, too. Nothing may be derived from the counts before.
func (c *Config) settle(ctx context.Context, b *bus.Bus, fresh int) error {
	p := &c.Partitions
	if p.Conv != 0 && p.User != 0 {
		return nil
	}
	conv, user, err := b.Recorded(ctx)
	if errors.Is(err, bus.ErrNoStream) && fresh != 0 {
		conv, user, err = fresh, fresh, nil
	}
	if err != nil {
		return err
	}
	p.Conv, p.User = cmp.Or(p.Conv, conv), cmp.Or(p.User, user)
	return nil
}
