package tikv

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"
)

// What a Config holds by default.
const (
	DefaultPrefix         = "c"
	DefaultAttemptTimeout = 4 * time.Second
	DefaultCallTimeout    = 20 * time.Second
	DefaultConnectTimeout = 15 * time.Second
	DefaultSnapshotAge    = 15 * time.Minute
	DefaultGCInterval     = 10 * time.Minute
	DefaultGCKeep         = 30 * time.Minute
)

// gcMargin is how much longer than a snapshot's age old versions are kept at least: the time between asking PD for a
// timestamp and starting to count, and the age up to which client-go trusts its copy of the safe point.
const gcMargin = 2 * time.Minute

// Config says where the cluster is and how patient a Store is with it. Only PD is required. Much of client-go is
// configured for the whole process, so all Stores of a process must reach their cluster with the same certificates.
type Config struct {
	PD     []string // addresses of PD, host:port
	Prefix string   // before every key, 1 or 2 bytes, so that several systems share a cluster; "": DefaultPrefix

	// Files in PEM form, for TLS to PD and TiKV alike; all three or none. They are read again for new connections, so a
	// renewed certificate needs no restart.
	CA, Cert, Key string

	// AttemptTimeout bounds one try of a commit or a read; a commit has 0.5 ms more for each of its operations. It should
	// outlast a lock of a dead writer, 3 s. 0: DefaultAttemptTimeout.
	AttemptTimeout time.Duration
	// CallTimeout bounds a call of the Store or of a Snapshot with all its tries (a Scan: each of its pages; a commit has
	// 1 ms more for each operation); then it answers kv.ErrUnavailable, or kv.ErrUnknown for a commit that may have been
	// applied. 0: DefaultCallTimeout.
	CallTimeout time.Duration
	// ConnectTimeout bounds New. 0: DefaultConnectTimeout.
	ConnectTimeout time.Duration
	// SnapshotAge is how long a Snapshot can be read; after it, reads answer kv.ErrExpired. At least 2 minutes below the
	// GCKeep of whoever collects in the cluster. 0: DefaultSnapshotAge.
	SnapshotAge time.Duration

	// GCInterval is the time between collections of overwritten values while Run leads. 0: none, for a cluster in which
	// something else collects (a TiDB, another Catena): TiKV never does so by itself, and one must, else disks fill.
	GCInterval time.Duration
	// GCKeep is how far back a collection leaves the cluster readable, by PD's clock. 0: DefaultGCKeep.
	GCKeep time.Duration

	Log *slog.Logger // also for what client-go and PD's client write, in the whole process; nil: silent
}

func (c *Config) validate() error {
	c.Prefix = cmp.Or(c.Prefix, DefaultPrefix)
	c.AttemptTimeout = cmp.Or(c.AttemptTimeout, DefaultAttemptTimeout)
	c.CallTimeout = cmp.Or(c.CallTimeout, DefaultCallTimeout)
	c.ConnectTimeout = cmp.Or(c.ConnectTimeout, DefaultConnectTimeout)
	c.SnapshotAge = cmp.Or(c.SnapshotAge, DefaultSnapshotAge)
	c.GCKeep = cmp.Or(c.GCKeep, DefaultGCKeep)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	switch {
	case len(c.PD) == 0:
		return errors.New("pd is empty: give the host:port of at least one PD")
	case len(c.Prefix) > 2 || c.Prefix[0] == 0xff:
		return fmt.Errorf("prefix is %q: 1 or 2 bytes, the first below 0xff", c.Prefix)
	case c.GCKeep < c.SnapshotAge+gcMargin:
		return fmt.Errorf("gc_keep is %s: at least snapshot_age (%s) and %s more", c.GCKeep, c.SnapshotAge, gcMargin)
	}
	for _, d := range []struct {
		key   string
		value time.Duration
		least time.Duration
	}{
		{"attempt_timeout", c.AttemptTimeout, time.Millisecond},
		{"call_timeout", c.CallTimeout, c.AttemptTimeout},
		{"connect_timeout", c.ConnectTimeout, time.Millisecond},
		{"snapshot_age", c.SnapshotAge, time.Millisecond},
		{"gc_interval", c.GCInterval, 0},
	} {
		if d.value < d.least {
			return fmt.Errorf("%s is %s: at least %s", d.key, d.value, d.least)
		}
	}
	return c.validateFiles()
}

// validateFiles looks into the certificates: a server tells nobody why it refused one.
func (c *Config) validateFiles() error {
	if c.CA == "" && c.Cert == "" && c.Key == "" {
		return nil
	}
	if c.CA == "" || c.Cert == "" || c.Key == "" {
		return errors.New("ca, cert and key go together: give all three files or none")
	}
	_, err := c.tls()
	return err
}

// tls is nil without certificates.
func (c *Config) tls() (*tls.Config, error) {
	if c.CA == "" {
		return nil, nil //nolint:nilnil // as crypto/tls has it: nil is plain
	}
	ca, err := os.ReadFile(c.CA)
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("ca: %s holds no certificate", c.CA)
	}
	load := func() (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
		if err != nil {
			return nil, fmt.Errorf("cert, key: %w", err)
		}
		return &pair, nil
	}
	pair, err := load()
	if err != nil {
		return nil, err
	}
	if end := pair.Leaf.NotAfter; time.Now().After(end) {
		return nil, fmt.Errorf("cert: %s expired on %s", c.Cert, end.UTC().Format(time.RFC3339))
	}
	return &tls.Config{
		RootCAs: roots,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return load()
		},
	}, nil
}
