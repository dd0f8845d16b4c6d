//go:build unix

// Command cluster runs a development cluster of real processes on this machine: three NATS servers, a development TiKV
// (or a real one), edges, sequencers and history services, each with a log of its own, all below one folder, and one that
// all connections between them go through. It brings the cluster up and down, kills, stops, pauses and starts single
// processes, and cuts and heals what connects them. It knows Catena only from outside: by its command line, its
// configuration file and its readiness endpoint.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/catena-im/catena/scripts/tools/cluster/link"
)

const usage = `cluster COMMAND [flags] [NAME…]

  up                 start what does not run, wait until it is ready, print addresses and what to try
  down               stop everything; the data stays (--clean removes it)
  status             what runs, and what is done to the links; --json for programs
  kill NAME…         SIGKILL: no goodbye
  stop NAME…         SIGTERM, and wait for the end
  start NAME…        start again, and wait until it is ready
  pause NAME…        SIGSTOP
  resume NAME…       SIGCONT
  cut A B…           reset what connects A with the others, and refuse more; --silent: nothing arrives and nothing is
                     closed; --one-way: so, but only what A sends; --delay D: everything arrives D later
  heal [A B…]        let it pass again; without names everything, and the disk is fast again
  slow tikv D        every fsync of the development TiKV takes D longer; 0s ends that
  logs [-f] NAME     the end of a log; -f goes on
  drill              a cluster of its own, a check against it, a kill, a pause, cuts and heals, and the end

A NAME is one that status shows, or a pattern such as 'sequencer-*'. Without --dir it is the cluster of the folder or
repository that you are in; the copy of this program in a cluster's bin folder knows its cluster from anywhere.

`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the tool at once
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	dir, root string
	wanted    wanted
	hold      bool
	clean     bool
	follow    bool
	json      bool
	silent    bool
	oneWay    bool
	delay     time.Duration
	lines     int
	timeout   time.Duration
	duration  time.Duration
}

func parse(args []string) (command string, o options, names []string, err error) {
	f := flag.NewFlagSet("cluster", flag.ContinueOnError)
	f.Usage = func() {
		fmt.Fprint(f.Output(), usage)
		f.PrintDefaults()
	}
	f.StringVar(&o.dir, "dir", "", "`folder` of the cluster: data, logs, configurations, pids (default .catena-cluster in the repository)")
	f.StringVar(&o.root, "root", "", "`folder` of the repository (default: the one that you are in, or that the cluster was made from)")
	f.IntVar(&o.wanted.Base, "base-port", defaultBase, "the ports are this and the 299 above it; 0 finds free ones. Kept once the cluster was up")
	f.IntVar(&o.wanted.Edges, "edges", 2, "number of edges")
	f.IntVar(&o.wanted.Sequencers, "sequencers", 2, "number of sequencers")
	f.IntVar(&o.wanted.Histories, "histories", 2, "number of history services")
	f.StringVar(&o.wanted.PD, "tikv-pd", os.Getenv("TIKV_PD"), "`host:port` of the PD of a real TiKV, comma separated, instead of the development one (or TIKV_PD)")
	f.StringVar(&o.wanted.Prefix, "tikv-prefix", "", "1 or 2 bytes before every key there; a new cluster needs one that no other used")
	f.BoolVar(&o.hold, "hold", false, "up: stay until standard input ends or a signal comes, then bring the cluster down")
	f.BoolVar(&o.clean, "clean", false, "down: remove the folder too")
	f.BoolVar(&o.json, "json", false, "status: as one JSON object")
	f.BoolVar(&o.silent, "silent", false, "cut: lose what is sent instead of resetting connections")
	f.BoolVar(&o.oneWay, "one-way", false, "cut: lose only what the first one sends")
	f.DurationVar(&o.delay, "delay", 0, "cut: hold everything for this long instead")
	f.BoolVar(&o.follow, "f", false, "logs: go on with what is added")
	f.IntVar(&o.lines, "n", 50, "logs: `number` of lines")
	f.DurationVar(&o.timeout, "timeout", 90*time.Second, "how long a process may take to get ready")
	f.DurationVar(&o.duration, "duration", 15*time.Second, "drill: how long the devices talk")
	if len(args) == 0 {
		f.Usage()
		return "", o, nil, flag.ErrHelp
	}
	command = args[0]
	if strings.HasPrefix(command, "-") {
		command, args = "help", append([]string{""}, args...)
	}
	for rest := args[1:]; len(rest) > 0; { // flags and names in any order
		if err := f.Parse(rest); err != nil {
			return "", o, nil, err
		}
		if rest = f.Args(); len(rest) > 0 {
			names, rest = append(names, rest[0]), rest[1:]
		}
	}
	f.Visit(func(given *flag.Flag) { o.wanted.given = append(o.wanted.given, given.Name) })
	return command, o, names, o.place()
}

// fault is what cut does.
func (o *options) fault() (link.Fault, error) {
	switch ways := o.silent || o.oneWay; {
	case o.silent && o.oneWay, ways && o.delay != 0:
		return link.Fault{}, errors.New("--silent, --one-way, --delay: give one of them")
	case ways:
		return link.Fault{LoseTo: true, LoseFrom: o.silent}, nil
	case o.delay != 0:
		return link.Fault{Delay: o.delay}, nil
	}
	return link.Fault{Cut: true}, nil
}

func run(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	command, o, names, err := parse(args)
	if err != nil {
		return err
	}
	switch command {
	case "up":
		return up(ctx, o, in, out)
	case "drill":
		return drill(ctx, o, out)
	}
	c, err := load(o, out)
	if err != nil {
		return err
	}
	switch command {
	case "down":
		return c.down(o.clean)
	case "status":
		return c.status(ctx)
	case "carry":
		return c.carry(ctx)
	case "cut":
		f, err := o.fault()
		if err != nil {
			return err
		}
		return c.cut(ctx, names, f)
	case "heal":
		return c.heal(ctx, names)
	case "slow":
		return c.slowDisk(names)
	case "kill":
		return c.each(names, c.kill)
	case "stop":
		return c.each(names, func(p *process) error { return c.stop(p, stopWithin) })
	case "start":
		return c.startNamed(ctx, names)
	case "pause":
		return c.each(names, c.pause)
	case "resume":
		return c.each(names, c.resume)
	case "logs":
		return c.logs(ctx, names, o.lines, o.follow)
	}
	return fmt.Errorf("%q is no command; see: cluster --help", command)
}
