package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/catena-im/catena/pkg/bus"
	"github.com/catena-im/catena/pkg/chain"
	"github.com/catena-im/catena/pkg/conf"
	"github.com/catena-im/catena/pkg/kv/tikv"
)

func provisionCommand() *cobra.Command {
	return configured(&cobra.Command{
		Use:   "provision",
		Short: "make the streams, consumers and buckets of a cluster, or bring them to the configuration",
		Long: "Make the streams, consumers and buckets of a cluster on its NATS servers, or bring those that are there to the\n" +
			"configuration. With store.driver tikv, cut the key space at the borders of the partitions, so that they can be\n" +
			"spread over the stores from the start. It may be repeated at any time; partition counts have to be chosen the\n" +
			"first time, and are fixed by it. No other command needs the right to make streams and consumers.",
		Example: "  catena provision --config catena.yaml --partitions-conv 32 --partitions-user 32",
	}, func(cmd *cobra.Command, cfg Config, log *slog.Logger) error {
		if cfg.NATS.URL == "" {
			return conf.Wrong("nats.url", "", "is empty; name the NATS servers of the cluster (catena dev provisions its own)")
		}
		return provision(cmd.Context(), cfg, cmd.OutOrStdout(), log)
	})
}

// provisioner is a provisioning under way.
type provisioner struct {
	cfg Config
	bus *bus.Bus
	out io.Writer
	log *slog.Logger
}

// provision prints what it did, also when it then fails. A store that is there fixes the partition counts, so it is looked
// at before streams are made.
func provision(ctx context.Context, cfg Config, out io.Writer, log *slog.Logger) (err error) {
	b, err := connectBus(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer b.Close()
	p := &provisioner{cfg, b, out, log}
	if err := p.settle(ctx); err != nil {
		return err
	}
	cfg = p.cfg // with the partition counts
	layout := chain.Layout{ConvPartitions: cfg.Partitions.Conv, UserPartitions: cfg.Partitions.User}
	var store *tikv.Store
	if cfg.Store.Driver == driverTiKV {
		if store, err = connectTiKV(ctx, cfg, log); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, store.Close()) }()
		if err := verifyStore(ctx, store, layout); err != nil {
			return err
		}
	}
	if err := p.streams(ctx); err != nil {
		return err
	}
	if store != nil {
		if err := provisionStore(ctx, store, layout, out); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "provisioned: cell %s, %d conversation and %d user partitions, %d replicas\n",
		cfg.Cell, layout.ConvPartitions, layout.UserPartitions, cfg.Stream.Replicas)
	return nil
}

// settle takes the partition counts of a cluster that is there. Those of a new one are for ever, so a person chooses them.
func (p *provisioner) settle(ctx context.Context) error {
	err := afterElection(ctx, p.log, func(ctx context.Context) error { return p.cfg.settle(ctx, p.bus, 0) })
	if !errors.Is(err, bus.ErrNoStream) {
		return err
	}
	open := "partitions.conv"
	if p.cfg.Partitions.Conv != 0 {
		open = "partitions.user"
	}
	return conf.Wrong(open, 0, "takes the number that is provisioned, and nothing is yet; choose one, which is fixed from then on: "+
		"32 are right for a cluster that is to grow")
}

func (p *provisioner) streams(ctx context.Context) error {
	return afterElection(ctx, p.log, func(ctx context.Context) error {
		report, err := p.bus.Provision(ctx, p.cfg.busLayout())
		for _, name := range report.Created {
			fmt.Fprintln(p.out, "created", name)
		}
		for _, name := range report.Updated {
			fmt.Fprintln(p.out, "updated", name)
		}
		return err
	})
}

func provisionStore(ctx context.Context, s *tikv.Store, l chain.Layout, out io.Writer) error {
	borders := l.Borders()
	if err := s.Split(ctx, borders); err != nil {
		return fmt.Errorf("split the key space at the borders of the partitions: %w", err)
	}
	fmt.Fprintf(out, "split the key space at %d borders of partitions\n", len(borders))
	return nil
}
