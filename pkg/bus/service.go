package bus

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

// ServiceConfig describes a NATS micro service with one endpoint, as `nats micro` shows it.
type ServiceConfig struct {
	Name        string // letters, digits, - and _
	Version     string // semantic
	Description string
	Endpoint    string
	Subject     Subject
	// Handler answers a request by calling reply once, which does not keep what it is given. It is called from several
	// goroutines; its context ends 5 s after the service was told to stop.
	Handler func(ctx context.Context, request []byte, reply func(answer []byte))
	Workers int // requests in work at once; default 16. Further ones wait, see Subscribe for the bound.
}

const defaultWorkers = 16

// service is a running micro service.
type service struct {
	b        *Bus
	handler  func(context.Context, []byte, func([]byte))
	ctx      context.Context
	requests chan request  // from micro to a worker that is free
	halted   chan struct{} // closed when no more are taken
	workers  int
	work     sync.WaitGroup // the workers

	mu      sync.Mutex // guards the fields below
	busy    int        // requests in work
	handled uint64
	spent   time.Duration
}

// request is what a worker needs of a micro.Request, which micro itself uses again once take has returned.
type request struct {
	reply string
	data  []byte
}

// Serve answers requests, together with the other processes that serve the same subject: each request goes to one of
// them. The returned function turns further requests away, waits for those in work and ends the service.
func (b *Bus) Serve(cfg ServiceConfig) (stop func(), err error) {
	subject, err := b.subject(cfg.Subject)
	if err != nil {
		return nil, err
	}
	if cfg.Workers <= 0 {
		cfg.Workers = defaultWorkers
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &service{b: b, handler: cfg.Handler, ctx: ctx, requests: make(chan request), halted: make(chan struct{}), workers: cfg.Workers}
	for range cfg.Workers { // which keep their stacks: a pull needs a deep one
		s.work.Go(s.serve)
	}
	svc, err := micro.AddService(b.nc, micro.Config{
		Name:         cfg.Name,
		Version:      cfg.Version,
		Description:  cfg.Description,
		StatsHandler: s.stats,
	})
	if err == nil {
		err = svc.AddEndpoint(cfg.Endpoint, micro.HandlerFunc(s.take),
			micro.WithEndpointSubject(subject), micro.WithEndpointPendingLimits(pendingMsgs, pendingBytes))
	}
	if err == nil {
		err = b.settle()
	}
	stop = func() {
		if svc != nil {
			_ = svc.Stop() // fails when the connection is gone, and the service with it
		}
		overdue := time.AfterFunc(drainTimeout, cancel)
		close(s.halted)
		s.work.Wait()
		overdue.Stop()
		cancel()
	}
	if err != nil {
		stop()
		return nil, fmt.Errorf("serve %s: %w", subject, err)
	}
	return stop, nil
}

// take hands a request to a worker once there is one that is free.
func (s *service) take(req micro.Request) {
	select {
	case s.requests <- request{req.Reply(), req.Data()}:
	case <-s.halted:
		s.refuse(req.Reply())
	}
}

// serve answers one request after the other.
func (s *service) serve() {
	for {
		select {
		case r := <-s.requests:
			s.answer(r)
		case <-s.halted:
			return
		}
	}
}

func (s *service) answer(r request) {
	start := time.Now()
	s.mu.Lock()
	s.busy++
	s.mu.Unlock()
	s.handler(s.ctx, r.data, func(answer []byte) {
		if err := s.b.publish(r.reply, answer); err != nil {
			s.b.log.Debug("answer request", "err", err)
		}
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy--
	s.handled++
	s.spent += time.Since(start)
}

// refuse tells the requester to ask again; another process, or nobody, will answer.
func (s *service) refuse(reply string) {
	m := nats.NewMsg(reply)
	m.Header.Set(micro.ErrorCodeHeader, "503")
	m.Header.Set(micro.ErrorHeader, "service is stopping")
	if err := s.b.nc.PublishMsg(m); err != nil {
		s.b.log.Debug("refuse request", "err", err)
	}
}

// stats is what `nats micro stats` shows below the endpoint; micro's own times end when a request is handed to a worker.
func (s *service) stats(*micro.Endpoint) any {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := struct {
		Workers int           `json:"workers"`
		Busy    int           `json:"busy"`
		Handled uint64        `json:"handled"`
		Mean    time.Duration `json:"mean_ns"`
	}{Workers: s.workers, Busy: s.busy, Handled: s.handled}
	if s.handled > 0 {
		st.Mean = s.spent / time.Duration(s.handled)
	}
	return st
}
