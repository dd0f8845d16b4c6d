package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	natsd "github.com/nats-io/nats-server/v2/server"

	"github.com/catena-im/catena/pkg/bus"
	"github.com/catena-im/catena/pkg/partition"
)

// startNATS runs a NATS server until the test ends and returns where it listens.
func startNATS(t *testing.T, change func(*natsd.Options)) string {
	t.Helper()
	o := &natsd.Options{
		ServerName: "test", Host: "127.0.0.1", Port: natsd.RANDOM_PORT, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: t.TempDir(), JetStreamMaxStore: 1 << 40, JetStreamMaxMemory: 1 << 20,
	}
	if change != nil {
		change(o)
	}
	s, err := natsd.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	go s.Start() // ends by itself once it listens
	if !s.ReadyForConnections(patience) {
		t.Fatal("the NATS server does not get ready")
	}
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	return s.ClientURL()
}

// nobody is an address that nobody listens on.
func nobody(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// certificate writes one for this machine, signed by itself, that is good until then.
func certificate(t *testing.T, until time.Time) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: until.Add(-24 * time.Hour), NotAfter: until, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("cert.pem", "CERTIFICATE", raw), write("key.pem", "EC PRIVATE KEY", secret)
}

// TestWrongConfigurationEndsTheStart holds the one line that a start ends with against what would help.
func TestWrongConfigurationEndsTheStart(t *testing.T) {
	t.Setenv(envURL, "")
	t.Setenv(envToken, "")
	bare := startNATS(t, nil)
	cluster := startNATS(t, nil)
	must(t, "provision", "--nats-url", cluster, "--partitions-conv", "2", "--partitions-user", "3")
	without := startNATS(t, func(o *natsd.Options) { o.JetStream = false })
	locked := startNATS(t, func(o *natsd.Options) { o.Username, o.Password = "u", "p" })
	oldCert, oldKey := certificate(t, time.Now().Add(-time.Hour))
	expired := startNATS(t, func(o *natsd.Options) {
		pair, err := tls.LoadX509KeyPair(oldCert, oldKey)
		if err != nil {
			t.Fatal(err)
		}
		o.TLSConfig = &tls.Config{Certificates: []tls.Certificate{pair}}
	})
	away, pd := "nats://"+nobody(t), nobody(t)

	misspelt := filepath.Join(t.TempDir(), "catena.yaml")
	if err := os.WriteFile(misspelt, []byte("partitions: {conf: 8}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	keys := filepath.Join(t.TempDir(), "keys.yaml")
	if err := os.WriteFile(keys, []byte("auth: {keys: [{id: a, algorithm: HS256, key: "+strings.Repeat("k", 32)+"}]}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	edge := func(args ...string) []string {
		return append([]string{"serve", "--config", keys, "--roles", "edge"}, args...)
	}
	sequencer := func(args ...string) []string {
		return append([]string{"serve", "--roles", "sequencer", "--store-driver", "tikv", "--nats-url", cluster,
			"--partitions-conv", "2", "--partitions-user", "3"}, args...)
	}
	tests := map[string]struct {
		args []string
		want []string // parts of the line
	}{
		"an unknown key":     {[]string{"serve", "--config", misspelt}, []string{"partitions.conf (file " + misspelt, "the nearest is partitions.conv"}},
		"an unknown role":    {edge("--roles", "egde"), []string{`roles: "egde" is no role`, "edge, sequencer, history"}},
		"no NATS":            {edge(), []string{"nats.url:", "is empty"}},
		"no keys":            {[]string{"serve", "--roles", "edge", "--nats-url", cluster}, []string{"auth.keys:", "is empty"}},
		"Pebble":             {[]string{"serve", "--roles", "history", "--nats-url", cluster}, []string{`store.driver: "pebble"`, "use tikv"}},
		"not provisioned":    {edge("--nats-url", bare), []string{"not provisioned", "run: catena provision"}},
		"conv partitions":    {edge("--nats-url", cluster, "--partitions-conv", "5"), []string{"partitions.conv:", "configured for 5", "provisioned with 2"}},
		"user partitions":    {edge("--nats-url", cluster, "--partitions-user", "4"), []string{"partitions.user:", "configured for 4", "provisioned with 3"}},
		"provisioned anew":   {[]string{"provision", "--nats-url", cluster, "--partitions-conv", "4"}, []string{"partitions.conv:", "configured for 4", "provisioned with 2"}},
		"another cell":       {edge("--nats-url", cluster, "--cell", "east"), []string{"cell:", `cell "east"`, `cell "local"`}},
		"no JetStream":       {edge("--nats-url", without), []string{"nats.url:", "no JetStream", "start the servers with jetstream"}},
		"provision without":  {[]string{"provision", "--nats-url", without}, []string{"nats.url:", "no JetStream"}},
		"NATS away":          {edge("--nats-url", away), []string{"nats.url:", away, "see that the servers run"}},
		"NATS refuses":       {edge("--nats-url", locked), []string{"nats.url:", "Authorization Violation"}},
		"a wrong inbox":      {edge("--nats-url", cluster, "--nats-inbox", "x.>"), []string{"nats.inbox:"}},
		"expired server":     {edge("--nats-url", expired, "--nats-ca", oldCert), []string{"nats.url:", "certificate has expired"}},
		"expired client":     {edge("--nats-url", cluster, "--nats-cert", oldCert, "--nats-key", oldKey), []string{"nats.cert:", "expired on"}},
		"no certificate":     {edge("--nats-url", cluster, "--nats-ca", keys), []string{"nats.ca:", "no certificate"}},
		"no PD named":        {sequencer(), []string{"store.tikv.pd:", "is empty"}},
		"PD away":            {sequencer("--store-tikv-pd", pd, "--store-tikv-connect-timeout", "300ms"), []string{"store.tikv:", "no answer from pd", pd}},
		"provision, PD away": {append(sequencer("--store-tikv-pd", pd, "--store-tikv-connect-timeout", "300ms")[3:], "provision"), []string{"store.tikv:", "no answer from pd", pd}},
		"half of TLS to PD":  {sequencer("--store-tikv-pd", pd, "--store-tikv-ca", oldCert), []string{"store.tikv:", "ca, cert and key go together"}},
		"expired for PD": {sequencer("--store-tikv-pd", pd, "--store-tikv-ca", oldCert, "--store-tikv-cert", oldCert, "--store-tikv-key", oldKey),
			[]string{"store.tikv:", "cert: " + oldCert + " expired on"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			out, err := run(t, append(tt.args, "--log-level", "error")...)
			if err == nil {
				t.Fatalf("catena %s goes on\n%s", strings.Join(tt.args, " "), out)
			}
			for _, part := range tt.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("got %q, want %q in it", err, part)
				}
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("got several lines: %q", err)
			}
		})
	}
}

func TestClockThatIsFarOffIsRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		theirs time.Duration // from now
		want   string
	}{
		"right":        {0, ""},
		"nearly right": {-9 * time.Second, ""},
		"ahead":        {-time.Hour, "clock is 1h0m0s ahead of PD's"},
		"behind":       {time.Hour, "clock is 1h0m0s behind PD's"},
	} {
		err := compareClocks(t.Context(), "PD", func(context.Context) (time.Time, error) { return time.Now().Add(tt.theirs), nil })
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
	}
	broken := errors.New("broken")
	if err := compareClocks(t.Context(), "NATS", func(context.Context) (time.Time, error) { return time.Time{}, broken }); !errors.Is(err, broken) {
		t.Errorf("got %v, want what went wrong", err)
	}
}

// processor is one that does nothing.
type processor struct{ partition.Processor }

func (processor) Close() {}

func TestOwnerOfTheFirstPartitionLeads(t *testing.T) {
	var l lead
	begin := l.watch(func(_ context.Context, _ bus.Partition, epoch uint64) (partition.Processor, error) {
		if epoch == 0 {
			return nil, errors.New("no")
		}
		return processor{}, nil
	})
	own := func(p bus.Partition) partition.Processor {
		t.Helper()
		proc, err := begin(t.Context(), p, 1)
		if err != nil {
			t.Fatal(err)
		}
		return proc
	}
	first := bus.Partition{Kind: bus.Conv}
	if _, err := begin(t.Context(), first, 0); err == nil {
		t.Error("the error of the start is lost")
	}
	own(bus.Partition{Kind: bus.User})
	own(bus.Partition{Kind: bus.Conv, Number: 1})
	if l.is() {
		t.Error("an owner of other partitions leads")
	}
	old := own(first)
	again := own(first) // before the old one has ended
	old.Close()
	if !l.is() {
		t.Error("the owner of the first partition does not lead")
	}
	if again.Close(); l.is() {
		t.Error("a former owner leads")
	}
}
