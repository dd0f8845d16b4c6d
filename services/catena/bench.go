package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/catena-im/catena/pkg/bus"
	"github.com/catena-im/catena/pkg/im"
	"github.com/catena-im/catena/services/bench/check/child"
	"github.com/catena-im/catena/services/bench/load"
	"github.com/catena-im/catena/services/bench/yardstick"
	"github.com/catena-im/catena/services/edge/token"
)

// benching is the flags that all bench commands share, and what they need to run.
type benching struct {
	cfg                      load.Config
	spawn, json, alone       bool // alone: no server is needed
	data, dir, plot          string
	durability               string
	serverFlags              []string
	keyFile, keyID, audience string

	stdout, stderr io.Writer
	terminal       bool // stderr is one
	deps           load.Deps
	key            token.Key
}

// benchReport is the result of a benchmark.
type benchReport interface {
	Print(w io.Writer)
	Passed() bool
	Plot() []byte // an SVG image; nil when there is nothing to be drawn
}

func newBenchCommand() *cobra.Command {
	b := &benching{}
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "measure what a server takes and delivers, next to yardsticks",
		Long: "Measure what a server takes and delivers, and what that costs it, next to yardsticks that are measured in the same\n" +
			"run on the same machine: raw JetStream publish, a bare gws server, plain Pebble, fsync. Absolute numbers are the\n" +
			"machine's; the ratios are Catena's. Every command ends within 45 seconds unless it is given a duration or a size.\n" +
			"Its users are new ones, so it can be pointed at a server that others use; what it sends stays there.",
		Example: "  catena bench send --spawn                        # the highest rate with p99 below 100 ms\n" +
			"  catena bench send --spawn --rate 5000 --json\n" +
			"  catena bench fanout --spawn --members 10,100,500 --plot fanout.svg\n" +
			"  catena bench idle --data ./.catena               # the server that runs on that folder\n" +
			"  catena bench pull --url wss://host/ws --token-key secret.txt --token-key-id main",
		Args: knownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	f := cmd.PersistentFlags()
	f.BoolVar(&b.spawn, "spawn", false, "measure a server of its own: catena dev as a child process on a temporary folder")
	f.StringVar(&b.cfg.URL, "url", os.Getenv(envURL), "server to measure, ws://host:port/ws (or "+envURL+"); default: the one that runs on --data")
	f.StringVar(&b.data, "data", orElse(os.Getenv(envData), defaultData), "data folder of the development server, whose key signs the tokens (or "+envData+")")
	f.StringVar(&b.dir, "dir", "", "folder for the data of the spawned server and of the yardsticks, on the disk to be measured; default: the system's for temporary files")
	f.StringVar(&b.durability, "durability", "fsync", "of the spawned server, or what is known of the running one: fsync|interval")
	f.StringArrayVar(&b.serverFlags, "server-flag", nil, "one more flag for the spawned server, such as --server-flag=--partitions-conv=16")
	f.DurationVar(&b.cfg.Within, "within", load.DefaultWithin, "how long a search for the highest rate may take, all in all; a longer --duration adds to it; with several sizes of groups, for each")
	f.IntVar(&b.cfg.Body, "body", 200, "bytes of a message's text")
	f.DurationVar(&b.cfg.Yardsticks, "yardsticks", 1200*time.Millisecond, "how long each yardstick is measured; 0: do without them and their ratios")
	f.BoolVar(&b.json, "json", false, "print the report as one JSON object, on the last line of the output")
	f.StringVar(&b.plot, "plot", "", "file to write a plot to, as SVG")
	f.StringVar(&b.keyFile, "token-key", "", "file with the HS256 secret that signs the tokens, as in auth.keys of the server; default: the key of --data")
	f.StringVar(&b.keyID, "token-key-id", "", "the secret's id (kid) at the server")
	f.StringVar(&b.audience, "audience", token.DefaultAudience, "the server's auth.audience")
	cmd.AddCommand(b.sendCommand(), b.fanoutCommand(), b.idleCommand(), b.pullCommand(), b.loginCommand(), b.failoverCommand(),
		b.yardstickCommand(), yardstickChildCommand())
	return cmd
}

// command makes a bench command around what it measures.
func (b *benching) command(use, short string, measure func(context.Context, *load.Bench) (benchReport, error)) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: between(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			hugePages(hugeHeap) // the clients take processors from the server that they measure
			b.stdout, b.stderr = cmd.OutOrStdout(), cmd.ErrOrStderr()
			if f, ok := b.stderr.(*os.File); ok {
				b.terminal = term.IsTerminal(int(f.Fd()))
			}
			return b.run(cmd.Context(), measure)
		},
	}
}

func (b *benching) run(ctx context.Context, measure func(context.Context, *load.Bench) (benchReport, error)) error {
	switch {
	case b.spawn && b.cfg.URL != "":
		return usageError{errors.New("--spawn starts a server of its own, and --url names another; give one of them")}
	case b.durability != "fsync" && b.durability != "interval":
		return usageError{fmt.Errorf("--durability is %q; give fsync or interval", b.durability)}
	case !b.spawn && len(b.serverFlags) > 0:
		return usageError{errors.New("--server-flag is for the server that --spawn starts")}
	}
	b.cfg.Interval = b.durability == "interval"
	folder, err := os.MkdirTemp(b.dir, "catena-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	if err := b.prepare(folder); err != nil {
		return err
	}
	perform := b.measureRunning
	switch {
	case b.alone:
		perform = func(ctx context.Context, _ string, measure func(context.Context) error) error { return measure(ctx) }
	case b.spawn:
		perform = b.measureSpawned
	}
	var report benchReport
	err = perform(ctx, folder, func(ctx context.Context) (err error) {
		bench, err := load.New(b.cfg, b.deps)
		if err != nil {
			return usageError{err}
		}
		report, err = measure(ctx, bench)
		return err
	})
	if b.terminal {
		fmt.Fprint(b.stderr, clearLine)
	}
	if err != nil {
		return err
	}
	return b.print(report)
}

// prepare makes what does not depend on the server.
func (b *benching) prepare(folder string) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	b.deps.Progress = b.progress
	if b.cfg.Yardsticks > 0 {
		b.deps.Yardsticks = yardstick.Runner{Command: []string{program, "bench", yardstickChild}, Dir: folder}
	}
	b.deps.Token = func(user string) (string, error) {
		return token.Issue(b.key, b.audience, token.Claims{User: im.UserID(user), Expires: time.Now().Add(benchTokenTTL)})
	}
	return nil
}

// benchTokenTTL is how long the tokens of a benchmark are good for: as long as the longest of them.
const benchTokenTTL = 24 * time.Hour

// print writes the report, and the plot if one is wanted.
func (b *benching) print(report benchReport) error {
	if !b.json {
		report.Print(b.stdout)
	} else if err := json.NewEncoder(b.stdout).Encode(report); err != nil {
		return fmt.Errorf("print the report: %w", err)
	}
	if b.plot != "" {
		picture := report.Plot()
		if picture == nil {
			return errors.New("--plot: this run has nothing to be drawn; a search for a rate has, and several sizes of groups")
		}
		if err := os.WriteFile(b.plot, picture, 0o600); err != nil {
			return fmt.Errorf("write the plot: %w", err)
		}
	}
	if !report.Passed() {
		return errors.New("the benchmark did not go as it should; the report says why")
	}
	return nil
}

// progress shows where the run stands: on one line of a terminal, else on a line each.
func (b *benching) progress(line string) {
	if b.terminal {
		fmt.Fprint(b.stderr, clearLine, line)
		return
	}
	fmt.Fprintln(b.stderr, line)
}

// measureRunning measures a server that runs already.
func (b *benching) measureRunning(ctx context.Context, _ string, measure func(context.Context) error) (err error) {
	if b.cfg.URL == "" {
		run, err := ReadRunFile(b.data)
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("no server found in %s: no `catena dev` runs on that folder\n"+
				"let bench start one with --spawn, or name one with --url ws://host:port/ws", b.data)
		} else if err != nil {
			return err
		}
		b.cfg.URL = run.WSURL
		b.observe(b.data)
	}
	if b.keyFile == "" {
		b.key, err = LoadKey(b.data)
	} else {
		b.key, err = AuthKey{ID: b.keyID, Algorithm: token.HS256, File: b.keyFile}.load()
	}
	if err != nil {
		return err
	}
	return measure(ctx)
}

// measureSpawned measures a server of its own.
func (b *benching) measureSpawned(ctx context.Context, folder string, measure func(context.Context) error) (err error) {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	data := filepath.Join(folder, "data")
	if b.key, err = LoadOrCreateKey(data); err != nil {
		return err
	}
	b.observe(data)
	server := child.Config{
		Command: func(listen string) []string {
			// A few clients stand for many: what one of them may ask is not what is measured.
			return append([]string{program, "dev", "--data", data, "--listen", listen, "--nats-listen", "127.0.0.1:0",
				"--admin-listen", "127.0.0.1:0", "--durability", b.durability,
				"--limits-frame-rate", "1000000", "--limits-frame-burst", "1000000"}, b.serverFlags...)
		},
		Data: data, Log: filepath.Join(folder, "server.log"),
		// What configures a server of the user's must not configure this one.
		Env: slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "CATENA_") }),
	}
	return child.Run(ctx, server, func(ctx context.Context, server *child.Child) error {
		b.cfg.URL, b.deps.Crash, b.deps.Died = server.URL(), server.Crash, server.Died()
		return measure(ctx)
	})
}

// observe lets the server be looked at that runs on a data folder of this machine.
func (b *benching) observe(data string) {
	b.deps.PID = func() (int, error) {
		run, err := ReadRunFile(data)
		return run.PID, err
	}
	b.deps.Streamed = func(ctx context.Context) (uint64, error) {
		run, err := ReadRunFile(data)
		if err != nil {
			return 0, err
		}
		return streamed(ctx, run.NATSURL)
	}
}

// streamed is how many messages the streams of all partitions have ever taken.
func streamed(ctx context.Context, url string) (total uint64, err error) {
	b, err := bus.Connect(ctx, bus.Config{URL: url, Name: "catena bench"}, slog.New(slog.DiscardHandler))
	if err != nil {
		return 0, err
	}
	defer b.Close()
	for _, kind := range []bus.Kind{bus.Conv, bus.User} {
		for n := 0; ; n++ {
			r, err := b.Open(ctx, bus.Partition{Kind: kind, Number: n})
			if errors.Is(err, bus.ErrNoStream) && n > 0 {
				break
			} else if err != nil {
				return 0, err
			}
			state, err := r.State(ctx)
			if err != nil {
				return 0, err
			}
			total += state.Last
		}
	}
	return total, nil
}
