//go:build !darwin || cgo

package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	tikverr "github.com/tikv/client-go/v2/error"
	"github.com/tikv/client-go/v2/txnkv"
	"github.com/tikv/client-go/v2/txnkv/transaction"

	"github.com/catena-im/catena/pkg/kv"
	"github.com/catena-im/catena/pkg/kv/tikv"
)

// modes counts the commits of a store by how client-go made them.
func modes(t *testing.T, s *tikv.Store) map[string]int {
	t.Helper()
	reg := prometheus.NewRegistry()
	reg.MustRegister(s)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for _, f := range families {
		if f.GetName() == "catena_tikv_commits_total" {
			for _, m := range f.GetMetric() {
				counts[m.GetLabel()[0].GetValue()] = int(m.GetCounter().GetValue())
			}
		}
	}
	return counts
}

func TestCommitsTakeOnePhaseWithinARegion(t *testing.T) {
	s := open(t, all(t, "--split", "cr/5").config())
	held := []byte(nil)
	commit := func(keys ...string) {
		t.Helper()
		b := &kv.Batch{Fence: []byte("f"), Expect: held, Next: append(held, 'n')}
		for _, k := range keys {
			b.Put([]byte(k), make([]byte, 100<<10)) // above client-go's own limit for one phase
		}
		if err := s.Commit(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		held = b.Next
	}
	commit("r/1", "r/2")
	commit()
	if got := modes(t, s); got["1pc"] != 2 || len(got) != 1 {
		t.Errorf("in one region: %v", got)
	}
	commit("r/1", "r/9")
	if got := modes(t, s); got["1pc"] != 2 || got["2pc"] != 1 {
		t.Errorf("over two regions: %v", got)
	}
}

func TestRegionsSurviveARestart(t *testing.T) {
	pd, store := apart(t)
	s := open(t, pd.config())
	if err := s.Split(t.Context(), [][]byte{[]byte("b"), []byte("d"), []byte("c")}); err != nil {
		t.Fatal(err)
	}
	regions := func() string {
		p, err := openPlacement(filepath.Join(pd.args[3], "pd", "placement.json"))
		if err != nil {
			t.Fatal(err)
		}
		var starts []string
		for _, r := range p.known.Regions {
			starts = append(starts, string(bytes.TrimRight(r.Start, "\x00\xf9")))
		}
		return strings.Join(starts, " ")
	}
	if got := regions(); got != " cb cc cd" {
		t.Errorf("regions begin at %q", got)
	}
	put := func(next, expect string) {
		t.Helper()
		b := &kv.Batch{Fence: []byte("f"), Next: []byte(next)}
		if expect != "" {
			b.Expect = []byte(expect)
		}
		for _, k := range []string{"a", "bb", "cc", "dd"} {
			b.Put([]byte(k), []byte(next))
		}
		if err := s.Commit(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	put("1", "")
	store.again(t)
	pd.again(t)
	put("2", "1")
	if got := regions(); got != " cb cc cd" {
		t.Errorf("after a restart regions begin at %q", got)
	}
	s2 := open(t, pd.config()) // one that has not met the regions before
	sn, err := s2.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	if err := sn.Scan(t.Context(), kv.Range{}, func(_, v []byte) error {
		rows++
		return nil
	}); err != nil || rows != 5 {
		t.Errorf("%d rows of 5, %v", rows, err)
	}
}

// raw is client-go's client, for what the driver does not do.
func raw(t *testing.T, s *server) *txnkv.Client {
	t.Helper()
	c, err := txnkv.NewClient([]string{s.pd})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestCollection(t *testing.T) {
	c, ctx := raw(t, all(t)), t.Context()
	put := func(value string) (after uint64) {
		t.Helper()
		tx, err := c.Begin()
		if err == nil {
			if err = tx.Set([]byte("k"), []byte(value)); err == nil {
				err = tx.Commit(ctx)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		after, err = c.GetTimestamp(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return after
	}
	first := put("1")
	lock(t, c, "locked")
	second := put("2")
	if least, err := c.GetPDClient().UpdateServiceGCSafePoint(ctx, "backup", math.MaxInt64, second); err != nil || least != 0 {
		t.Errorf("before the collector has spoken: %d, %v, want 0", least, err)
	}
	if least, err := c.GetPDClient().UpdateServiceGCSafePoint(ctx, "gc_worker", math.MaxInt64, second+1); err != nil || least != second {
		t.Errorf("the collector is allowed %d, %v, want %d", least, err, second)
	}
	if point, err := c.GC(ctx, second); err != nil || point != second {
		t.Fatalf("gc: %d, %v", point, err)
	}
	if v, err := c.GetSnapshot(second).Get(ctx, []byte("k")); err != nil || string(v) != "2" {
		t.Errorf("the newest version: %q, %v", v, err)
	}
	for { // the store asks PD now and then; a client learns of it from PD, later
		v, err := c.GetSnapshot(first).Get(ctx, []byte("k"))
		if tikverr.IsErrNotFound(err) {
			break
		}
		if err != nil || string(v) != "1" {
			t.Fatalf("the old version: %q, %v", v, err)
		}
	}
	if v, err := c.GetSnapshot(second).Get(ctx, []byte("locked")); !tikverr.IsErrNotFound(err) {
		t.Errorf("what a dead writer locked: %q, %v", v, err)
	}
}

// lock leaves a key as a writer does that dies between the phases.
func lock(t *testing.T, c *txnkv.Client, key string) {
	t.Helper()
	tx, err := c.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.Set([]byte(key), []byte("v")); err != nil {
		t.Fatal(err)
	}
	committer, err := transaction.TxnProbe{KVTxn: tx}.NewCommitter(0)
	if err == nil {
		err = committer.PrewriteAllMutations(context.Background())
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestTimeNeverGoesBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tso")
	clock := time.Unix(1_000_000, 0)
	var last int64
	check := func(o *tso, n int64) {
		t.Helper()
		physical, logical, err := o.next(n)
		if err != nil {
			t.Fatal(err)
		}
		if ts := physical<<18 + logical; ts-n < last {
			t.Fatalf("%d timestamps up to %d after %d", n, ts, last)
		} else {
			last = ts
		}
	}
	for range 5 {
		o, err := newTSO(path)
		if err != nil {
			t.Fatal(err)
		}
		o.now = func() time.Time { return clock }
		for _, step := range []time.Duration{0, time.Millisecond, -time.Hour, 4 * time.Second, 0, -time.Second} {
			clock = clock.Add(step)
			check(o, 1)
			check(o, 200_000)
			check(o, 200_000)
		}
	}
	o, _ := newTSO(path)
	for _, n := range []int64{0, -1, tsoLogical} {
		if _, _, err := o.next(n); err == nil {
			t.Errorf("%d timestamps: no error", n)
		}
	}
}

// certificates writes an authority and a certificate by it for loopback, that ends at end.
func certificates(t *testing.T, end time.Time) (ca, cert, key string) {
	t.Helper()
	issue := func(template, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
		own, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if signer == nil {
			parent, signer = template, own
		}
		der, err := x509.CreateCertificate(crand.Reader, template, parent, &own.PublicKey, signer)
		if err != nil {
			t.Fatal(err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return c, own
	}
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	start := time.Now().Add(-24 * time.Hour)
	root, signer := issue(&x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotBefore: start,
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, nil, nil)
	leaf, own := issue(&x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "tikvdev"}, NotBefore: start, NotAfter: end,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, root, signer)
	der, err := x509.MarshalECPrivateKey(own)
	if err != nil {
		t.Fatal(err)
	}
	return write("ca.pem", "CERTIFICATE", root.Raw), write("cert.pem", "CERTIFICATE", leaf.Raw), write("key.pem", "EC PRIVATE KEY", der)
}

// TestTLS is the last to connect: client-go keeps certificates for the whole process.
func TestTLS(t *testing.T) {
	ca, cert, key := certificates(t, time.Now().Add(time.Hour))
	pd, _ := apart(t, "--ca", ca, "--cert", cert, "--key", key)
	plain := pd.config()
	plain.ConnectTimeout = 300 * time.Millisecond
	if _, err := tikv.New(plain); err == nil || !strings.Contains(err.Error(), pd.pd) {
		t.Errorf("without certificates: %v", err)
	}
	otherCA, otherCert, otherKey := certificates(t, time.Now().Add(time.Hour))
	stranger := plain
	stranger.ConnectTimeout = 3 * time.Second // a handshake may take long beside other tests
	stranger.CA, stranger.Cert, stranger.Key = otherCA, otherCert, otherKey
	if _, err := tikv.New(stranger); err == nil || !strings.Contains(err.Error(), "certificate signed by unknown authority") {
		t.Errorf("with certificates of another authority: %v", err)
	}
	_, oldCert, oldKey := certificates(t, time.Now().Add(-time.Hour))
	old := plain
	old.CA, old.Cert, old.Key = ca, oldCert, oldKey
	if _, err := tikv.New(old); err == nil || !strings.Contains(err.Error(), "cert: ") || !strings.Contains(err.Error(), "expired on") {
		t.Errorf("with an expired certificate: %v", err)
	}
	cfg := pd.config()
	cfg.CA, cfg.Cert, cfg.Key = ca, cert, key
	s := open(t, cfg)
	if err := s.Commit(t.Context(), &kv.Batch{Fence: []byte("f"), Next: []byte("1")}); err != nil {
		t.Errorf("commit: %v", err)
	}
	_ = s.Close()
	again := open(t, cfg)
	relay := newRelay()
	if n, err := relay.Write(t.Context(), again, "writer"); err != nil || n != 1 {
		t.Errorf("write: %d, %v", n, err)
	}
	relay.Judge(t, again)
}
