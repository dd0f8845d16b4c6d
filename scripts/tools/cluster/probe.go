//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// A probe looks once whether a process is ready; the error says why not.
type probe func(ctx context.Context) error

const probeTimeout = 2 * time.Second

// answers asks an HTTP endpoint.
func answers(url string) probe {
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, probeTimeout)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
		if err == nil && resp.StatusCode != http.StatusOK {
			err = errors.New(strings.TrimSpace(string(text)))
		}
		return err
	}
}

// says looks for a line in the log since the last start.
func says(log, line string) probe {
	return func(context.Context) error {
		text, err := os.ReadFile(log)
		if err != nil {
			return err
		}
		all := string(text)
		if at := strings.LastIndex(all, startMark); !strings.Contains(all[max(at, 0):], "\n"+line) {
			return fmt.Errorf("it did not say %q yet", line)
		}
		return nil
	}
}

// await returns when p is ready, or has ended, or did not get ready in time.
func (c *cluster) await(ctx context.Context, p *process) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	for {
		_, ok, err := p.alive()
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("%s ended; its log, %s, ends with\n%s", p.Name, p.Log, tail(p.Log, 5))
		}
		if err = p.ready(ctx); err == nil {
			return nil
		}
		select {
		case <-time.After(5 * poll):
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready after %v (%w); see its log, %s", p.Name, c.timeout, err, p.Log)
		}
	}
}

// startAll starts what does not run, all at once, and waits until every one is ready.
func (c *cluster) startAll(ctx context.Context, all []*process) error {
	for _, p := range all {
		if err := c.start(p); err != nil {
			return err
		}
	}
	failed := make([]error, len(all))
	var wg sync.WaitGroup
	for i, p := range all {
		wg.Go(func() { failed[i] = c.await(ctx, p) })
	}
	wg.Wait()
	return errors.Join(failed...)
}

// tail is the last lines of a file.
func tail(path string, lines int) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
