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
	b       *Bus
	handler func(context.Context, []byte, func([]byte))
	ctx     context.Context
	slots   chan struct{} // one for each request in work
	work    sync.WaitGroup

	mu      sync.Mutex // guards the fields below
	stopped bool
	handled uint64
	spent   time.Duration
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
	s := &service{b: b, handler: cfg.Handler, ctx: ctx, slots: make(chan struct{}, cfg.Workers)}
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
		s.halt()
		overdue.Stop()
		cancel()
	}
	if err != nil {
		stop()
		return nil, fmt.Errorf("serve %s: %w", subject, err)
	}
	return stop, nil
}

// take starts to work on a request once there is a slot for it.
func (s *service) take(req micro.Request) {
	s.slots <- struct{}{}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		<-s.slots
		s.refuse(req.Reply())
		return
	}
	reply, data := req.Reply(), req.Data() // req itself is read by micro when take has returned
	s.work.Go(func() {
		defer func() { <-s.slots }()
		s.answer(reply, data)
	})
}

func (s *service) answer(reply string, data []byte) {
	start := time.Now()
	s.handler(s.ctx, data, func(answer []byte) {
		if err := s.b.publish(reply, answer); err != nil {
			s.b.log.Debug("answer request", "err", err)
		}
	})
	s.mu.Lock()
	defer s.mu.Unlock()
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

func (s *service) halt() {
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	s.work.Wait()
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
	}{Workers: cap(s.slots), Busy: len(s.slots), Handled: s.handled}
	if s.handled > 0 {
		st.Mean = s.spent / time.Duration(s.handled)
	}
	return st
}
