package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"
)

// serveAdmin answers probes and scrapes on their own port until ctx ends: /healthz says that the process lives, /readyz
// that it does what its roles are for, /metrics what it does. On a loopback address /debug/pprof shows where time and
// memory go; elsewhere it would show strangers, too.
func (n *node) serveAdmin(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, nil) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { answer(w, n.ready()) })
	mux.Handle("GET /metrics", promhttp.HandlerFor(n.reg, promhttp.HandlerOpts{}))
	if a, ok := n.admin.Addr().(*net.TCPAddr); ok && a.IP.IsLoopback() {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	s := &http.Server{
		Handler: mux, ReadTimeout: 10 * time.Second, WriteTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(n.log.With("component", "admin").Handler(), slog.LevelWarn),
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := s.Serve(n.admin); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		return s.Close()
	})
	return g.Wait()
}

func answer(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	_, _ = w.Write([]byte("ok\n"))
}

var (
	errStopping = errors.New("this process stops")
	errNoNATS   = errors.New("the connection to the NATS servers is lost; it comes back by itself")
)

// ready is nil while this process does what its roles are for. Without NATS none can, and none whose own disk is full;
// with a store that is away, pulls are answered with errors that clients retry, here as everywhere else.
func (n *node) ready() error {
	switch {
	case n.stopping.Load():
		return errStopping
	case n.server != nil && n.server.Fault() != nil:
		return fmt.Errorf("the data folder cannot be written: %w", n.server.Fault())
	case !n.bus.Connected():
		return errNoNATS
	case n.cfg.has(roleHistory):
		return n.pulls.ready()
	}
	return nil
}
