//go:build !darwin || cgo

// Command tikvdev is a development TiKV: it serves the gRPC protocols of TiKV and of its placement driver (PD) on
// client-go's mock store, with the data on disk, so that several processes on a machine without TiKV exercise the
// production driver, pkg/kv/tikv, over the network, through kill -9 of either side. It is a tool for tests and
// development and nothing else: one store, no raft, no replicas, a single lock, and slower the more it holds.
//
// As in a real cluster, PD and the store are two roles that may run as two processes. The store keeps the keys; PD keeps
// the time, the regions, the ids and the safe points. What was answered survives a kill -9, and with --fsync a power
// loss.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	plog "github.com/pingcap/log"
	"go.uber.org/zap"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is main with an exit code: 2 for wrong arguments, 1 for a failure.
func run(args []string, stdout, stderr io.Writer) int {
	cfg, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintf(stderr, "tikvdev: %v\n", err)
		return 2
	}
	plog.ReplaceGlobals(zap.NewNop(), &plog.ZapProperties{Level: zap.NewAtomicLevelAt(zap.FatalLevel)}) // the mock's
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewTextHandler(stderr, nil))
	if err := serve(ctx, cfg, log, func(r ready) { fmt.Fprintln(stdout, r) }); err != nil {
		log.Error("tikvdev ends", "err", err)
		return 1
	}
	return 0
}

// config is what the flags say.
type config struct {
	role                        string            // all, pd, store
	data                        string            // folder
	pd, store                   string            // host:port to listen on; for a store, pd is where PD is
	advertisePD, advertiseStore string            // host:port that clients are told; "": where it listens
	ways                        map[string]string // address of the store that clients are told, by that of PD which they came by
	fsync                       bool
	split                       []string // keys, raw
	ca, cert, key               string
}

func (c *config) is(role string) bool { return c.role == role || c.role == "all" }

const usage = `tikvdev is a development TiKV: TiKV's and PD's protocols on client-go's mock store.
For tests and development only: one store, no replication.

  tikvdev                                     PD and store, data in ./tikvdev-data
  tikvdev --role pd --data D                  PD alone,
  tikvdev --role store --data D --pd HOST:PORT  and a store that finds it there

While the file store/fsync-delay in the data folder holds a duration, such as 200ms, every fsync of the store takes that
much longer.

When it is ready it prints one line to standard output:
  ready role=all pd=127.0.0.1:2379 store=127.0.0.1:20160

`

func parse(args []string, stderr io.Writer) (config, error) {
	var c config
	var split, pairs string
	f := flag.NewFlagSet("tikvdev", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.Usage = func() {
		fmt.Fprint(stderr, usage)
		f.PrintDefaults()
	}
	f.StringVar(&c.role, "role", "all", "`role` of this process: pd, store, or all for both. With two processes, one can be killed without the other")
	f.StringVar(&c.data, "data", "tikvdev-data", "`folder` for the data; PD and store each have one of their own in it")
	f.StringVar(&c.pd, "pd", "127.0.0.1:2379", "`address` that PD listens on, and where a store finds PD; port 0 takes a free one")
	f.StringVar(&c.store, "store", "127.0.0.1:20160", "`address` that the store listens on; port 0 takes a free one")
	f.StringVar(&c.advertisePD, "advertise-pd", "", "`address` of PD that clients are told, such as that of a proxy (default: where it listens)")
	f.StringVar(&c.advertiseStore, "advertise-store", "", "`address` of the store that clients are told (default: where it listens)")
	f.StringVar(&pairs, "ways", "", "comma-separated `PD=STORE` pairs of addresses: clients that came by the first, such as a proxy of their own, are told both")
	f.BoolVar(&c.fsync, "fsync", true, "fsync before a write is answered; without, a power loss may take what was answered")
	f.StringVar(&split, "split", "", "comma-separated `keys` at which the regions are cut at start, so that transactions span several")
	f.StringVar(&c.ca, "ca", "", "`file` with the certificate authority, for TLS on both ports with --cert and --key; clients must have a certificate too")
	f.StringVar(&c.cert, "cert", "", "`file` with the certificate of this process")
	f.StringVar(&c.key, "key", "", "`file` with the key of --cert")
	if err := f.Parse(args); err != nil {
		return c, err
	}
	if split != "" {
		c.split = strings.Split(split, ",")
	}
	var err error
	if c.ways, err = parseWays(pairs); err != nil {
		return c, fmt.Errorf("--ways: %w", err)
	}
	switch {
	case f.NArg() > 0:
		return c, fmt.Errorf("unknown argument %q; see --help", f.Arg(0))
	case c.role != "all" && c.role != "pd" && c.role != "store":
		return c, fmt.Errorf("--role is %q: pd, store or all", c.role)
	case (c.ca == "") != (c.cert == "") || (c.ca == "") != (c.key == ""):
		return c, errors.New("--ca, --cert and --key go together")
	}
	return c, nil
}
