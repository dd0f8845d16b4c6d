//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// drill tries the whole out: a cluster on free ports in a folder of its own, the checker against it, a sequencer that is
// killed in the middle and comes back, and an end that leaves nothing running.
func drill(ctx context.Context, o options, out io.Writer) (err error) {
	if o.dir, err = os.MkdirTemp("", "catena-cluster-"); err != nil {
		return err
	}
	o.wanted.Base = 0
	c, err := prepare(ctx, o, out)
	if err == nil {
		if err = c.bringUp(ctx); err == nil {
			err = errors.Join(c.exercise(ctx, o.duration), c.denials())
		}
		err = errors.Join(err, c.down(false), c.leftovers())
	}
	if err != nil {
		return fmt.Errorf("%w\nlogs and data are kept in %s", err, o.dir)
	}
	return os.RemoveAll(o.dir)
}

// exercise lets the checker talk through the first edge while a sequencer is lost.
func (c *cluster) exercise(ctx context.Context, duration time.Duration) error {
	cmd := exec.CommandContext(ctx, c.bin("catena"), "check", "--url", c.wsURL(c.kind("edge")[0]),
		"--token-key", c.secretFile(), "--token-key-id", "dev", "--faults", "disconnect", "--duration", duration.String())
	cmd.Env, cmd.Stdout, cmd.Stderr = environment(), c.out, c.out
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }() // joined by every receive below
	victim := c.kind("sequencer")[0]
	select {
	case err := <-ended:
		return fmt.Errorf("the check ended before a sequencer was killed: %w", err)
	case <-time.After(duration / 2):
	}
	killed := c.kill(victim)
	if err := errors.Join(killed, <-ended); err != nil {
		return fmt.Errorf("check: %w", err)
	}
	return c.startAll(ctx, []*process{victim})
}

// denials reports what NATS refused to a process: then configs/nats/permissions.conf lacks something.
func (c *cluster) denials() error {
	var denied []error
	for _, p := range c.kind("nats") {
		text, err := os.ReadFile(p.Log)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, " Violation - ") {
				denied = append(denied, fmt.Errorf("%s: %s", p.Name, strings.TrimSpace(line)))
			}
		}
	}
	return errors.Join(denied...)
}

// leftovers reports processes that still run.
func (c *cluster) leftovers() error {
	var left []error
	for _, p := range c.processes {
		if pid, ok, err := p.alive(); ok || err != nil {
			left = append(left, errors.Join(fmt.Errorf("%s still runs (pid %d)", p.Name, pid), err))
		}
	}
	return errors.Join(left...)
}
