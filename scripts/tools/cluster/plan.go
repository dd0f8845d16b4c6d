//go:build unix

package main

import (
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// defaultBase is where the ports begin.
const defaultBase = 7500

// wanted is what the cluster is to be. It is kept in the folder, so that later commands need no flags.
type wanted struct {
	Base       int    `json:"base_port"`
	Edges      int    `json:"edges"`
	Sequencers int    `json:"sequencers"`
	Histories  int    `json:"histories"`
	PD         string `json:"tikv_pd,omitempty"` // empty: the development TiKV
	Prefix     string `json:"tikv_prefix,omitempty"`

	given []string // flags that were given
}

// over is w with what was given on the command line taken from flags.
func (w wanted) over(flags wanted) (wanted, error) {
	for _, name := range flags.given {
		switch name {
		case "edges":
			w.Edges = flags.Edges
		case "sequencers":
			w.Sequencers = flags.Sequencers
		case "histories":
			w.Histories = flags.Histories
		case "base-port":
			if flags.Base != 0 && flags.Base != w.Base {
				return w, fmt.Errorf("--base-port %d: this cluster has its ports at %d; use another --dir for another one", flags.Base, w.Base)
			}
		}
	}
	if flags.PD != w.PD && (flags.PD != "" || slices.Contains(flags.given, "tikv-pd")) {
		return w, fmt.Errorf("TIKV_PD is %q and this cluster was made with %q (empty: a TiKV of its own); use another --dir for another one", flags.PD, w.PD)
	}
	return w, nil
}

const maxOfAKind = 9

func (w wanted) validate() error {
	for name, n := range map[string]int{"edges": w.Edges, "sequencers": w.Sequencers, "histories": w.Histories} {
		if n < 1 || n > maxOfAKind {
			return fmt.Errorf("--%s %d: 1 to %d", name, n, maxOfAKind)
		}
	}
	if w.Base < 1024 || w.Base > 65536-ports {
		return fmt.Errorf("--base-port %d: 1024 to %d, or 0 for free ones", w.Base, 65536-ports)
	}
	return nil
}

// ports is how many of them a cluster may use, from its base on.
const ports = 300

// process is one that the cluster consists of.
type process struct {
	Name  string         `json:"name"`
	Kind  string         `json:"kind"`
	Ports map[string]int `json:"ports"` // by what they are for
	Log   string         `json:"log"`
	Run   string         `json:"pid_file"`

	phase int
	args  []string
	env   []string
	ready probe
}

// The order in which the processes start; they stop the other way round.
const (
	phaseLinks = iota // everything that connects goes through it
	phaseNATS
	phasePD
	phaseTiKV
	phaseWorkers // provisioning comes before these
	phaseEdges   // end first: what clients asked for is answered while the workers work
	phases
)

// offsets are where the ports of a kind begin, by what they are for.
var offsets = map[string]map[string]int{
	"nats":      {"client": 0, "route": 10, "monitor": 20},
	"pd":        {"client": 30},
	"tikv":      {"client": 31},
	"edge":      {"client": 40, "admin": 50},
	"sequencer": {"admin": 60},
	"history":   {"admin": 70},
	"links":     {"control": 80},
}

// cluster is one folder with its processes.
type cluster struct {
	options
	wanted
	processes []*process
	out       io.Writer
}

func newCluster(o options, w wanted, out io.Writer) *cluster {
	c := &cluster{options: o, wanted: w, out: out}
	c.add("links", phaseLinks, 0)
	c.add("nats", phaseNATS, natsServers)
	if w.PD == "" {
		c.add("pd", phasePD, 0)
		c.add("tikv", phaseTiKV, 0)
	}
	c.add("sequencer", phaseWorkers, w.Sequencers)
	c.add("history", phaseWorkers, w.Histories)
	c.add("edge", phaseEdges, w.Edges)
	return c
}

// add plans n processes of a kind; 0 is one without a number.
func (c *cluster) add(kind string, phase, n int) {
	for i := range max(n, 1) {
		p := &process{Name: kind, Kind: kind, Ports: map[string]int{}, phase: phase}
		number := 0
		if n > 0 {
			number = i + 1
			p.Name += "-" + strconv.Itoa(number)
		}
		for use, offset := range offsets[kind] {
			p.Ports[use] = c.Base + offset + number
		}
		p.Log = filepath.Join(c.dir, "logs", p.Name+".log")
		p.Run = filepath.Join(c.dir, "run", p.Name+".pid")
		c.command(p)
		c.processes = append(c.processes, p)
	}
}

// command fills in how a process is run and how it shows that it is ready.
func (c *cluster) command(p *process) {
	at := func(use string) string { return local(p.Ports[use]) }
	data := c.data(p)
	switch p.Kind {
	case "links":
		p.args = []string{c.bin("cluster"), "carry", "--dir", c.dir}
		p.ready = answers("http://" + at("control") + "/")
	case "nats":
		p.args = []string{filepath.Join(c.root, ".bin", "nats-server"), "-c", c.conf(p.Name + ".conf")}
		p.env = c.natsPasswords()
		p.ready = answers("http://" + at("monitor") + "/healthz")
	case "pd":
		p.args = []string{c.bin("tikvdev"), "--role", "pd", "--data", data, "--pd", at("client"), "--ways", c.ways()}
		p.ready = says(p.Log, "ready role=pd")
	case "tikv":
		p.args = []string{c.bin("tikvdev"), "--role", "store", "--data", data, "--pd", c.way(p.Name, "pd"), "--store", at("client")}
		p.ready = says(p.Log, "ready role=store")
	default:
		p.args = []string{c.bin("catena"), "serve", "--config", c.conf(p.Name + ".yaml")}
		p.ready = answers("http://" + at("admin") + "/readyz")
	}
}

func local(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }

// data is the folder of a process; PD and the store belong together.
func (c *cluster) data(p *process) string {
	if p.Kind == "pd" {
		return filepath.Join(c.dir, "data", "tikv")
	}
	return filepath.Join(c.dir, "data", p.Name)
}

func (c *cluster) bin(name string) string { return filepath.Join(c.dir, "bin", name) }

func (c *cluster) conf(name string) string { return filepath.Join(c.dir, "conf", name) }

func (c *cluster) kind(kind string) []*process {
	return slices.DeleteFunc(slices.Clone(c.processes), func(p *process) bool { return p.Kind != kind })
}

// match finds the processes that names mean.
func (c *cluster) match(names []string) ([]*process, error) {
	if len(names) == 0 {
		return nil, errors.New("name the processes, such as sequencer-1 or 'edge-*'; see: cluster status")
	}
	var found []*process
	for _, name := range names {
		before := len(found)
		for _, p := range c.processes {
			if ok, err := path.Match(name, p.Name); err != nil {
				return nil, fmt.Errorf("%q: %w", name, err)
			} else if ok && !slices.Contains(found, p) {
				found = append(found, p)
			}
		}
		if len(found) == before && !slices.ContainsFunc(found, func(p *process) bool { ok, _ := path.Match(name, p.Name); return ok }) {
			return nil, fmt.Errorf("there is no process %s; there are %s", name, c.names())
		}
	}
	return found, nil
}

func (c *cluster) names() string { return strings.Join(namesOf(c.processes), ", ") }

func namesOf(all []*process) []string {
	names := make([]string, len(all))
	for i, p := range all {
		names[i] = p.Name
	}
	return names
}
