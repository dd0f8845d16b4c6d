package link

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Network is all links of a cluster in one process, controlled over HTTP: GET / lists them, PUT / changes some.
type Network struct {
	relays  []*relay
	control net.Listener
}

// Open listens for the links and for control, host:port.
func Open(links []Link, control string) (*Network, error) {
	n := &Network{}
	var err error
	if n.control, err = net.Listen("tcp", control); err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	for _, l := range links {
		r, err := newRelay(l)
		if err != nil {
			n.close()
			return nil, fmt.Errorf("link from %s to %s: %w", l.From, l.To, err)
		}
		n.relays = append(n.relays, r)
	}
	return n, nil
}

// Control is where the network is controlled, host:port.
func (n *Network) Control() string { return n.control.Addr().String() }

// States are all links, with the ports that they listen on.
func (n *Network) States() []State {
	all := make([]State, len(n.relays))
	for i, r := range n.relays {
		all[i] = r.state()
	}
	return all
}

func (n *Network) close() {
	_ = n.control.Close()
	for _, r := range n.relays {
		_ = r.listener.Close()
	}
}

// Run carries what comes until ctx ends or a port fails.
func (n *Network) Run(ctx context.Context) error {
	defer n.close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	for _, r := range n.relays {
		all.Go(func() {
			if err := r.run(ctx); err != nil {
				cancel(fmt.Errorf("link from %s to %s: %w", r.From, r.To, err))
			}
		})
	}
	s := &http.Server{Handler: n, ReadTimeout: askTime, WriteTimeout: askTime}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	if err := s.Serve(n.control); ctx.Err() == nil {
		cancel(fmt.Errorf("control: %w", err))
	}
	all.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

const (
	maxBody = 1 << 20
	askTime = 5 * time.Second
)

// ServeHTTP lists the links, after it has changed those that it is told to.
func (n *Network) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	if q.Method == http.MethodPut {
		var wanted []State
		err := json.NewDecoder(http.MaxBytesReader(w, q.Body, maxBody)).Decode(&wanted)
		if err == nil {
			err = n.change(wanted)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(n.States())
}

// change puts faults into effect, all or none.
func (n *Network) change(wanted []State) error {
	chosen := make([]*relay, len(wanted))
	for i, s := range wanted {
		if err := s.Fault.validate(); err != nil {
			return err
		}
		for _, r := range n.relays {
			if r.From == s.From && r.To == s.To {
				chosen[i] = r
			}
		}
		if chosen[i] == nil {
			return fmt.Errorf("no link from %s to %s", s.From, s.To)
		}
	}
	for i, r := range chosen {
		r.set(wanted[i].Fault)
	}
	return nil
}

// Set puts faults into effect at the network that is controlled at host:port.
func Set(ctx context.Context, control string, wanted []State) ([]State, error) {
	body, err := json.Marshal(wanted)
	if err != nil {
		return nil, err
	}
	return ask(ctx, control, http.MethodPut, body)
}

// Get lists the links of the network that is controlled at host:port.
func Get(ctx context.Context, control string) ([]State, error) {
	return ask(ctx, control, http.MethodGet, nil)
}

func ask(ctx context.Context, control, method string, body []byte) ([]State, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, method, "http://"+control+"/", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(q)
	if err != nil {
		return nil, fmt.Errorf("ask the links: %w", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(strings.TrimSpace(string(text)))
	}
	var states []State
	if err == nil {
		err = json.Unmarshal(text, &states)
	}
	if err != nil {
		return nil, fmt.Errorf("ask the links: %w", err)
	}
	return states, nil
}
