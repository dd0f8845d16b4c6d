//go:build !darwin || cgo

package tikv

import (
	"errors"
	"flag"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tikv/client-go/v2/config"
	"github.com/tikv/client-go/v2/testutils"
	client "github.com/tikv/client-go/v2/tikv"
	pd "github.com/tikv/pd/client"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/catena-im/catena/pkg/kv"
	"github.com/catena-im/catena/pkg/kv/kvtest"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue {
		_ = f.Value.Set("20") // the mock store is slow
	}
	tune(config.Security{})
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/pingcap/goleveldb/leveldb.(*DB).mpoolDrain")) // the mock's; ends after 30 s
}

// mock is client-go's cluster in memory. A test may stand between it and the store.
type mock struct {
	rpc     *testutils.MockClient
	cluster *testutils.MockCluster
	pd      pd.Client
}

func newMock(t testing.TB) *mock {
	t.Helper()
	rpc, cluster, placement, err := testutils.NewMockTiKV("", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := rpc.Close(); err != nil {
			t.Error(err)
		}
	})
	ids := cluster.AllocIDs(3)
	cluster.AddStore(ids[0], healthy(t))
	cluster.Bootstrap(ids[1], ids[:1], ids[2:], ids[2])
	return &mock{rpc, cluster, placement}
}

// shared survives the stores that use it.
type shared struct{ client.Client }

func (shared) Close() error { return nil }

// healthy is where client-go asks whether a store lives, after a request of which it does not know.
func healthy(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	healthpb.RegisterHealthServer(server, health.NewServer())
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// open returns a store on the mock, which ends with it. between may be nil.
func (m *mock) open(t testing.TB, cfg Config, between func(client.Client) client.Client) *Store {
	t.Helper()
	cfg.PD = []string{"mock"}
	if err := cfg.validate(); err != nil {
		t.Fatal(err)
	}
	route(cfg.Log)
	c, err := client.NewTestTiKVStore(m.rpc, m.pd, func(c client.Client) client.Client {
		if between != nil {
			c = between(c)
		}
		return shared{c}
	}, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	s := newStore(cfg, c, nil)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// clusters are the stores that the suite runs against: the mock, and a real one where TIKV_PD says host:port of its PD.
func clusters(t *testing.T) map[string]func(t *testing.T) kv.Store {
	open := map[string]func(t *testing.T) kv.Store{
		"mock": func(t *testing.T) kv.Store { return newMock(t).open(t, Config{}, nil) },
	}
	addrs := os.Getenv("TIKV_PD")
	if addrs == "" {
		t.Log("NOT RUN AGAINST A REAL CLUSTER: set TIKV_PD=host:2379 to do so")
		return open
	}
	open["cluster"] = func(t *testing.T) kv.Store {
		s, err := New(Config{PD: strings.Split(addrs, ",")})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	return open
}

func TestConformance(t *testing.T) {
	for name, open := range clusters(t) {
		t.Run(name, func(t *testing.T) { kvtest.Run(t, open) })
	}
}

func TestReopen(t *testing.T) {
	m := newMock(t)
	kvtest.RunDurable(t, func(t *testing.T) (kv.Store, func(t *testing.T) kv.Store) {
		s := m.open(t, Config{}, nil)
		return s, func(t *testing.T) kv.Store { return m.open(t, Config{}, nil) }
	})
}

func TestConfigNamesTheKeyThatIsWrong(t *testing.T) {
	for want, cfg := range map[string]Config{
		"pd is empty":         {},
		"prefix is":           {PD: []string{"x"}, Prefix: "abc"},
		"gc_keep is 15m0s":    {PD: []string{"x"}, GCKeep: 15 * time.Minute},
		"call_timeout is 1s":  {PD: []string{"x"}, CallTimeout: time.Second},
		"gc_interval is -1s":  {PD: []string{"x"}, GCInterval: -time.Second},
		"ca, cert and key go": {PD: []string{"x"}, CA: "ca.pem"},
	} {
		if _, err := New(cfg); err == nil || !strings.HasPrefix(err.Error(), "tikv: "+want) {
			t.Errorf("got %v, want %s…", err, want)
		}
	}
}
