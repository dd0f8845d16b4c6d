//go:build unix

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/catena-im/catena/scripts/tools/cluster/link"
)

// shown is what status --json prints.
type shown struct {
	Processes []condition  `json:"processes"`
	Links     []link.State `json:"links"` // to which something is done
}

// condition is how a process is.
type condition struct {
	process
	State string `json:"state"` // ready, not ready, paused or stopped
	PID   int    `json:"pid,omitempty"`
	Why   string `json:"why,omitempty"` // it is not ready
}

func (s condition) String() string {
	text := s.State
	if s.PID != 0 {
		text += fmt.Sprintf(" (pid %d)", s.PID)
	}
	if s.Why != "" {
		text += ": " + s.Why
	}
	return text
}

// status prints a line for each process and each link to which something is done.
func (c *cluster) status(ctx context.Context) error {
	s := shown{Processes: make([]condition, len(c.processes)), Links: []link.State{}}
	var wg sync.WaitGroup
	for i, p := range c.processes {
		wg.Go(func() { s.Processes[i] = p.condition(ctx) })
	}
	wg.Wait()
	if broken, err := c.broken(ctx); err == nil { // else the process of the links shows why
		s.Links = append(s.Links, broken...)
	}
	if c.json {
		return json.NewEncoder(c.out).Encode(s)
	}
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "process\tstate\tports\tlog")
	for _, p := range s.Processes {
		var ports []string
		for _, use := range slices.Sorted(maps.Keys(p.Ports)) {
			ports = append(ports, fmt.Sprint(use, " ", p.Ports[use]))
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", p.Name, p, strings.Join(ports, ", "), p.Log)
	}
	for _, l := range s.Links {
		fmt.Fprintf(w, "%s to %s\t%v\n", l.From, l.To, l.Fault)
	}
	return w.Flush()
}

func (p *process) condition(ctx context.Context) condition {
	pid, ok, err := p.alive()
	switch _, statErr := os.Stat(p.paused()); {
	case err != nil:
		return condition{process: *p, State: "not ready", Why: err.Error()}
	case !ok:
		return condition{process: *p, State: "stopped"}
	case statErr == nil:
		return condition{process: *p, State: "paused", PID: pid}
	}
	if err := p.ready(ctx); err != nil {
		why, _, _ := strings.Cut(err.Error(), "\n")
		return condition{process: *p, State: "not ready", PID: pid, Why: why}
	}
	return condition{process: *p, State: "ready", PID: pid}
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
	var elsewhere, flags string // where the task does not look by itself
	if c.dir != filepath.Join(c.root, folder) {
		elsewhere = "--dir " + c.dir + " "
		flags = " -- --dir " + c.dir
	}
	fmt.Fprintf(c.out, `
Try, each in a terminal of its own:

  catena chat alice --data %[1]s
  catena chat bob --data %[1]s --url %[2]s
  catena check --data %[1]s --duration 30s --faults disconnect
  go tool task cluster:kill -- %[5]ssequencer-1
  go tool task cluster:status%[6]s
  NATS_URL=%[3]s nats kv ls im_owners --verbose --display-value

(catena is: %[4]s)
Bring it down with: go tool task cluster:down%[6]s

`, c.dir, c.wsURL(edges[len(edges)-1]), c.servers(""), catena, elsewhere, flags)
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
