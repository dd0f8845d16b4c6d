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
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/catena-im/catena/pkg/bus"
	"github.com/catena-im/catena/pkg/conf"
	"github.com/catena-im/catena/pkg/kv"
	"github.com/catena-im/catena/pkg/kv/pebble"
	"github.com/catena-im/catena/services/catena/inspect"
)

func inspectCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "inspect",
		Short: "look into streams and stores, and decode what is in them",
		Long: "Look into streams and stores, and decode what is in them. Nothing is changed. What it shows includes messages:\n" +
			"it is for those who operate the server.",
		Example: "  catena inspect stream                     # all partitions, their streams and owners\n" +
			"  catena inspect stream conv.001 --limit 5\n" +
			"  catena inspect store --conversation s:alice:bob\n" +
			"  catena inspect decode CommandBatch 0a05656467...",
		Args: knownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(inspectStreamCommand(), inspectStoreCommand(), inspectDecodeCommand())
	return cmd
}

// looking is what the flags of `catena inspect stream` say.
type looking struct {
	data, nats, cell string
	from, to         uint64
	limit            int
	json             bool
	timeout          time.Duration
}

func inspectStreamCommand() *cobra.Command {
	var l looking
	cmd := &cobra.Command{
		Use:   "stream [PARTITION]",
		Short: "show a partition's stream message by message, or all partitions at a glance",
		Long: "Show the messages of the stream of PARTITION (conv.000, user.001, …), decoded. Reading does not disturb the\n" +
			"partition's owner. Without PARTITION, show where every stream stands and who owns the partition.",
		Example: "  catena inspect stream\n" +
			"  catena inspect stream user.000 --from 100 --limit 10\n" +
			"  catena inspect stream conv.001 --json | jq .payload.commands",
		Args: between(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), l.timeout)
			defer cancel()
			return l.look(ctx, cmd.OutOrStdout(), args)
		},
	}
	f := cmd.Flags()
	f.StringVar(&l.data, "data", orElse(os.Getenv(envData), defaultData), "data folder of the development server")
	f.StringVar(&l.nats, "nats", "", "NATS servers; default: the one of the server that runs on --data")
	f.StringVar(&l.cell, "cell", bus.DefaultCell, "the server's cell")
	f.Uint64Var(&l.from, "from", 0, "first sequence to show; default: so that the last --limit are shown")
	f.Uint64Var(&l.to, "to", 0, "last sequence to show; default: the last there is")
	f.IntVar(&l.limit, "limit", 20, "most messages to show")
	f.BoolVar(&l.json, "json", false, "print one JSON object a line")
	f.DurationVar(&l.timeout, "timeout", time.Minute, "how long the whole may take")
	return cmd
}

func (l *looking) look(ctx context.Context, out io.Writer, args []string) error {
	var p bus.Partition
	if len(args) > 0 {
		var err error
		if p, err = parsePartition(args[0]); err != nil {
			return err
		}
	}
	if l.limit < 1 {
		return usageError{errors.New("--limit is not positive")}
	}
	url := l.nats
	if url == "" {
		run, err := ReadRunFile(l.data)
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("no server found in %s: no `catena dev` runs on that folder\nname its NATS servers: --nats nats://host:port", l.data)
		} else if err != nil {
			return err
		}
		url = run.NATSURL
	}
	b, err := bus.Connect(ctx, bus.Config{URL: url, Name: "catena inspect", Cell: l.cell}, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer b.Close()
	if p.Kind == 0 {
		return l.glance(ctx, out, b)
	}
	return l.stream(ctx, out, b, p)
}

// parsePartition reads a partition's name, such as conv.001.
func parsePartition(text string) (bus.Partition, error) {
	kind, digits, _ := strings.Cut(text, ".")
	n, err := strconv.ParseUint(digits, 10, 10)
	for _, k := range []bus.Kind{bus.Conv, bus.User} {
		if kind == k.String() && err == nil {
			return bus.Partition{Kind: k, Number: int(n)}, nil
		}
	}
	return bus.Partition{}, usageError{fmt.Errorf("%q is not a partition; write conv.000 or user.000, with its number", text)}
}

// standing is one line of the glance.
type standing struct {
	Partition string    `json:"partition"`
	Stream    string    `json:"stream"`
	Created   time.Time `json:"created"`
	First     uint64    `json:"first"`
	Last      uint64    `json:"last"`
	Bytes     uint64    `json:"bytes"`
	MaxBytes  uint64    `json:"maxBytes"`
	Owner     string    `json:"owner"` // the worker that the lease names; empty: nobody
}

// glance shows every partition there is.
func (l *looking) glance(ctx context.Context, out io.Writer, b *bus.Bus) error {
	owners, err := ownersOf(ctx, b)
	if err != nil {
		return err
	}
	for _, kind := range []bus.Kind{bus.Conv, bus.User} {
		for n := 0; ; n++ {
			p := bus.Partition{Kind: kind, Number: n}
			r, err := b.Open(ctx, p)
			if errors.Is(err, bus.ErrNoStream) && n > 0 {
				break
			} else if err != nil {
				return err
			}
			state, err := r.State(ctx)
			if err != nil {
				return err
			}
			s := standing{p.String(), p.Stream(), state.Created.UTC(), state.First, state.Last, state.Bytes, state.MaxBytes, owners[p.String()]}
			if err := l.print(out, s, s.String); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s standing) String() string {
	holds := fmt.Sprintf("sequences %d to %d", s.First, s.Last)
	if s.First > s.Last {
		holds = fmt.Sprintf("empty after sequence %d", s.Last)
	}
	return fmt.Sprintf("%s  %s  %s, %d of %v, created %s, owner %s", s.Partition, s.Stream, holds,
		s.Bytes, conf.Bytes(s.MaxBytes), s.Created.Format(time.RFC3339), orElse(s.Owner, "nobody"))
}

// ownersOf names the worker that holds each lease.
func ownersOf(ctx context.Context, b *bus.Bus) (map[string]string, error) {
	leases, err := b.Leases(ctx)
	if err != nil {
		return nil, err
	}
	held, err := leases.List(ctx)
	if err != nil {
		return nil, err
	}
	owners := map[string]string{}
	for _, h := range held {
		var holder struct{ Worker string }
		if json.Unmarshal(h.Value, &holder) != nil || holder.Worker == "" {
			holder.Worker = string(h.Value)
		}
		owners[h.Key] = holder.Worker
	}
	return owners, nil
}

// stream shows the messages of one partition. What was removed from the stream is passed over.
func (l *looking) stream(ctx context.Context, out io.Writer, b *bus.Bus, p bus.Partition) error {
	r, err := b.Open(ctx, p)
	if errors.Is(err, bus.ErrNoStream) {
		return fmt.Errorf("there is no partition %s; see what there is with: catena inspect stream", p)
	} else if err != nil {
		return err
	}
	state, err := r.State(ctx)
	if err != nil {
		return err
	}
	first, last := l.span(state.First, state.Last)
	shown := 0
	for seq := first; seq <= last && shown < l.limit; seq++ {
		m, err := r.Message(ctx, seq)
		if errors.Is(err, bus.ErrNotFound) {
			continue
		} else if err != nil {
			return err
		}
		shown++
		item := inspect.DecodeItem(p, m)
		if err := l.print(out, item, item.String); err != nil {
			return err
		}
	}
	if shown == 0 && !l.json {
		fmt.Fprintf(out, "nothing there: %s holds the sequences %d to %d\n", p.Stream(), state.First, state.Last)
	}
	return nil
}

// span is what to show of a stream that holds first to last.
func (l *looking) span(first, last uint64) (from, to uint64) {
	to = last
	if l.to > 0 {
		to = min(l.to, last)
	}
	from = first
	if l.from > 0 {
		return max(l.from, first), to
	}
	if n := uint64(l.limit); to >= n {
		from = max(first, to-n+1)
	}
	return from, to
}

func (l *looking) print(out io.Writer, v any, text func() string) error {
	return printEither(out, v, text, l.json)
}

// printEither writes v as a line of JSON, or as text.
func printEither(out io.Writer, v any, text func() string, asJSON bool) error {
	if !asJSON {
		_, err := fmt.Fprintln(out, text())
		return err
	}
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

func inspectStoreCommand() *cobra.Command {
	var data string
	var filter inspect.Filter
	var limit int
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "store",
		Short: "show the records of a stopped server's store",
		Long: "Show the records of the store in a data folder, decoded, in the order of their keys. Only one process can have the\n" +
			"store open, so the server must be stopped; for a running one, see `catena inspect stream` and `catena pull`.",
		Example: "  catena inspect store --record fence\n" +
			"  catena inspect store --conversation s:alice:bob --record 'conversation chain'\n" +
			"  catena inspect store --user alice --json | jq .value",
		Args: between(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if filter.Record != "" && !slices.Contains(inspect.Records, filter.Record) {
				return usageError{fmt.Errorf("--record %q: there is no such record; there are: %s", filter.Record, strings.Join(inspect.Records, ", "))}
			}
			return eachRecord(cmd.Context(), data, limit, filter, func(r inspect.Record) error {
				return printEither(cmd.OutOrStdout(), r, r.String, asJSON)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&data, "data", orElse(os.Getenv(envData), defaultData), "data folder of the server")
	f.StringVar(&filter.Record, "record", "", "only this kind: "+strings.Join(inspect.Records, ", "))
	f.StringVar(&filter.Partition, "partition", "", "only this partition, such as conv.001")
	f.StringVar(&filter.Conversation, "conversation", "", "only this conversation")
	f.StringVar(&filter.User, "user", "", "only this user")
	f.IntVar(&limit, "limit", 0, "most records to show; 0: all")
	f.BoolVar(&asJSON, "json", false, "print one JSON object a line")
	return cmd
}

// storeDir is the folder of the store in a data folder.
func storeDir(data string) string { return filepath.Join(data, "store") }

// holdsStore refuses a data folder without a store, where opening it would make an empty one.
func holdsStore(data string) error {
	if _, err := os.Stat(storeDir(data)); err != nil {
		return fmt.Errorf("no store in %s: %w", data, err)
	}
	return nil
}

// eachRecord calls fn for the records that the filter picks, at most limit unless that is 0.
func eachRecord(ctx context.Context, data string, limit int, filter inspect.Filter, fn func(inspect.Record) error) (err error) {
	if err := holdsStore(data); err != nil {
		return err
	}
	store, err := pebble.New(pebble.Config{Dir: storeDir(data)})
	if errors.Is(err, pebble.ErrLocked) {
		return fmt.Errorf("the store in %s is in use by a running server, and only one process can have it open\n"+
			"stop the server first; or look at what it serves: catena inspect stream, catena pull", data)
	} else if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	snap, err := store.Snapshot(ctx)
	if err != nil {
		return err
	}
	defer snap.Release()
	shown := 0
	return snap.Scan(ctx, kv.Range{}, func(key, value []byte) error {
		r := inspect.DecodeRecord(key, value)
		if !filter.Picks(r) {
			return nil
		}
		if shown++; limit > 0 && shown > limit {
			return kv.Stop
		}
		return fn(r)
	})
}

func inspectDecodeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "decode TYPE [DATA]",
		Short: "decode a protobuf message or a store key",
		Long: "Decode DATA, in hexadecimal or base64, as the message TYPE of package im.v1, or as the key of a store where TYPE is\n" +
			"key, and print it as JSON. Without DATA, raw bytes are read from standard input.\n\nTypes: " + strings.Join(inspect.Types(), ", "),
		Example: "  nats stream get IM_CONV_000 1 --json | jq -r .data | xargs catena inspect decode CommandBatch\n" +
			"  catena inspect decode key 66630000\n" +
			"  catena inspect decode ClientFrames < frame.bin",
		Args: between(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			data, err := decodeInput(args, cmd.InOrStdin())
			if err != nil {
				return err
			}
			text, err := inspect.Payload(args[0], data)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), string(text))
			return err
		},
	}
}

func decodeInput(args []string, in io.Reader) ([]byte, error) {
	if len(args) < 2 {
		data, err := io.ReadAll(in)
		if err != nil {
			return nil, fmt.Errorf("read standard input: %w", err)
		}
		return data, nil
	}
	data, err := inspect.Bytes(args[1])
	if err != nil {
		return nil, usageError{fmt.Errorf("DATA is %w", err)}
	}
	return data, nil
}
