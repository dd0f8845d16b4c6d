package edge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	imv1 "github.com/catena-im/catena/proto/im/v1"
	"github.com/catena-im/catena/services/edge/socket"
)

// drainPoll is how often a stopping edge looks whether it has drained.
const drainPoll = 5 * time.Millisecond

// Run serves until ctx ends, and then stops cleanly: clients are told to go elsewhere, what they asked for is carried
// out and answered as far as that is possible within the drain timeout, and the connections are closed. It is called
// once. The error is nil unless the listener, the inbox or the poller did not work.
func (e *Edge) Run(ctx context.Context) error {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	e.work = work
	var parts sync.WaitGroup
	defer parts.Wait()
	defer cancel()

	stop, err := e.subscribe()
	if err != nil {
		_ = e.deps.Listener.Close()
		return err
	}
	defer stop()
	if e.sockets, err = socket.NewPoller(e.cadence.writers); err != nil {
		_ = e.deps.Listener.Close()
		return fmt.Errorf("watch connections: %w", err)
	}
	for _, l := range slices.Concat(e.conv, e.user) {
		parts.Go(func() { l.run(work) })
	}
	for _, p := range e.partitions {
		parts.Go(func() { p.register(work) })
	}
	parts.Go(func() { e.sweep(work) })

	server := e.httpServer()
	served := make(chan error, 2)
	parts.Go(func() {
		if err := e.readSockets(work); err != nil {
			served <- err
		}
	})
	e.log.Info("edge serves", "address", e.deps.Listener.Addr().String())
	parts.Go(func() { served <- server.Serve(e.deps.Listener) })
	select {
	case <-ctx.Done():
	case err = <-served:
		err = fmt.Errorf("serve %s: %w", e.deps.Listener.Addr(), err)
	}
	e.drain(work, server)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

func (e *Edge) subscribe() (stop func(), err error) {
	deliveries, err := e.deps.Inbox.Deliveries(e.id, e.deliver)
	if err != nil {
		return nil, fmt.Errorf("subscribe deliveries: %w", err)
	}
	announcements, err := e.deps.Inbox.Announcements(e.announced)
	if err != nil {
		deliveries()
		return nil, fmt.Errorf("subscribe announcements: %w", err)
	}
	return func() { announcements(); deliveries() }, nil
}

// drain stops serving. Each of its two steps is bounded by the drain timeout: work in hand, then the connections.
func (e *Edge) drain(ctx context.Context, server *http.Server) {
	e.mu.Lock()
	e.stopped = true
	e.mu.Unlock()
	e.draining.Store(true)
	ctx, cancel := context.WithTimeout(ctx, e.cfg.DrainTimeout)
	var closing sync.WaitGroup
	closing.Go(func() {
		if server.Shutdown(ctx) != nil { // handshakes are under way
			_ = server.Close()
		}
	})
	defer closing.Wait()
	defer cancel()
	e.each((*session).sendAway)
	e.awaitIdle(ctx)
	e.each(func(s *session) {
		s.close(closeGoingAway, nil)
		s.link.hurry() // or one client that does not read holds up the stop
	})
	e.awaitSessions()
}

// sendAway tells a client that the server stops.
func (s *session) sendAway() {
	s.tell(&imv1.ServerFrame{Body: &imv1.ServerFrame_GoAway{GoAway: &imv1.GoAway{
		Reason: "this server stops; connect again", ReconnectWithinMs: uint32(s.edge.cfg.ReconnectWithin.Milliseconds())}}})
}

// awaitIdle waits until nothing is asked that was not answered, or ctx ends.
func (e *Edge) awaitIdle(ctx context.Context) {
	ticker := time.NewTicker(drainPoll)
	defer ticker.Stop()
	for !e.idle() {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (e *Edge) idle() bool {
	for _, l := range slices.Concat(e.conv, e.user) {
		if !l.idle() {
			return false
		}
	}
	idle := true
	e.each(func(s *session) {
		s.mu.Lock()
		defer s.mu.Unlock()
		idle = idle && len(s.pending) == 0
	})
	return idle
}

// awaitSessions waits for the connections to end and cuts off those that do not.
func (e *Edge) awaitSessions() {
	timer := time.AfterFunc(e.cfg.DrainTimeout, func() { e.each(func(s *session) { s.link.abort() }) })
	defer timer.Stop()
	e.running.Wait()
}
