package sequencer

import (
	"context"
	"fmt"
	"testing"

	"github.com/catena-im/catena/pkg/bus"
	"github.com/catena-im/catena/pkg/chain"
	"github.com/catena-im/catena/pkg/im"
)

// User streams lose their ends, or all they held; the chains of the conversations are kept. What Refan sends makes the
// user chains whole: each message once for everybody who may see it, those of one conversation in their order.
func TestRefanMakesUserChainsWhole(t *testing.T) {
	for _, kept := range []int{0, 1, 2} { // halves of the user streams
		t.Run(fmt.Sprintf("%d halves of the user streams kept", kept), func(t *testing.T) {
			for seed := range uint64(5) {
				whole := talk(seed, nil)
				want := inboxes(t, whole)
				c := survivor(seed, whole, kept)
				sent := refanAll(t, c)
				c.foldAll(bus.User)
				if again := refanAll(t, c); sent == 0 != (kept == 2) || again != 0 {
					t.Errorf("seed %d: %d entries were sent, and %d once all was whole", seed, sent, again)
				}
				if len(c.wrong) > 0 {
					t.Fatal(c.wrong)
				}
				if got := inboxes(t, c); got != want {
					t.Fatalf("seed %d: got %s\nwant %s", seed, got, want)
				}
			}
		})
	}
}

// refanAll returns how many entries were sent.
func refanAll(t *testing.T, c *cell) (sent int) {
	t.Helper()
	for _, p := range c.partitions() {
		if p.Kind != bus.Conv {
			continue
		}
		n, err := c.seq.Refan(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		sent += n
	}
	return sent
}

// survivor has folded the conversation streams of c, and the first halves of its user streams; the rest is gone.
func survivor(seed uint64, c *cell, halves int) *cell {
	d := newCell(seed+1000, c.layout)
	for p, s := range c.streams {
		if p.Kind == bus.User {
			s = s[:len(s)*halves/2]
		}
		d.streams[p] = s[:len(s):len(s)]
	}
	d.foldAll(bus.Conv)
	d.foldAll(bus.User)
	return d
}

// foldAll applies what the streams of one kind hold.
func (c *cell) foldAll(kind bus.Kind) {
	for _, p := range c.partitions() {
		if p.Kind != kind {
			continue
		}
		o := c.own(p)
		for o.read < uint64(len(c.streams[p])) && len(c.wrong) == 0 {
			if err := o.fold(); err != nil {
				c.violate("fold %s: %v", p, err)
			}
		}
	}
}

// inboxes shows what every user's chain holds, conversation by conversation in the order of the chain.
func inboxes(t *testing.T, c *cell) string {
	t.Helper()
	got := make(map[string][]uint64)
	err := read(t.Context(), c.store, c.layout, func(r *chain.Reader) error {
		for _, u := range people {
			err := r.ScanUser(context.Background(), im.UserID(u), 1, 1<<40, false, func(_ im.UserIndex, e chain.Ref) error {
				key := u + " " + string(e.Conversation)
				got[key] = append(got[key], uint64(e.Index))
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(got)
}
