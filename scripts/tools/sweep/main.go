// Command sweep makes the tables of docs/PERFORMANCE.md again: it runs catena bench once for each row, each time against
// a new server of its own, and prints the rows as Markdown. It knows of the benchmark only how it is called and what its
// JSON report says.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "sweep:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("sweep", flag.ContinueOnError)
	dir := f.String("dir", "", "`folder` for the data, on the disk to be measured; default: the system's for temporary files")
	f.Usage = func() {
		fmt.Fprintf(f.Output(), "sweep [flags] TABLE...\n\nTables: %s\n\n", strings.Join(names(), " "))
		f.PrintDefaults()
	}
	if err := f.Parse(args); err != nil {
		return err
	}
	wanted := f.Args()
	if len(wanted) == 0 {
		wanted = names()
	}
	for _, name := range wanted {
		if !slices.Contains(names(), name) {
			return fmt.Errorf("no table %q; there are %s", name, strings.Join(names(), " "))
		}
	}
	scratch, err := os.MkdirTemp(*dir, "catena-sweep-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	b := bench{dir: scratch, program: filepath.Join(scratch, "catena")}
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", b.program, "./services/catena").CombinedOutput(); err != nil {
		return fmt.Errorf("build catena (run sweep in the root of the repository): %w\n%s", err, out)
	}
	for _, t := range tables {
		if slices.Contains(wanted, t.name) {
			if err := b.table(ctx, t); err != nil {
				return fmt.Errorf("table %s: %w", t.name, err)
			}
		}
	}
	return nil
}

// bench runs the benchmark.
type bench struct{ dir, program string }

func (b bench) table(ctx context.Context, t table) error {
	fmt.Printf("\n%s\n\n| %s | %s |\n", t.title, t.rows, strings.Join(t.columns.names, " | "))
	fmt.Printf("|%s\n", strings.Repeat("---|", 1+len(t.columns.names)))
	for _, r := range t.of {
		report, err := b.measure(ctx, strings.Fields(r.args))
		if err != nil {
			return fmt.Errorf("row %s: %w", r.name, err)
		}
		fmt.Printf("| %s | %s |\n", r.name, strings.Join(t.columns.of(report), " | "))
	}
	return nil
}

// measure runs one benchmark and returns its report. A report that says that something is wrong is an error.
func (b bench) measure(ctx context.Context, args []string) (r report, err error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, b.program, append(append([]string{"bench"}, args...), "--spawn", "--json", "--dir", b.dir)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return r, fmt.Errorf("catena bench %s: %w\n%s%s", strings.Join(args, " "), err, stderr.String(), stdout.String())
	}
	return r, json.Unmarshal(stdout.Bytes(), &r)
}
