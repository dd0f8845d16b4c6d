package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/catena-im/catena/pkg/bus"
	"github.com/catena-im/catena/pkg/partition"
	"github.com/catena-im/catena/services/sequencer"
)

var errBroken = errors.New("some streams do not continue their checkpoints; bring back what is missing, or run again with --accept-loss")

func repairCommand() *cobra.Command {
	var accept bool
	cmd := configured(&cobra.Command{
		Use:   "repair",
		Short: "compare the streams with the store, and go on without what a lost stream held",
		Long: "Compare every partition's stream with its checkpoint in the store, and say which partitions stand still and why.\n" +
			"With --accept-loss each of those streams starts a new incarnation behind its checkpoint, and fan-out that a lost\n" +
			"user stream held is made again from the chains. What is lost are commands that were not acknowledged; their\n" +
			"senders ask again. Stop all sequencers first.",
		Example: "  catena repair --config catena.yaml\n  catena repair --data ./.catena --accept-loss   # a server that was run by catena dev",
	}, func(cmd *cobra.Command, cfg Config, log *slog.Logger) error {
		return repair(cmd.Context(), cfg, accept, cmd.OutOrStdout(), log)
	})
	cmd.Flags().BoolVar(&accept, "accept-loss", false, "start new incarnations where streams do not continue")
	return cmd
}

// repairer is a repair under way.
type repairer struct {
	*node
	out io.Writer
}

func repair(ctx context.Context, cfg Config, accept bool, out io.Writer, log *slog.Logger) error {
	if cfg.Store.Driver == driverPebble {
		if err := holdsStore(cfg.Data); err != nil {
			return err
		}
	}
	cfg.Roles, cfg.Admin.Listen = []string{roleHistory}, "127.0.0.1:0" // the store, and nothing that serves
	n, err := newNode(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer n.close()
	if err := verifyStore(ctx, n.store, n.layout); err != nil {
		return err // under other counts the repaired partitions would not find what they hold
	}
	r := &repairer{n, out}
	ctx, release, err := r.alone(ctx)
	if err != nil {
		return err
	}
	defer release()
	broken, err := r.assess(ctx)
	if err != nil || len(broken) == 0 {
		return explainBus(err)
	}
	if !accept {
		return errBroken
	}
	return r.goOn(ctx, broken)
}

// goOn gives the broken partitions streams that continue their checkpoints. The checkpoints are written last: whatever
// breaks a repair off, the partitions it has not finished still stand, and it can be run again.
func (r *repairer) goOn(ctx context.Context, broken map[bus.Partition]uint64) error {
	parts := slices.SortedFunc(maps.Keys(broken), func(a, b bus.Partition) int { return strings.Compare(a.String(), b.String()) })
	for _, p := range parts {
		if err := r.bus.Rebuild(ctx, p, r.cfg.busLayout(), broken[p]+1); err != nil {
			return fmt.Errorf("repair %s: %w", p, err)
		}
	}
	if err := r.refan(ctx); err != nil {
		return err
	}
	for _, p := range parts {
		if err := r.reincarnate(ctx, p); err != nil {
			return fmt.Errorf("repair %s: %w", p, err)
		}
		fmt.Fprintf(r.out, "%s  starts anew at %d\n", p, broken[p]+1)
	}
	fmt.Fprintln(r.out, "done; start the sequencers")
	return nil
}

// alone keeps the sequencers out, until release: it holds the leases of all partitions. On one machine the folder's lock
// does that. The context ends when a lease is lost.
func (r *repairer) alone(ctx context.Context) (_ context.Context, release func(), err error) {
	if r.server != nil {
		return ctx, func() {}, nil
	}
	leases, err := r.bus.Leases(ctx)
	if err != nil {
		return ctx, nil, err
	}
	h := &holding{leases: leases}
	for _, p := range r.cfg.busLayout().Partitions() {
		lease, err := leases.Acquire(ctx, p.String(), []byte(`{"worker":"repair"}`), holdTTL)
		if err != nil {
			h.release()
			return ctx, nil, fmt.Errorf("%w; a sequencer is running, or was until a moment ago: stop all of them, wait 15 s and run again", err)
		}
		h.held = append(h.held, lease)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() { // joined by release
		defer close(done)
		cancel(h.renew(ctx))
	}()
	return ctx, func() {
		cancel(nil)
		<-done
		h.release()
	}, nil
}

// holdTTL is how long the leases of a repair outlive it when it is killed.
const holdTTL = 20 * time.Second

// holding is the leases of a repair.
type holding struct {
	leases *bus.Leases
	held   []bus.Lease
}

// renew keeps the leases until ctx ends; its error says that they are not held any more.
func (h *holding) renew(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(holdTTL / 4):
		}
		for i, l := range h.held {
			renewed, err := h.leases.Replace(ctx, l, l.Value, holdTTL)
			if err != nil && ctx.Err() == nil {
				return fmt.Errorf("the leases of the repair are lost: %w; run it again", err)
			}
			if err == nil {
				h.held[i] = renewed
			}
		}
	}
}

func (h *holding) release() {
	ctx, cancel := context.WithTimeout(context.Background(), holdTTL/4)
	defer cancel()
	for _, l := range h.held {
		_ = h.leases.Release(ctx, l) // it ends by itself
	}
}

// assess tells how every partition stands and returns those that stand still, with what they have applied.
func (r *repairer) assess(ctx context.Context) (map[bus.Partition]uint64, error) {
	broken := make(map[bus.Partition]uint64)
	for _, p := range r.cfg.busLayout().Partitions() {
		stream, err := r.bus.Open(ctx, p)
		if err != nil {
			return nil, err
		}
		applied, err := partition.Assess(ctx, r.store, sequencer.FenceKey(p), p, stream)
		stream.Close()
		var bad *partition.StreamError
		switch {
		case errors.As(err, &bad):
			broken[p] = applied
			fmt.Fprintf(r.out, "%s  stands still: %s\n", p, bad.Why)
		case err != nil:
			return nil, err
		default:
			fmt.Fprintf(r.out, "%s  continues, applied up to %d\n", p, applied)
		}
	}
	return broken, nil
}

// reincarnate makes the checkpoint of p continue with its rebuilt stream.
func (r *repairer) reincarnate(ctx context.Context, p bus.Partition) error {
	stream, err := r.bus.Open(ctx, p)
	if err != nil {
		return err
	}
	defer stream.Close()
	return partition.Reincarnate(ctx, r.store, sequencer.FenceKey(p), p, stream)
}

// refan makes the fan-out again that no user partition has applied.
func (r *repairer) refan(ctx context.Context) error {
	s, err := sequencer.New(sequencer.Config{Layout: r.layout}, sequencer.Deps{Store: r.store, Bus: r.bus, Log: r.log})
	if err != nil {
		return err
	}
	for n := range r.layout.ConvPartitions {
		from := bus.Partition{Kind: bus.Conv, Number: n}
		sent, err := s.Refan(ctx, from)
		if err != nil {
			return err
		}
		fmt.Fprintf(r.out, "%s  fan-out of %d messages made again\n", from, sent)
	}
	return nil
}
