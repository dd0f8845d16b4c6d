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
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	poll       = 20 * time.Millisecond
	stopWithin = 30 * time.Second // after SIGTERM, before SIGKILL
	killWithin = 10 * time.Second
	startMark  = "--- started "
)

// A process holds the lock on its pid file for as long as it lives: it inherits the open file, and the system frees the
// lock when it ends, however it ends. So a pid is that of our process exactly while the file is locked, and a number
// that the system has given to somebody else meanwhile is never signalled.

// alive is the pid of the process while it runs.
func (p *process) alive() (pid int, ok bool, err error) {
	f, err := os.Open(p.Run)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	} else if err != nil {
		return 0, false, err
	}
	defer f.Close()
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) // shared: other tools may look too
	if err == nil {
		return 0, false, nil
	}
	if !errors.Is(err, syscall.EWOULDBLOCK) {
		return 0, false, fmt.Errorf("lock %s: %w", p.Run, err)
	}
	text, err := io.ReadAll(f)
	if err != nil {
		return 0, false, err
	}
	pid, err = strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid < 2 {
		return 0, false, fmt.Errorf("%s is locked by a process that is not named in it; is another cluster command starting it?", p.Run)
	}
	return pid, true, nil
}

// start runs the process in a session of its own, unless it runs already.
func (c *cluster) start(p *process) error {
	if _, ok, err := p.alive(); ok || err != nil {
		return err
	}
	lock, err := lockRun(p.Run)
	if err != nil {
		return err
	}
	defer lock.Close() // the process has its own
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	fmt.Fprintf(log, "%s%s: %s\n", startMark, time.Now().UTC().Format(time.RFC3339), strings.Join(p.args, " "))
	cmd := exec.Command(p.args[0], p.args[1:]...)
	cmd.Dir, cmd.Env = c.dir, append(environment(), p.env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{lock}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // Ctrl-C is for this tool only
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	if _, err := lock.WriteAt([]byte(strconv.Itoa(cmd.Process.Pid)+"\n"), 0); err != nil {
		return errors.Join(fmt.Errorf("start %s: %w", p.Name, err), cmd.Process.Kill())
	}
	_ = os.Remove(p.paused())
	return cmd.Process.Release()
}

// environment is this tool's without what would configure a server.
func environment() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "CATENA_") })
}

// lockRun opens an empty pid file, locked.
func lockRun(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for range 50 { // somebody may be looking at it
		if err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err == nil {
			return f, f.Truncate(0)
		}
		time.Sleep(poll)
	}
	f.Close()
	return nil, fmt.Errorf("lock %s: %w", path, err)
}

// paused is the file that remembers a SIGSTOP.
func (p *process) paused() string { return strings.TrimSuffix(p.Run, filepath.Ext(p.Run)) + ".paused" }

// signal reaches the process; ok is false when it does not run.
func (p *process) signal(signals ...syscall.Signal) (ok bool, err error) {
	pid, ok, err := p.alive()
	if err != nil || !ok {
		return false, err
	}
	for _, s := range signals {
		if err := syscall.Kill(pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
			return false, fmt.Errorf("send %v to %s (pid %d): %w", s, p.Name, pid, err)
		}
	}
	return true, nil
}

// gone waits for the end of the process and reports whether it came.
func (p *process) gone(within time.Duration) (bool, error) {
	for end := time.Now().Add(within); ; time.Sleep(poll) {
		_, ok, err := p.alive()
		if err != nil || !ok {
			return err == nil, err
		}
		if time.Now().After(end) {
			return false, nil
		}
	}
}

// kill ends the process without a goodbye.
func (c *cluster) kill(p *process) error {
	ok, err := p.signal(syscall.SIGKILL)
	if err != nil {
		return err
	}
	if !ok {
		fmt.Fprintln(c.out, p.Name, "does not run")
		return nil
	}
	if ended, err := p.gone(killWithin); err != nil || !ended {
		return errors.Join(fmt.Errorf("%s does not end", p.Name), err)
	}
	fmt.Fprintln(c.out, p.Name, "killed")
	return nil
}

// stop tells the process to end, waits for that, and kills it when it takes too long.
func (c *cluster) stop(p *process, within time.Duration) error {
	ok, err := p.signal(syscall.SIGTERM, syscall.SIGCONT)
	if err != nil || !ok {
		return err
	}
	began := time.Now()
	ended, err := p.gone(within)
	if err != nil {
		return err
	}
	if !ended {
		fmt.Fprintf(c.out, "%s does not stop within %v\n", p.Name, within)
		return c.kill(p)
	}
	fmt.Fprintf(c.out, "%s stopped in %v\n", p.Name, time.Since(began).Round(10*time.Millisecond))
	return nil
}

func (c *cluster) pause(p *process) error {
	ok, err := p.signal(syscall.SIGSTOP)
	if err != nil || !ok {
		return errors.Join(err, c.absent(p, ok))
	}
	fmt.Fprintln(c.out, p.Name, "paused")
	return os.WriteFile(p.paused(), nil, 0o600)
}

func (c *cluster) resume(p *process) error {
	ok, err := p.signal(syscall.SIGCONT)
	if err != nil || !ok {
		return errors.Join(err, c.absent(p, ok))
	}
	fmt.Fprintln(c.out, p.Name, "goes on")
	_ = os.Remove(p.paused())
	return nil
}

func (c *cluster) absent(p *process, ok bool) error {
	if ok {
		return nil
	}
	return fmt.Errorf("%s does not run; start it with: cluster start %s", p.Name, p.Name)
}

// each does something to the processes that names mean.
func (c *cluster) each(names []string, do func(*process) error) error {
	found, err := c.match(names)
	if err != nil {
		return err
	}
	var failed []error
	for _, p := range found {
		failed = append(failed, do(p))
	}
	return errors.Join(failed...)
}

// startNamed starts processes and waits until they are ready.
func (c *cluster) startNamed(ctx context.Context, names []string) error {
	found, err := c.match(names)
	if err != nil {
		return err
	}
	if err := c.startAll(ctx, found); err != nil {
		return err
	}
	for _, p := range found {
		fmt.Fprintln(c.out, p.Name, "ready")
	}
	return nil
}
