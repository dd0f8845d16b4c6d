//go:build unix

// Command chaos tries out what a cluster promises: it brings a development cluster up on free ports in a folder of its
// own, lets the checker talk through it and harm its processes and links, and brings it down, however that ends. It is a
// chain of two other commands, scripts/tools/cluster and catena check, and knows of them only how they are called.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the tool at once
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

// chaos is one trial.
type chaos struct {
	root, dir string
	tool      string   // the cluster tool, built
	check     []string // flags of the checker
}

func run(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("chaos", flag.ContinueOnError)
	f.Usage = func() {
		fmt.Fprint(f.Output(), "chaos [flags] [-- flags of catena check]\n\n")
		f.PrintDefaults()
	}
	duration := f.Duration("duration", 3*time.Minute, "how long the devices talk")
	rate := f.Float64("rate", 60, "messages per second, of all devices together")
	keep := f.Bool("keep", false, "keep logs and data also when all is well")
	root := f.String("root", ".", "`folder` of the repository")
	if err := f.Parse(args); err != nil {
		return err
	}
	c := &chaos{check: append([]string{"--duration", duration.String(), "--rate", fmt.Sprint(*rate), "--faults", "all"}, f.Args()...)}
	var err error
	if c.root, err = filepath.Abs(*root); err != nil {
		return err
	}
	if c.dir, err = os.MkdirTemp("", "catena-chaos-"); err != nil {
		return err
	}
	err = c.perform(ctx)
	if err != nil || *keep {
		return errors.Join(err, c.kept())
	}
	return os.RemoveAll(c.dir)
}

// perform has one cluster from its beginning to its end.
func (c *chaos) perform(ctx context.Context) (err error) {
	c.tool = filepath.Join(c.dir, "cluster")
	if err := c.execute(ctx, os.Stderr, "go", "build", "-o", c.tool, "./scripts/tools/cluster"); err != nil {
		return err
	}
	cluster := filepath.Join(c.dir, "data")
	defer func() { // also when it came up in part only
		err = errors.Join(err, c.execute(context.WithoutCancel(ctx), os.Stderr, c.tool, "down", "--dir", cluster))
	}()
	if err := c.execute(ctx, os.Stderr, c.tool, "up", "--dir", cluster, "--base-port", "0"); err != nil {
		return err
	}
	catena := filepath.Join(cluster, "bin", "catena")
	return c.execute(ctx, os.Stdout, catena, append([]string{"check", "--cluster", cluster, "--cluster-tool", c.tool}, c.check...)...)
}

const goodbye = 3 * time.Minute // for a command to make good what it did when it is interrupted

// execute runs a command in the repository's root, and gives what it prints to out: only the checker's result is one of
// this command, too. The end of ctx interrupts it.
func (c *chaos) execute(ctx context.Context, out io.Writer, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = c.root, out, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C comes from here, once
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = goodbye
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w", filepath.Base(name), args[0], err)
	}
	return nil
}

func (c *chaos) kept() error {
	_, err := fmt.Fprintln(os.Stderr, "logs and data are kept in", c.dir)
	return err
}
