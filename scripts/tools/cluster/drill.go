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

	"github.com/catena-im/catena/scripts/tools/cluster/link"
)

// drill tries the whole out: a cluster on free ports in a folder of its own, the checker against it while processes are
// killed, frozen and cut off, and an end that leaves nothing running.
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

// exercise lets the checker talk through the first edge while harm is done to other processes.
func (c *cluster) exercise(ctx context.Context, duration time.Duration) error {
	cmd := exec.CommandContext(ctx, c.bin("catena"), "check", "--url", c.wsURL(c.kind("edge")[0]),
		"--token-key", c.secretFile(), "--token-key-id", "dev", "--faults", "disconnect", "--duration", duration.String(),
		"--users", "10", "--rate", "60")
	cmd.Env, cmd.Stdout, cmd.Stderr = environment(), c.out, c.out
	if err := cmd.Start(); err != nil {
		return err
	}
	time.Sleep(duration / 5) // so that there is something to harm
	harmed := c.harm(ctx)
	if err := cmd.Wait(); err != nil {
		return errors.Join(harmed, fmt.Errorf("check: %w", err))
	}
	return harmed
}

const blink = time.Second // shorter than every lease and timeout

// harm kills a sequencer, freezes another one for a moment, and cuts one process after the other off from NATS until it
// says so, which shows that a cut cuts; each is made good before the next.
func (c *cluster) harm(ctx context.Context) error {
	sequencers, nats := c.kind("sequencer"), c.kind("nats")
	first, last := sequencers[0], sequencers[len(sequencers)-1]
	if err := errors.Join(c.kill(first), c.startAll(ctx, []*process{first}), c.pause(last)); err != nil {
		return err
	}
	time.Sleep(blink)
	if err := c.resume(last); err != nil {
		return err
	}
	edges, histories := c.kind("edge"), c.kind("history")
	for _, p := range []*process{edges[len(edges)-1], histories[0], last, nats[len(nats)-1]} {
		names := []string{p.Name, "nats-*"}
		err := c.cut(ctx, names, link.Fault{Cut: true})
		if err == nil {
			err = c.awaitLoss(ctx, p)
		}
		if err = errors.Join(err, c.heal(ctx, names)); err == nil {
			err = c.await(ctx, p)
		}
		if err != nil {
			return fmt.Errorf("cut %s off from NATS: %w", p.Name, err)
		}
	}
	return nil
}

// awaitLoss returns when p says that it is not ready.
func (c *cluster) awaitLoss(ctx context.Context, p *process) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	for p.ready(ctx) == nil {
		select {
		case <-time.After(5 * poll):
		case <-ctx.Done():
			return fmt.Errorf("%s is ready although nothing reaches it", p.Name)
		}
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s does not say within %v that it is cut off: %w", p.Name, c.timeout, err)
	}
	return nil
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
