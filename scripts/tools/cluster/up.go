//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// up brings the cluster to what is wanted; with hold it stays and brings it down at the end.
func up(ctx context.Context, o options, in io.Reader, out io.Writer) error {
	c, err := prepare(ctx, o, out)
	if err != nil {
		return err
	}
	if !o.hold {
		if err := c.bringUp(ctx); err != nil {
			return err
		}
		return c.greet(ctx)
	}
	ended := make(chan struct{})
	go func() { // not joined when a signal comes first: nothing ends a read of standard input, but the end of this tool
		_, _ = io.Copy(io.Discard, in)
		close(ended)
	}()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // ends with ctx
		select {
		case <-ended:
			cancel()
		case <-ctx.Done():
		}
	}()
	if err = c.bringUp(ctx); err == nil {
		err = c.greet(ctx)
	}
	if err == nil {
		<-ctx.Done()
	}
	return errors.Join(err, c.down(o.clean))
}

// prepare makes the folder, the binaries and the configurations.
func prepare(ctx context.Context, o options, out io.Writer) (*cluster, error) {
	w, fresh := o.wanted, false
	old, err := load(o, out)
	switch _, statErr := os.Stat(filepath.Join(o.dir, stateFile)); {
	case err == nil:
		w, err = old.over(o.wanted)
	case errors.Is(statErr, fs.ErrNotExist):
		if fresh, err = true, nil; w.Base == 0 {
			w.Base, err = freeBase(w)
		}
	}
	if err == nil {
		err = w.validate()
	}
	if err != nil {
		return nil, err
	}
	if o.root == "" && old != nil {
		o.root = old.root
	}
	if o.root == "" {
		return nil, errors.New("this folder is in no repository of Catena; name one with --root")
	}
	c := newCluster(o, w, out)
	if fresh {
		if err := free(c); err != nil {
			return nil, err
		}
	} else if err := c.stopOthers(old); err != nil {
		return nil, err
	}
	for _, folder := range []string{"bin", "conf", "data", "logs", "run"} {
		if err := os.MkdirAll(filepath.Join(o.dir, folder), 0o700); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(c.makeSecrets(), c.render(), c.save()); err != nil {
		return nil, err
	}
	return c, c.build(ctx)
}

// stopOthers stops what was part of the cluster and is not any more.
func (c *cluster) stopOthers(old *cluster) error {
	var failed []error
	for _, p := range old.processes {
		if !slices.ContainsFunc(c.processes, func(q *process) bool { return q.Name == p.Name }) {
			failed = append(failed, c.stop(p, stopWithin))
		}
	}
	return errors.Join(failed...)
}

// build puts the binaries into the folder, so that they stay what they are while the repository changes.
func (c *cluster) build(ctx context.Context) error {
	if _, err := os.Stat(filepath.Join(c.root, ".bin", "nats-server")); err != nil {
		return fmt.Errorf("%w; `go tool task cluster` installs it", err)
	}
	fmt.Fprintln(c.out, "building catena and tikvdev")
	return c.execute(ctx, c.root, "go", "build", "-o", filepath.Join(c.dir, "bin")+string(filepath.Separator),
		"./services/catena", "./services/tikvdev", "./scripts/tools/cluster")
}

// execute runs a command that says nothing unless it fails.
func (c *cluster) execute(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, environment()
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", filepath.Base(name), strings.Join(args, " "), err, text)
	}
	return nil
}

// bringUp starts the processes in their order.
func (c *cluster) bringUp(ctx context.Context) error {
	for phase := range phases {
		if phase == phaseWorkers {
			fmt.Fprintln(c.out, "provisioning")
			if err := c.execute(ctx, c.dir, c.bin("catena"), "provision", "--config", c.conf("provisioner.yaml")); err != nil {
				return err
			}
		}
		all := c.inPhase(phase)
		if len(all) == 0 {
			continue
		}
		var names []string
		for _, p := range all {
			names = append(names, p.Name)
			if _, err := os.Stat(p.paused()); err == nil {
				if err := c.resume(p); err != nil {
					return err
				}
			}
		}
		began := time.Now()
		if err := c.startAll(ctx, all); err != nil {
			return err
		}
		if phase == phaseLinks {
			if err := c.heal(ctx, nil); err != nil {
				return err
			}
		}
		fmt.Fprintf(c.out, "ready after %.1f s: %s\n", time.Since(began).Seconds(), strings.Join(names, ", "))
	}
	return nil
}

func (c *cluster) inPhase(phase int) []*process {
	return slices.DeleteFunc(slices.Clone(c.processes), func(p *process) bool { return p.phase != phase })
}

// down stops everything, those first that use the others.
func (c *cluster) down(clean bool) error {
	for phase := phases - 1; phase >= 0; phase-- {
		all := c.inPhase(phase)
		failed := make([]error, len(all))
		var wg sync.WaitGroup
		for i, p := range all {
			wg.Go(func() { failed[i] = c.stop(p, stopWithin) })
		}
		wg.Wait()
		if err := errors.Join(failed...); err != nil {
			return err
		}
	}
	if !clean {
		fmt.Fprintln(c.out, "down; the data stays in", c.dir)
		return nil
	}
	fmt.Fprintln(c.out, "down; removed", c.dir)
	return os.RemoveAll(c.dir)
}
