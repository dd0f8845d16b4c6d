package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"github.com/catena-im/catena/pkg/bus"
	"github.com/catena-im/catena/pkg/conf"
)

// busLayout is what the cluster is provisioned for.
func (c *Config) busLayout() bus.Layout {
	return bus.Layout{
		ConvPartitions: c.Partitions.Conv, UserPartitions: c.Partitions.User, Replicas: c.Stream.Replicas,
		StreamMaxBytes: int64(c.Stream.MaxBytes), DuplicateWindow: c.Stream.DuplicateWindow,
		ConsumersInMemory: c.NATS.URL == "", // the server is in this process, which provisions it at each of its starts
	}
}

// busConfig says how to reach the NATS servers.
func (c *Config) busConfig() (bus.Config, error) {
	t, err := c.NATS.tls()
	if err != nil {
		return bus.Config{}, err
	}
	return bus.Config{
		URL: c.NATS.URL, Name: c.Node, Cell: c.Cell, TLS: t, Inbox: c.NATS.Inbox,
		CredentialsFile: c.NATS.Credentials, NKeyFile: c.NATS.NKey, User: c.NATS.User, Password: c.NATS.Password,
	}, nil
}

// tls is nil when no file is named: then the URL's scheme decides.
func (c *NATSConfig) tls() (*tls.Config, error) {
	if c.CA == "" && c.Cert == "" && c.Key == "" {
		return nil, nil
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CA != "" {
		pem, err := os.ReadFile(c.CA)
		if err != nil {
			return nil, fmt.Errorf("nats.ca: %w", err)
		}
		if t.RootCAs = x509.NewCertPool(); !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, conf.Wrong("nats.ca", c.CA, "holds no certificate in PEM form")
		}
	}
	if c.Cert != "" || c.Key != "" {
		pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
		if err != nil {
			return nil, fmt.Errorf("nats.cert and nats.key: %w", err)
		}
		if end := pair.Leaf.NotAfter; time.Now().After(end) {
			return nil, conf.Wrong("nats.cert", c.Cert, "expired on %s; renew it", end.UTC().Format(time.RFC3339))
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}

// connectBus reaches NATS servers outside of this process.
func connectBus(ctx context.Context, cfg Config, log *slog.Logger) (*bus.Bus, error) {
	c, err := cfg.busConfig()
	if err != nil {
		return nil, err
	}
	b, err := bus.Connect(ctx, c, log)
	if err != nil {
		return nil, fmt.Errorf("nats.url: %w; see that the servers run and that this process may connect", err)
	}
	return b, nil
}

func listen(key, address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%s: %w\nstop what uses the port, or give another with --%s; port 0 takes a free one", key, err, strings.ReplaceAll(key, ".", "-"))
	}
	return l, nil
}

// reachable is a listening address as a client on this machine can dial it.
func reachable(a net.Addr) string {
	host, port, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}
