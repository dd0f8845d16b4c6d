// Package yardstick measures the libraries under Catena bare, to hold results against: raw JetStream publish, a gws
// server that echoes or idles, plain Pebble writes and scans, and fsync. Each runs in a child process of its own, as the
// server does, on the same machine right before or after the measurement; none knows anything of Catena.
package yardstick

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// Task is what a child does; it is given to it as JSON.
type Task struct {
	Kind     Kind          `json:"kind"`
	Dir      string        `json:"dir,omitempty"`      // an empty folder to write into
	Bytes    int           `json:"bytes,omitempty"`    // of a payload or a value
	Duration time.Duration `json:"duration,omitempty"` // of measuring
	Sync     bool          `json:"sync,omitempty"`     // publish: sync every message
	Entries  int           `json:"entries,omitempty"`  // pebble: how many are written and scanned
	Page     int           `json:"page,omitempty"`     // pebble: entries of a page
}

// Kind names a yardstick.
type Kind string

// The kinds.
const (
	KindPublish Kind = "publish" // writes a PublishResult
	KindGWS     Kind = "gws"     // writes where it listens, and serves until its input ends
	KindPebble  Kind = "pebble"  // writes a PebbleResult
)

// Child carries out the task that task describes, as a child of Runner, and writes its result to out as a line of JSON.
func Child(ctx context.Context, task string, in io.Reader, out io.Writer) error {
	var t Task
	if err := json.Unmarshal([]byte(task), &t); err != nil {
		return fmt.Errorf("task of a yardstick: %w", err)
	}
	var result any
	var err error
	switch t.Kind {
	case KindPublish:
		result, err = publish(ctx, t)
	case KindPebble:
		result, err = measurePebble(t)
	case KindGWS:
		return serveGWS(ctx, in, out)
	default:
		err = fmt.Errorf("there is no yardstick %q", t.Kind)
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(result)
}

// Runner starts yardsticks as child processes.
type Runner struct {
	// Command is the program and the arguments that make it call Child; the task is added as the last argument.
	Command []string
	// Dir is a folder on the disk that the server uses; what is written into it is removed again.
	Dir string
}

const (
	startWithin = 20 * time.Second // in which a child must be ready, beyond the time it measures
	endWithin   = 5 * time.Second  // in which it must end when it is told to
)

func (r Runner) command(ctx context.Context, t Task) (*exec.Cmd, *bytes.Buffer, error) {
	task, err := json.Marshal(t)
	if err != nil {
		return nil, nil, err
	}
	args := append(append([]string{}, r.Command[1:]...), string(task))
	cmd := exec.CommandContext(ctx, r.Command[0], args...)
	cmd.WaitDelay = endWithin
	words := new(bytes.Buffer)
	cmd.Stderr = words
	return cmd, words, nil
}

// measure runs a task in a new folder and reads its result.
func (r Runner) measure(ctx context.Context, t Task, result any) error {
	dir, err := os.MkdirTemp(r.Dir, "yardstick-")
	if err != nil {
		return fmt.Errorf("yardstick %s: %w", t.Kind, err)
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeout(ctx, startWithin+3*t.Duration)
	defer cancel()
	t.Dir = dir
	cmd, words, err := r.command(ctx, t)
	if err != nil {
		return err
	}
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, result)
	}
	if err != nil {
		return fmt.Errorf("yardstick %s: %w%s", t.Kind, errors.Join(err, ctx.Err()), after(words))
	}
	return nil
}

func after(words *bytes.Buffer) string {
	if words.Len() == 0 {
		return ""
	}
	return ": " + strings.TrimSpace(words.String())
}

// Server is a yardstick that serves.
type Server struct {
	URL string `json:"url"`
	PID int    `json:"pid"`
}

// GWS runs a bare gws server, which sends every message back, while use runs.
func (r Runner) GWS(ctx context.Context, use func(context.Context, Server) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd, words, err := r.command(ctx, Task{Kind: KindGWS})
	if err != nil {
		return err
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("yardstick gws: %w", err)
	}
	var s Server
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &s)
	}
	if err != nil {
		cancel()
		return fmt.Errorf("yardstick gws: %w%s", errors.Join(err, cmd.Wait()), after(words))
	}
	err = use(ctx, s)
	_ = in.Close() // tells it to end
	return errors.Join(err, cmd.Wait())
}
