//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/catena-im/catena/scripts/tools/cluster/link"
)

const (
	natsServers = 3
	firstLink   = 100 // port of the first link, from the base on
	linksOfOne  = 5   // ports that each process has for its links
	nowhere     = 99  // port that nobody listens on
)

// links are the ways between the processes, of as many processes as there may be, so that a cluster may grow while they
// work. With a real TiKV there are none to it: its PD tells everybody the addresses of its stores.
func (c *cluster) links() []link.Link {
	var all []link.Link
	slot := 0
	add := func(from string, to ...string) {
		for i, name := range to {
			if target, ok := c.target(from, name); ok {
				all = append(all, link.Link{From: from, To: name, Listen: local(c.Base + firstLink + slot*linksOfOne + i), Target: target})
			}
		}
		slot++
	}
	nats := numbered("nats", natsServers)
	for _, name := range slices.Concat(numbered("sequencer", maxOfAKind), numbered("history", maxOfAKind)) {
		add(name, slices.Concat(nats, []string{"pd", "tikv"})...)
	}
	for _, name := range numbered("edge", maxOfAKind) {
		add(name, nats...)
	}
	for _, name := range nats {
		add(name, nats...)
	}
	add("tikv", "pd")
	return all
}

func numbered(kind string, n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = kind + "-" + strconv.Itoa(i+1)
	}
	return names
}

// target is the port of a process that another one connects to; false when it does not.
func (c *cluster) target(from, to string) (string, bool) {
	kind, number, _ := strings.Cut(to, "-")
	n, _ := strconv.Atoi(number)
	use := "client"
	if strings.HasPrefix(from, "nats") {
		use = "route"
	}
	there := from != to && (kind == "nats" || c.PD == "")
	return local(c.Base + offsets[kind][use] + n), there
}

// way is the address by which a process reaches another one.
func (c *cluster) way(from, to string) string {
	for _, l := range c.links() {
		if l.From == from && l.To == to {
			return l.Listen
		}
	}
	panic("no link from " + from + " to " + to)
}

// ways tells the development PD what to call itself and the store, to each that connects by a link.
func (c *cluster) ways() string {
	store := map[string]string{"tikv": local(c.Base + offsets["tikv"]["client"])}
	for _, l := range c.links() {
		if l.To == "tikv" {
			store[l.From] = l.Listen
		}
	}
	var all []string
	for _, l := range c.links() {
		if l.To == "pd" {
			all = append(all, l.Listen+"="+store[l.From])
		}
	}
	return strings.Join(all, ",")
}

// carry is the process that the links go through.
func (c *cluster) carry(ctx context.Context) error {
	n, err := link.Open(c.links(), c.control())
	if err != nil {
		return err
	}
	return n.Run(ctx)
}

func (c *cluster) control() string { return local(c.kind("links")[0].Ports["control"]) }

// cut does something to the links between the process that is named first and the others.
func (c *cluster) cut(ctx context.Context, names []string, f link.Fault) error {
	if len(names) < 2 {
		return errors.New("name one side, then the other, such as: cut sequencer-1 'nats-*' tikv")
	}
	a, err := c.match(names[:1])
	if err != nil {
		return err
	}
	b, err := c.match(names[1:])
	if err != nil {
		return err
	}
	wanted, err := link.Between(c.links(), namesOf(a), namesOf(b), f)
	if err != nil {
		return err
	}
	return c.setLinks(ctx, wanted)
}

func (c *cluster) setLinks(ctx context.Context, wanted []link.State) error {
	if _, err := link.Set(ctx, c.control(), wanted); err != nil {
		return err
	}
	for _, s := range wanted {
		fmt.Fprintf(c.out, "%s to %s: %v\n", s.From, s.To, s.Fault)
	}
	return nil
}

// heal lets the links between the named processes pass everything; without names all links, and the disk is fast again.
func (c *cluster) heal(ctx context.Context, names []string) error {
	if len(names) > 0 {
		return c.cut(ctx, names, link.Fault{})
	}
	broken, err := c.broken(ctx)
	if err != nil {
		return err
	}
	for i := range broken {
		broken[i].Fault = link.Fault{}
	}
	return errors.Join(c.setLinks(ctx, broken), c.slow(0))
}

// broken are the links to which something is done.
func (c *cluster) broken(ctx context.Context) ([]link.State, error) {
	all, err := link.Get(ctx, c.control())
	return slices.DeleteFunc(all, func(s link.State) bool { return s.Fault == link.Fault{} }), err
}

// slowDisk makes the disk of the named process slow.
func (c *cluster) slowDisk(names []string) error {
	if len(names) != 2 || names[0] != "tikv" || c.PD != "" {
		return errors.New("slow takes tikv, the development one, and how much longer each of its fsyncs takes, such as: slow tikv 200ms")
	}
	d, err := time.ParseDuration(names[1])
	if err != nil {
		return err
	}
	return c.slow(d)
}

// slow lets every fsync of the development TiKV take d longer; 0 ends that.
func (c *cluster) slow(d time.Duration) error {
	if c.PD != "" {
		return nil
	}
	file := filepath.Join(c.data(c.kind("tikv")[0]), "store", "fsync-delay")
	if d == 0 {
		err := os.Remove(file)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		} else if err == nil {
			fmt.Fprintln(c.out, "tikv: no fsync takes longer")
		}
		return err
	}
	next := file + ".next"
	if err := os.WriteFile(next, []byte(d.String()+"\n"), 0o600); err != nil {
		return err
	}
	fmt.Fprintf(c.out, "tikv: every fsync takes %v longer\n", d)
	return os.Rename(next, file)
}
