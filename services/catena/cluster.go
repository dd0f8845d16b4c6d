package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/catena-im/catena/pkg/bus"
	"github.com/catena-im/catena/pkg/kv/tikv"
)

// maxSkew is how far this machine's clock may be off from those of the servers. Tokens, dedupe windows and leases are
// measured on different machines; minutes apart, tokens would be refused and leases read wrong.
const maxSkew = 10 * time.Second

// clockTimeout bounds asking a server for its time.
const clockTimeout = 10 * time.Second

// electionTime is how long servers that have just started may take until JetStream answers.
const electionTime = 30 * time.Second

// afterElection does what needs JetStream, again and again while its servers may still be electing leaders.
func afterElection(ctx context.Context, log *slog.Logger, do func(context.Context) error) error {
	for end := time.Now().Add(electionTime); ; {
		err := do(ctx)
		if !errors.Is(err, bus.ErrNoLeader) || ctx.Err() != nil || time.Now().After(end) {
			return explainBus(err)
		}
		log.Warn("waiting for the NATS servers", "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// verify settles the configuration, compares the NATS servers with it, and their clock with this machine's.
func verify(ctx context.Context, b *bus.Bus, cfg *Config, log *slog.Logger) error {
	return afterElection(ctx, log, func(ctx context.Context) error {
		if err := cfg.settle(ctx, b, 0); err != nil {
			return err
		}
		if err := b.Verify(ctx, cfg.busLayout()); err != nil {
			return err
		}
		return compareClocks(ctx, "NATS", b.Time)
	})
}

// explainBus names the key or the command that mends what is wrong with the NATS servers.
func explainBus(err error) error {
	mismatch, ok := errors.AsType[*bus.Mismatch](err)
	switch {
	case ok && mismatch.What == bus.MismatchCell:
		return fmt.Errorf("cell: %w", err)
	case ok && mismatch.What == bus.MismatchConv:
		return fmt.Errorf("partitions.conv: %w", err)
	case ok && mismatch.What == bus.MismatchUser:
		return fmt.Errorf("partitions.user: %w", err)
	case errors.Is(err, bus.ErrNoStream):
		return fmt.Errorf("%w; run: catena provision", err)
	case errors.Is(err, bus.ErrNoJetStream):
		return fmt.Errorf("nats.url: %w; start the servers with jetstream (see configs/nats), for the account of this process too", err)
	case errors.Is(err, bus.ErrNoLeader):
		return fmt.Errorf("nats.url: %w; see with `nats server report jetstream` that a majority of the servers runs", err)
	}
	return err
}

// connectTiKV reaches the TiKV cluster and compares PD's clock with this machine's.
func connectTiKV(ctx context.Context, cfg Config, log *slog.Logger) (*tikv.Store, error) {
	t := cfg.Store.TiKV
	s, err := tikv.New(tikv.Config{
		PD: t.PD, Prefix: t.Prefix, CA: t.CA, Cert: t.Cert, Key: t.Key,
		ConnectTimeout: t.ConnectTimeout, GCInterval: t.GCInterval, GCKeep: t.GCKeep, Log: log,
	})
	if err != nil {
		return nil, fmt.Errorf("store.tikv: %w", err)
	}
	if err := compareClocks(ctx, "PD", s.Time); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// compareClocks refuses a clock that is far off. How long the answer took does not matter.
func compareClocks(ctx context.Context, whose string, ask func(context.Context) (time.Time, error)) error {
	ctx, cancel := context.WithTimeout(ctx, clockTimeout)
	defer cancel()
	before := time.Now()
	theirs, err := ask(ctx)
	after := time.Now()
	if err != nil {
		return fmt.Errorf("ask %s for its time: %w", whose, err)
	}
	switch ahead := max(before.Sub(theirs), 0) + min(after.Sub(theirs), 0); {
	case ahead > maxSkew:
		return fmt.Errorf("this machine's clock is %v ahead of %s's; set both by NTP (timedatectl set-ntp true)", ahead.Round(time.Second), whose)
	case ahead < -maxSkew:
		return fmt.Errorf("this machine's clock is %v behind %s's; set both by NTP (timedatectl set-ntp true)", -ahead.Round(time.Second), whose)
	}
	return nil
}
