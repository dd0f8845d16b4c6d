package sequencer

import (
	"context"
	"fmt"
	"testing"

	"github.com/catena-im/catena/pkg/bus"
	"github.com/catena-im/catena/pkg/chain"
	"github.com/catena-im/catena/pkg/im"
	"github.com/catena-im/catena/pkg/partition"
)

// What one message to a group of 500 costs in each step, and one between two.
func BenchmarkStep(b *testing.B) {
	for _, members := range []int{2, 500} {
		c := newCell(1, chain.Layout{ConvPartitions: 1, UserPartitions: 1})
		c.calm = true
		g := string(im.Group("o", "g"))
		bring(c, create("o", "g", "t", names(0, members-1, 12)))
		c.drain()
		for i := range 100 {
			bring(c, send("o", g, fmt.Sprint("m", i), 100, nil))
		}
		conv, user := bus.Partition{Kind: bus.Conv}, bus.Partition{Kind: bus.User}
		step := func(p bus.Partition, msgs []bus.Msg) (eff partition.Effects) {
			eff, err := c.owners[p].proc.Step(context.Background(), msgs)
			if err != nil {
				b.Fatal(err)
			}
			return eff
		}
		commands := c.streams[conv][1:]
		b.Run(fmt.Sprintf("conversation,members=%d", members), func(b *testing.B) {
			b.ReportAllocs()
			w := c.owners[conv].proc.(*convWorker)
			for i := 0; b.Loop(); i++ {
				w.ids.Purge() // or the message is known
				step(conv, commands[i%100:i%100+1])
			}
		})
		before := len(c.streams[user])
		for i := range commands {
			if eff := step(conv, commands[i:i+1]); eff.Emit != nil {
				_ = eff.Emit(context.Background())
			}
		}
		entries := c.streams[user][before:]
		b.Run(fmt.Sprintf("user,members=%d", members), func(b *testing.B) {
			b.ReportAllocs()
			w := c.owners[user].proc.(*userWorker)
			for i := 0; b.Loop(); i++ {
				w.progress = make([]position, 1)
				step(user, entries[i%len(entries):i%len(entries)+1])
			}
		})
	}
}
