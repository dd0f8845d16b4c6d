package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/catena-im/catena/services/bench/load"
	"github.com/catena-im/catena/services/bench/yardstick"
)

const searchRate = "search"

// rateFlag is messages per second, or a search for the highest rate.
type rateFlag struct{ rate *float64 } // 0: search

func (r rateFlag) String() string {
	if r.rate == nil || *r.rate == 0 {
		return searchRate
	}
	return strconv.FormatFloat(*r.rate, 'f', -1, 64)
}

func (r rateFlag) Set(text string) error {
	if text == searchRate {
		*r.rate = 0
		return nil
	}
	rate, err := strconv.ParseFloat(text, 64)
	if err != nil || rate <= 0 {
		return errors.New("give messages per second, or search")
	}
	*r.rate = rate
	return nil
}

func (rateFlag) Type() string { return "rate" }

func (b *benching) sendCommand() *cobra.Command {
	c := load.SendConfig{}
	cmd := b.command("send", "messages between two, in groups, or both: rate, latency and cost",
		func(ctx context.Context, bench *load.Bench) (benchReport, error) { return bench.Send(ctx, c) })
	cmd.Long = "Send messages at a rate that does not depend on the answers, each in a frame of its own, and measure from the time\n" +
		"at which each was to be sent until it is acknowledged and until it is at its receiver's socket. With --rate search,\n" +
		"find the highest rate at which both keep the bound. Afterwards the chains of some users are pulled and checked."
	f := cmd.Flags()
	f.Var(rateFlag{&c.Rate}, "rate", "messages per second, or search")
	f.DurationVar(&c.P99, "p99", 100*time.Millisecond, "the bound: 99 of 100 messages are acknowledged and delivered within")
	f.DurationVar(&c.Duration, "duration", 5*time.Second, "of each measurement")
	f.DurationVar(&c.WarmUp, "warm-up", time.Second, "before each measurement")
	f.IntVar(&c.Users, "users", 500, "number of users, each with a connection")
	f.IntVar(&c.Peers, "peers", 10, "with how many others each user talks")
	f.IntVar(&c.Members, "members", 0, "put the users into groups of this many members; 0: no groups")
	f.IntVar(&c.Fill, "fill", 0, "messages between two that are sent before anything is measured, to see what a large store costs")
	f.Float64Var(&c.Share, "share", 1, "part of the messages that goes to the groups, where there are some; the others are between two")
	return cmd
}

func (b *benching) yardstickCommand() *cobra.Command {
	var c load.YardstickConfig
	cmd := b.command("yardstick", "only the yardsticks: raw JetStream publish, gws echo and idle, Pebble, fsync",
		func(ctx context.Context, bench *load.Bench) (benchReport, error) { return bench.Yardstick(ctx, c) })
	cmd.PreRun = func(*cobra.Command, []string) { b.alone = true }
	f := cmd.Flags()
	f.IntVar(&c.Connections, "connections", 5000, "idle connections to the gws server")
	f.DurationVar(&c.Settle, "settle", 3*time.Second, "how long to wait before memory is looked at")
	f.IntVar(&c.Entries, "entries", 200_000, "entries in Pebble")
	return cmd
}

// yardstickChild names the command that runs one yardstick as a child process.
const yardstickChild = "yardstick-child"

func yardstickChildCommand() *cobra.Command {
	return &cobra.Command{
		Use: yardstickChild + " TASK", Short: "run one yardstick, as a child process of the other commands", Hidden: true, Args: between(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := yardstick.Child(cmd.Context(), args[0], cmd.InOrStdin(), cmd.OutOrStdout()); err != nil {
				return fmt.Errorf("yardstick: %w", err)
			}
			return nil
		},
	}
}

func (b *benching) idleCommand() *cobra.Command {
	var c load.IdleConfig
	cmd := b.command("idle", "connections that do nothing: memory of each",
		func(ctx context.Context, bench *load.Bench) (benchReport, error) { return bench.Idle(ctx, c) })
	f := cmd.Flags()
	f.IntVar(&c.Connections, "connections", 5000, "number of authenticated connections")
	f.DurationVar(&c.Settle, "settle", 3*time.Second, "how long to wait before memory is looked at")
	f.DurationVar(&c.Hold, "hold", 0, "how long they are held when all are there; after some minutes the garbage of connecting is gone")
	return cmd
}

func (b *benching) fanoutCommand() *cobra.Command {
	var c load.FanoutConfig
	cmd := b.command("fanout", "groups with one sender whose members are online: deliveries",
		func(ctx context.Context, bench *load.Bench) (benchReport, error) { return bench.Fanout(ctx, c) })
	f := cmd.Flags()
	f.IntSliceVar(&c.Members, "members", []int{500}, "members of the group; several, as in 10,100,500, are measured one after the other")
	f.Var(rateFlag{&c.Rate}, "rate", "messages per second of the sender, 480 at the most, or search")
	f.DurationVar(&c.P99, "p99", 100*time.Millisecond, "the bound: 99 of 100 messages are acknowledged, and 99 of 100 deliveries are made, within")
	f.DurationVar(&c.Duration, "duration", 5*time.Second, "of each measurement")
	f.DurationVar(&c.WarmUp, "warm-up", time.Second, "before each measurement")
	return cmd
}

func (b *benching) pullCommand() *cobra.Command {
	var c load.PullConfig
	cmd := b.command("pull", "pages of history and of user chains, cold and warm, and the conversation list",
		func(ctx context.Context, bench *load.Bench) (benchReport, error) { return bench.Pull(ctx, c) })
	f := cmd.Flags()
	f.IntVar(&c.Readers, "readers", 8, "connections that pull, each one page at a time")
	f.IntVar(&c.Messages, "messages", 20_000, "messages that are sent first")
	f.IntVar(&c.Page, "page", 100, "entries of a page")
	f.IntVar(&c.Conversations, "conversations", 1000, "conversations in the list")
	f.DurationVar(&c.Duration, "duration", 3*time.Second, "of each kind of pull, warm")
	return cmd
}

func (b *benching) loginCommand() *cobra.Command {
	var c load.LoginConfig
	cmd := b.command("login", "a storm of reconnects, and what others see of it",
		func(ctx context.Context, bench *load.Bench) (benchReport, error) { return bench.Login(ctx, c) })
	f := cmd.Flags()
	f.IntVar(&c.Clients, "clients", 5000, "clients that lose their connections and connect again at once")
	f.IntVar(&c.Bystanders, "bystanders", 50, "users who keep their connections and talk meanwhile")
	f.Float64Var(&c.Rate, "rate", 100, "messages per second of the bystanders")
	f.DurationVar(&c.Within, "back-within", 0, "in which all must be back; default: 10s, more for more than 10,000")
	return cmd
}

func (b *benching) failoverCommand() *cobra.Command {
	var c load.FailoverConfig
	cmd := b.command("failover", "the stall that clients see when the server is killed and started again",
		func(ctx context.Context, bench *load.Bench) (benchReport, error) { return bench.Failover(ctx, c) })
	f := cmd.Flags()
	f.IntVar(&c.Users, "users", 50, "number of users, each of whom writes to the next")
	f.Float64Var(&c.Rate, "rate", 500, "messages per second of all together")
	f.DurationVar(&c.Duration, "duration", 12*time.Second, "how long messages are sent")
	f.IntVar(&c.Kills, "kills", 1, "how often the server is killed in that time")
	return cmd
}
