package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/catena-im/catena/pkg/conf"
	"github.com/catena-im/catena/services/bench/plan"
)

// countFlag is a number that may end in k, M or B.
type countFlag struct{ value *float64 }

var countUnits = []struct {
	name string
	size float64
}{{"B", 1e9}, {"M", 1e6}, {"k", 1e3}}

func (c countFlag) String() string {
	if c.value == nil || *c.value == 0 {
		return ""
	}
	return strconv.FormatFloat(*c.value, 'f', -1, 64)
}

func (c countFlag) Set(text string) error {
	digits, size := text, 1.0
	for _, u := range countUnits {
		if rest, ok := strings.CutSuffix(text, u.name); ok {
			digits, size = rest, u.size
			break
		}
	}
	n, err := strconv.ParseFloat(digits, 64)
	if err != nil || math.IsNaN(n) || math.IsInf(n, 0) {
		return errors.New("give a number, such as 250000, 250k, 100M or 1B")
	}
	*c.value = n * size
	return nil
}

func (countFlag) Type() string { return "count" }

// sizeFlag is a size in bytes with its unit.
type sizeFlag struct {
	value *float64
	shown string // of the default
}

func (s *sizeFlag) String() string { return s.shown }

func (s *sizeFlag) Set(text string) error {
	n, err := conf.ParseBytes(text)
	if err != nil {
		return err
	}
	*s.value, s.shown = float64(n), text
	return nil
}

func (*sizeFlag) Type() string { return "size" }

func planCommand() *cobra.Command {
	c := plan.Default()
	var units, asJSON bool
	cmd := &cobra.Command{
		Use:   "plan --users COUNT --messages-per-day N",
		Short: "what a cluster for so many users needs: partitions, nodes, disks, memory",
		Long: "Work out on paper what a cluster needs: for each kind of process how many nodes, which resource asks for that many,\n" +
			"and the cost of single operations that it follows from. Nothing is measured and no server is asked. What was measured\n" +
			"and what is assumed is marked; docs/CAPACITY.md has the formulas.",
		Example: "  catena plan --users 1M --messages-per-day 40\n" +
			"  catena plan --users 100M --messages-per-day 40 --retention-days 90 --json | jq .parts\n" +
			"  catena plan --units",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if units {
				return plan.WriteUnits(cmd.OutOrStdout())
			}
			for _, name := range []string{"users", "messages-per-day"} {
				if !cmd.Flags().Changed(name) {
					return usageError{fmt.Errorf("--%s is missing\nusage: %s", name, cmd.UseLine())}
				}
			}
			p, err := plan.Make(c)
			var wrong *plan.InputError
			if errors.As(err, &wrong) {
				return usageError{fmt.Errorf("--%w", err)}
			} else if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(p)
			}
			return p.Write(cmd.OutOrStdout())
		},
	}
	planFlags(cmd, &c)
	cmd.Flags().BoolVar(&units, "units", false, "print the costs of single operations that plans are worked out from, and nothing else")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the plan as one JSON object")
	return cmd
}

func planFlags(cmd *cobra.Command, c *plan.Config) {
	f := cmd.Flags()
	f.SortFlags = false
	f.Var(countFlag{&c.Users}, "users", "users that there are, such as 250k, 100M or 1B; required")
	f.Float64Var(&c.MessagesPerDay, "messages-per-day", c.MessagesPerDay, "messages that each user sends a day; required")
	f.Float64Var(&c.PeakFactor, "peak-factor", c.PeakFactor, "how many times the mean of the day the busiest minute is")
	f.Float64Var(&c.OnlineShare, "online-share", c.OnlineShare, "part of the users that is connected in the busiest minute")
	f.Float64Var(&c.GroupShare, "group-share", c.GroupShare, "part of the messages that goes to groups")
	f.Float64Var(&c.GroupMembers, "group-members", c.GroupMembers, "members of the group that such a message goes to, in the mean")
	f.Var(&sizeFlag{&c.Body, "200B"}, "body", "bytes of a message's text")
	f.Float64Var(&c.RetentionDays, "retention-days", c.RetentionDays, "days that messages are kept")
	f.IntVar(&c.Replicas, "replicas", c.Replicas, "copies of everything that is kept: 1, 3 or 5")
	f.Float64Var(&c.Headroom, "headroom", c.Headroom, "part of each resource that stays free in the busiest minute")
	f.IntVar(&c.LeastPartitions, "least-partitions", c.LeastPartitions, "partitions of each kind to begin with; they cannot be changed later, and more of them share less")
	f.Float64Var(&c.NodeCores, "node-cores", c.NodeCores, "cores of a node")
	f.Var(&sizeFlag{&c.NodeMemory, "64GiB"}, "node-memory", "memory of a node")
	f.Var(&sizeFlag{&c.Disk, "4TB"}, "disk", "disk of a NATS server, and of a TiKV store")
	f.DurationVar(&c.StreamRetention, "stream-retention", c.StreamRetention, "how long streams keep what was handled: stream.max_age")
	f.DurationVar(&c.BatchTime, "batch-time", c.BatchTime.Round(time.Millisecond), "how long a partition is at a batch; longer makes fewer stream messages, and slower ones")
}
