package sequencer

import (
	"context"
	"fmt"
	"testing"

	"github.com/catena-im/catena/pkg/bus"
	"github.com/catena-im/catena/pkg/chain"
	"github.com/catena-im/catena/pkg/im"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// What a message costs is guarded by counts, which are the same on every machine. The bounds leave a quarter of room.
func TestAMessageBetweenTwoCostsFewKeysAndAllocations(t *testing.T) {
	const count = 100
	c := newCell(1, chain.Layout{ConvPartitions: 1, UserPartitions: 1})
	c.calm = true
	batch := &imv1.CommandBatch{EdgeId: "e1"}
	for i := range count {
		to := fmt.Sprint("u", i%20)
		batch.Commands = append(batch.Commands, send("a", string(im.Single("a", im.UserID(to))), fmt.Sprint("m", i), 200, nil))
	}
	conv, user := bus.Partition{Kind: bus.Conv}, bus.Partition{Kind: bus.User}
	c.drain()
	w, v := c.owners[conv].proc.(*convWorker), c.owners[user].proc.(*userWorker)
	commands := []bus.Msg{{Seq: 1, Data: marshal(batch)}}

	eff, err := w.Step(context.Background(), commands)
	if err != nil {
		t.Fatal(err)
	}
	within(t, "keys of the conversation step", eff.Writes.Len(), 2*count+20)
	if err := eff.Emit(context.Background()); err != nil {
		t.Fatal(err)
	}
	fanned := c.streams[user]
	within(t, "stream messages of the fan-out", len(fanned), 1)
	if eff, err = v.Step(context.Background(), fanned); err != nil {
		t.Fatal(err)
	}
	within(t, "keys of the user step", eff.Writes.Len(), 2*count+21+40+1)

	allocs := testing.AllocsPerRun(20, func() {
		w.ids.Purge() // or they are known
		if _, err := w.Step(context.Background(), commands); err != nil {
			t.Fatal(err)
		}
	})
	within(t, "allocations of the conversation step, per message", int(allocs)/count, 16)
	allocs = testing.AllocsPerRun(20, func() {
		clear(v.progress) // or they are repetitions
		if _, err := v.Step(context.Background(), fanned); err != nil {
			t.Fatal(err)
		}
	})
	within(t, "allocations of the user step, per message", int(allocs)/count, 4)
}

func within(t *testing.T, what string, got, most int) {
	t.Helper()
	if got > most {
		t.Errorf("%s: %d, at most %d", what, got, most)
	}
}
