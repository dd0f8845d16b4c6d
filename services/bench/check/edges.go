package check

import (
	"fmt"
	"net/url"
	"sync/atomic"
)

// edges are where a server takes connections. They are used in turn, as a load balancer would.
type edges struct {
	urls  []string
	hosts []string // host:port of each
	next  atomic.Uint64
}

func (e *edges) fill(urls []string) error {
	for _, u := range urls {
		parsed, err := url.Parse(u)
		if err != nil {
			return err
		}
		if parsed.Scheme != "ws" && len(urls) > 1 {
			return fmt.Errorf("%s: several edges are reached by ws:// only", u)
		}
		e.urls, e.hosts = append(e.urls, u), append(e.hosts, parsed.Host)
	}
	return nil
}

func (e *edges) turn() int { return int((e.next.Add(1) - 1) % uint64(len(e.urls))) }

// url is the next edge.
func (e *edges) url() string { return e.urls[e.turn()] }

// addr is host:port of the next edge; of a single one, the address that the client chose.
func (e *edges) addr(chosen string) string {
	if len(e.hosts) == 1 {
		return chosen
	}
	return e.hosts[e.turn()]
}
