//go:build unix

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"time"
)

// described is cluster.json: what the cluster is, for this tool and others.
type described struct {
	wanted
	Made      time.Time  `json:"made"`
	Root      string     `json:"root"`      // of the repository that it was made from
	URLs      []string   `json:"urls"`      // of the edges
	NATS      string     `json:"nats_url"`  // for the nats command
	PDs       string     `json:"pd"`        // of the TiKV
	Token     string     `json:"token_key"` // file with the secret of the key "dev"
	Tool      string     `json:"tool"`      // this program, as it was then
	Processes []*process `json:"processes"`
}

func (c *cluster) save() error {
	d := described{wanted: c.wanted, Made: time.Now().UTC(), Root: c.root, NATS: c.natsURL("operator"), PDs: c.pds(), Token: c.secretFile(),
		Tool: c.bin("cluster"), Processes: c.processes}
	for _, p := range c.kind("edge") {
		d.URLs = append(d.URLs, c.wsURL(p))
	}
	text, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(c.dir, stateFile), append(text, '\n'), 0o600)
}

const stateFile = "cluster.json"

// load reads what the cluster in the folder is.
func load(o options, out io.Writer) (*cluster, error) {
	text, err := os.ReadFile(filepath.Join(o.dir, stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no cluster in %s; bring one up first (go tool task cluster)", o.dir)
	} else if err != nil {
		return nil, err
	}
	var d described
	if err := json.Unmarshal(text, &d); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(o.dir, stateFile), err)
	}
	if o.root == "" {
		o.root = d.Root
	}
	return newCluster(o, d.wanted, out), nil
}

// freeBase finds a range of ports of which the needed ones are free. They lie below those that systems give to outgoing
// connections.
func freeBase(w wanted) (int, error) {
	for range 50 {
		w.Base = 10000 + ports*rand.IntN(70)
		if free(newCluster(options{}, w, io.Discard)) == nil {
			return w.Base, nil
		}
	}
	return 0, errors.New("no free ports found")
}

// free reports a port of the cluster that something else uses.
func free(c *cluster) error {
	needs := map[string]string{} // who, by address
	for _, p := range c.processes {
		for use, port := range p.Ports {
			needs[local(port)] = p.Name + " (" + use + ")"
		}
	}
	for _, l := range c.links() {
		needs[l.Listen] = "the link from " + l.From + " to " + l.To
	}
	for address, who := range needs {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return fmt.Errorf("%s: %w; stop what uses it, or give another --base-port", who, err)
		}
		if err := l.Close(); err != nil {
			return err
		}
	}
	return nil
}
