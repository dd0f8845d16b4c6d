// Package ensemble does harm to a development cluster that runs on this machine, as scripts/tools/cluster brings one up:
// it kills, freezes and stops the processes, cuts what connects them, and makes good what it did. It reads cluster.json
// in the cluster's folder and leaves the handling of processes to that tool.
package ensemble

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Config says which cluster and by which tool.
type Config struct {
	Dir string // of the cluster
	// Tool is the cluster tool's command line, without its command; empty: by `go run`, in the repository's root.
	Tool []string
}

// Ensemble is a cluster that runs.
type Ensemble struct {
	tool []string
	dir  string
	is   described
}

// described is what cluster.json says.
type described struct {
	URLs      []string  `json:"urls"`
	Token     string    `json:"token_key"`
	Processes []process `json:"processes"`
}

type process struct {
	Name  string         `json:"name"`
	Kind  string         `json:"kind"`
	Log   string         `json:"log"`
	Ports map[string]int `json:"ports"`
}

// TokenKeyID is the id of the key that signs tokens for a development cluster.
const TokenKeyID = "dev"

// Open reads what the cluster in a folder is.
func Open(c Config) (*Ensemble, error) {
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return nil, err
	}
	e := &Ensemble{tool: c.Tool, dir: dir}
	if len(e.tool) == 0 {
		e.tool = []string{"go", "run", "./scripts/tools/cluster"}
	}
	file := filepath.Join(dir, "cluster.json")
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no cluster in %s; bring one up first: go tool task cluster -- --dir %s", dir, dir)
	} else if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &e.is); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(e.is.URLs) == 0 || e.is.Token == "" || len(e.is.Processes) == 0 {
		return nil, fmt.Errorf("%s names no edges, no token key or no processes", file)
	}
	return e, nil
}

// URLs are those of the edges.
func (e *Ensemble) URLs() []string { return e.is.URLs }

// TokenKey is the file with the secret that signs tokens.
func (e *Ensemble) TokenKey() string { return e.is.Token }

// kind is the names of the processes of a kind.
func (e *Ensemble) kind(kind string) (names []string) {
	for _, p := range e.is.Processes {
		if p.Kind == kind {
			names = append(names, p.Name)
		}
	}
	return names
}

// do runs a command of the tool and returns what it says.
func (e *Ensemble) do(ctx context.Context, command string, names ...string) (string, error) {
	args := slices.Concat(e.tool[1:], []string{command, "--dir", e.dir}, names)
	cmd := exec.CommandContext(ctx, e.tool[0], args...)
	var told strings.Builder
	cmd.Stderr = &told
	said, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("cluster %s %s: %w\n%s%s", command, strings.Join(names, " "), err, said, &told)
	}
	return string(said), nil
}

// soundWithin is how long a process may say that it is not ready by itself, such as after an election.
const soundWithin = 30 * time.Second

// Sound reports a process of the cluster that has ended or does not become ready, and a link that does not let everything
// pass.
func (e *Ensemble) Sound(ctx context.Context) error {
	for end := time.Now().Add(soundWithin); ; wait(ctx, look) {
		ailing, wounded, err := e.ailing(ctx)
		if err != nil || wounded || ailing == nil || time.Now().After(end) || ctx.Err() != nil {
			return errors.Join(ailing, err)
		}
	}
}

// ailing is what is wrong; wounded says that it cannot get well by itself.
func (e *Ensemble) ailing(ctx context.Context) (ailing error, wounded bool, err error) {
	said, err := e.do(ctx, "status", "--json")
	if err != nil {
		return nil, false, err
	}
	var is struct {
		Processes []struct{ Name, State, Why string }
		Links     []struct{ From, To string }
	}
	if err := json.Unmarshal([]byte(said), &is); err != nil {
		return nil, false, fmt.Errorf("cluster status: %w\n%s", err, said)
	}
	var failed []error
	for _, p := range is.Processes {
		if p.State != "ready" {
			wounded = wounded || p.State != "not ready"
			failed = append(failed, fmt.Errorf("%s is %s though nothing was done to it: %s", p.Name, p.State, p.Why))
		}
	}
	for _, l := range is.Links {
		wounded = true
		failed = append(failed, fmt.Errorf("the link from %s to %s is not whole", l.From, l.To))
	}
	return errors.Join(failed...), wounded, nil
}
