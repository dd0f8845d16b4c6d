package main

import (
	"cmp"
	"errors"
	"slices"
	"sync"

	"github.com/catena-im/catena/pkg/bus"
)

// census tells when every partition has caught up with its stream.
type census struct {
	all chan struct{} // closed then

	mu      sync.Mutex // guards the field below
	missing map[bus.Partition]struct{}
}

func newCensus(parts []bus.Partition) *census {
	c := &census{all: make(chan struct{}), missing: make(map[bus.Partition]struct{})}
	for _, p := range parts {
		c.missing[p] = struct{}{}
	}
	return c
}

func (c *census) mark(p bus.Partition) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.missing[p]; !ok {
		return
	}
	if delete(c.missing, p); len(c.missing) == 0 {
		close(c.all)
	}
}

// waiting names the partitions that are missing.
func (c *census) waiting() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var names []string
	for p := range c.missing {
		names = append(names, p.String())
	}
	slices.Sort(names)
	return names
}

// gate tells whether something is done now, and when it was for the first time.
type gate struct {
	first chan struct{} // closed then

	mu  sync.Mutex // guards the fields below
	was bool
	is  bool
	why error // it is not open; nil: for no special reason
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.why = nil
	if g.is = true; !g.was {
		g.was = true
		close(g.first)
	}
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.is = false
}

// because says why the gate is closed and stays so, until it opens.
func (g *gate) because(why error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.why = why
}

var errNotReady = errors.New("the store is being opened, or the partitions catch up with their streams")

// ready is nil while the gate is open.
func (g *gate) ready() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.is {
		return cmp.Or(g.why, errNotReady)
	}
	return nil
}
