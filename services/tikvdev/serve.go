//go:build !darwin || cgo

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"math"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/pingcap/kvproto/pkg/pdpb"
	"github.com/pingcap/kvproto/pkg/tikvpb"
	etcd "go.etcd.io/etcd/api/v3/etcdserverpb"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
)

// ready is what a process says of itself when it serves.
type ready struct{ role, pd, store string }

func (r ready) String() string {
	s := "ready role=" + r.role
	if r.pd != "" {
		s += " pd=" + r.pd
	}
	if r.store != "" {
		s += " store=" + r.store
	}
	return s
}

// serve runs the roles until ctx ends or one fails. tell is called when all of them serve.
func serve(ctx context.Context, cfg config, log *slog.Logger, tell func(ready)) error {
	secret, err := loadTLS(cfg)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	serving := ready{role: cfg.role}
	if cfg.is("pd") {
		if serving.pd, err = servePD(ctx, g, &cfg, secret); err != nil {
			return err
		}
	}
	if cfg.is("store") {
		if serving.store, err = serveStore(ctx, g, cfg, secret, log); err != nil && ctx.Err() == nil {
			return err
		}
	}
	if ctx.Err() == nil {
		log.Info("serving", "role", cfg.role, "pd", serving.pd, "store", serving.store, "data", cfg.data, "fsync", cfg.fsync)
		tell(serving)
	}
	return g.Wait()
}

// servePD starts PD. It fills in the addresses that port 0 leaves open.
func servePD(ctx context.Context, g *errgroup.Group, cfg *config, secret *tls.Config) (string, error) {
	dir := filepath.Join(cfg.data, "pd")
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return "", err
	}
	unlock, err := lockFolder(dir)
	if err != nil {
		return "", err
	}
	l, err := net.Listen("tcp", cfg.pd)
	if err != nil {
		unlock()
		return "", fmt.Errorf("--pd: %w", err)
	}
	cfg.pd = l.Addr().String()
	if cfg.advertisePD == "" {
		cfg.advertisePD = cfg.pd
	}
	w := &ways{scheme: "http://", pd: cfg.advertisePD, stores: cfg.ways}
	if secret != nil {
		w.scheme = "https://"
	}
	p, err := newPD(dir, w)
	if err != nil {
		_ = l.Close()
		unlock()
		return "", err
	}
	s := newServer(secret)
	pdpb.RegisterPDServer(s, p)
	e := &etcdServer{placement: p.placement, ways: w}
	etcd.RegisterKVServer(s, e)
	etcd.RegisterClusterServer(s, e)
	g.Go(func() error {
		defer unlock()
		return listen(ctx, s, l)
	})
	return cfg.pd, nil
}

// serveStore starts the store once it has joined PD.
func serveStore(ctx context.Context, g *errgroup.Group, cfg config, secret *tls.Config, log *slog.Logger) (string, error) {
	l, err := net.Listen("tcp", cfg.store)
	if err != nil {
		return "", fmt.Errorf("--store: %w", err)
	}
	cfg.store = l.Addr().String()
	if cfg.advertiseStore == "" {
		cfg.advertiseStore = cfg.store
	}
	st, err := newStore(ctx, cfg, secret, log)
	if err != nil {
		_ = l.Close()
		return "", err
	}
	s := newServer(secret)
	tikvpb.RegisterTikvServer(s, st)
	g.Go(func() error { return st.work(ctx) })
	g.Go(func() error {
		err := listen(ctx, s, l)
		if closing := st.close(); err == nil {
			err = closing
		}
		return err
	})
	return cfg.store, nil
}

// newServer is a gRPC server with what both roles need.
func newServer(secret *tls.Config) *grpc.Server {
	options := []grpc.ServerOption{
		grpc.MaxRecvMsgSize(math.MaxInt32), grpc.MaxSendMsgSize(math.MaxInt32),
		grpc.InitialWindowSize(1 << 26), grpc.InitialConnWindowSize(1 << 26),
		// Clients of TiKV ping every 10 s, which gRPC's default takes for abuse.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
	}
	if secret != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(secret)))
	}
	s := grpc.NewServer(options...)
	healthpb.RegisterHealthServer(s, health.NewServer())
	return s
}

// listen serves until ctx ends.
func listen(ctx context.Context, s *grpc.Server, l net.Listener) error {
	stop := context.AfterFunc(ctx, s.Stop)
	defer stop()
	if err := s.Serve(l); err != nil && ctx.Err() == nil {
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	}
	return nil
}

// loadTLS is nil without certificates. It fits both ends.
func loadTLS(cfg config) (*tls.Config, error) {
	if cfg.ca == "" {
		return nil, nil //nolint:nilnil // as crypto/tls has it: nil is plain
	}
	ca, err := os.ReadFile(cfg.ca)
	if err != nil {
		return nil, fmt.Errorf("--ca: %w", err)
	}
	authority := x509.NewCertPool()
	if !authority.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("--ca: no certificate in %s", cfg.ca)
	}
	pair, err := tls.LoadX509KeyPair(cfg.cert, cfg.key)
	if err != nil {
		return nil, fmt.Errorf("--cert, --key: %w", err)
	}
	return &tls.Config{
		Certificates: []tls.Certificate{pair}, RootCAs: authority,
		ClientCAs: authority, ClientAuth: tls.RequireAndVerifyClientCert,
	}, nil
}
