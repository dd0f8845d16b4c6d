//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
)

// status prints a line for each process.
func (c *cluster) status(ctx context.Context) error {
	states := make([]string, len(c.processes))
	var wg sync.WaitGroup
	for i, p := range c.processes {
		wg.Go(func() { states[i] = p.state(ctx) })
	}
	wg.Wait()
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "process\tstate\tports\tlog")
	for i, p := range c.processes {
		var ports []string
		for _, use := range slices.Sorted(maps.Keys(p.Ports)) {
			ports = append(ports, fmt.Sprint(use, " ", p.Ports[use]))
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", p.Name, states[i], strings.Join(ports, ", "), p.Log)
	}
	return w.Flush()
}

// state is what can be said of a process in a few words.
func (p *process) state(ctx context.Context) string {
	pid, ok, err := p.alive()
	switch _, statErr := os.Stat(p.paused()); {
	case err != nil:
		return err.Error()
	case !ok:
		return "stopped"
	case statErr == nil:
		return fmt.Sprintf("paused (pid %d)", pid)
	}
	if err := p.ready(ctx); err != nil {
		why, _, _ := strings.Cut(err.Error(), "\n")
		return fmt.Sprintf("not ready (pid %d): %s", pid, why)
	}
	return fmt.Sprintf("ready (pid %d)", pid)
}

// greet says where the cluster is and what to try.
func (c *cluster) greet(ctx context.Context) error {
	catena := c.bin("catena")
	fmt.Fprintf(c.out, "\nThe cluster is ready.\n\n")
	for _, p := range c.kind("edge") {
		fmt.Fprintf(c.out, "  %-10s %s\n", p.Name, c.wsURL(p))
	}
	fmt.Fprintf(c.out, "  NATS       %s\n  PD         %s\n  folder     %s\n\n", c.servers(""), c.pds(), c.dir)
	for _, user := range []string{"alice", "bob"} {
		token, err := exec.CommandContext(ctx, catena, "token", user, "--data", c.dir).Output()
		if err != nil {
			return fmt.Errorf("make a token for %s: %w", user, err)
		}
		fmt.Fprintf(c.out, "  token for %-5s  %s", user, token)
	}
	edges := c.kind("edge")
	fmt.Fprintf(c.out, `
Try, each in a terminal of its own:

  catena chat alice --data %[1]s
  catena chat bob --data %[1]s --url %[2]s
  catena check --data %[1]s --duration 30s --faults disconnect
  go tool task cluster:kill -- sequencer-1
  go tool task cluster:status
  NATS_URL=%[3]s nats kv ls im_owners --verbose --display-value

(catena is: %[4]s)
Bring it down with: go tool task cluster:down

`, c.dir, c.wsURL(edges[len(edges)-1]), c.servers(""), catena)
	return nil
}

const followPoll = 200 * time.Millisecond

// logs prints the end of a log, and with follow what is added until ctx ends.
func (c *cluster) logs(ctx context.Context, names []string, lines int, follow bool) error {
	found, err := c.match(names)
	if err != nil {
		return err
	}
	if len(found) != 1 {
		return errors.New("logs shows one process; name it exactly")
	}
	fmt.Fprintln(c.out, tail(found[0].Log, lines))
	if !follow {
		return nil
	}
	f, err := os.Open(found[0].Log)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Seek(0, io.SeekEnd); err != nil {
		return err
	}
	for {
		if _, err := io.Copy(c.out, f); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(followPoll):
		}
	}
}
