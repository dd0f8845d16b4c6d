package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

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
	cfg.Roles, cfg.Admin.Listen = []string{roleHistory}, "127.0.0.1:0" // the store, and nothing that serves
	n, err := newNode(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer n.close()
	r := &repairer{n, out}
	if err := r.alone(ctx); err != nil {
		return err
	}
	broken, err := r.assess(ctx)
	if err != nil || len(broken) == 0 {
		return err
	}
	if !accept {
		return errBroken
	}
	for p, applied := range broken {
		if err := r.reincarnate(ctx, p, applied); err != nil {
			return fmt.Errorf("repair %s: %w", p, err)
		}
	}
	return r.refan(ctx)
}

// alone refuses to work beside a sequencer. On one machine the folder's lock has seen to it; a lease that a killed one
// left behind says nothing then.
func (r *repairer) alone(ctx context.Context) error {
	if r.server != nil {
		return nil
	}
	leases, err := r.bus.Leases(ctx)
	if err != nil {
		return err
	}
	list, err := leases.List(ctx)
	if err != nil {
		return err
	}
	for _, l := range list {
		if name, ok := strings.CutPrefix(l.Key, partition.HeartbeatPrefix); ok {
			return fmt.Errorf("sequencer %s is running, or was until a moment ago; stop all sequencers, wait 15 s and run again", name)
		}
	}
	return nil
}

// assess tells how every partition stands and returns those that stand still, with what they have applied.
func (r *repairer) assess(ctx context.Context) (map[bus.Partition]uint64, error) {
	broken := make(map[bus.Partition]uint64)
	for _, p := range sequencer.Partitions(r.layout) {
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

// reincarnate gives p a stream that continues its checkpoint.
func (r *repairer) reincarnate(ctx context.Context, p bus.Partition, applied uint64) error {
	if err := r.bus.Rebuild(ctx, p, r.cfg.busLayout(), applied+1); err != nil {
		return err
	}
	stream, err := r.bus.Open(ctx, p)
	if err != nil {
		return err
	}
	defer stream.Close()
	if err := partition.Reincarnate(ctx, r.store, sequencer.FenceKey(p), p, stream); err != nil {
		return err
	}
	fmt.Fprintf(r.out, "%s  starts anew at %d\n", p, applied+1)
	return nil
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
	fmt.Fprintln(r.out, "done; start the sequencers")
	return nil
}
