//go:build unix

// Command cluster runs a development cluster of real processes on this machine: three NATS servers, a development TiKV
// (or a real one), edges, sequencers and history services, each with a log of its own, all below one folder. It brings
// the cluster up and down, and kills, stops, pauses and starts single processes. It knows Catena only from outside: by
// its command line, its configuration file and its readiness endpoint.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const usage = `cluster COMMAND [flags] [NAME…]

  up                 start what does not run, wait until it is ready, print addresses and what to try
  down               stop everything; the data stays (--clean removes it)
  status             what runs
  kill NAME…         SIGKILL: no goodbye
  stop NAME…         SIGTERM, and wait for the end
  start NAME…        start again, and wait until it is ready
  pause NAME…        SIGSTOP
  resume NAME…       SIGCONT
  logs [-f] NAME     the end of a log; -f goes on
  drill              a cluster of its own, a check with faults against it, a killed sequencer, and the end

A NAME is one that status shows, or a pattern such as 'sequencer-*'.

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
	f.StringVar(&o.dir, "dir", ".catena-cluster", "`folder` of the cluster: data, logs, configurations, pids")
	f.StringVar(&o.root, "root", ".", "`folder` of the repository")
	f.IntVar(&o.wanted.Base, "base-port", defaultBase, "the ports are this and the 99 above it; 0 finds free ones. Kept once the cluster was up")
	f.IntVar(&o.wanted.Edges, "edges", 2, "number of edges")
	f.IntVar(&o.wanted.Sequencers, "sequencers", 2, "number of sequencers")
	f.IntVar(&o.wanted.Histories, "histories", 2, "number of history services")
	f.StringVar(&o.wanted.PD, "tikv-pd", os.Getenv("TIKV_PD"), "`host:port` of the PD of a real TiKV, comma separated, instead of the development one (or TIKV_PD)")
	f.StringVar(&o.wanted.Prefix, "tikv-prefix", "", "1 or 2 bytes before every key there; a new cluster needs one that no other used")
	f.BoolVar(&o.hold, "hold", false, "up: stay until standard input ends or a signal comes, then bring the cluster down")
	f.BoolVar(&o.clean, "clean", false, "down: remove the folder too")
	f.BoolVar(&o.follow, "f", false, "logs: go on with what is added")
	f.IntVar(&o.lines, "n", 50, "logs: `number` of lines")
	f.DurationVar(&o.timeout, "timeout", 90*time.Second, "how long a process may take to get ready")
	f.DurationVar(&o.duration, "duration", 10*time.Second, "drill: how long the devices talk")
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
	if o.dir, err = filepath.Abs(o.dir); err == nil {
		o.root, err = filepath.Abs(o.root)
	}
	return command, o, names, err
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
