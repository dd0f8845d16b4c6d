//go:build !darwin || cgo

package tikv

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	client "github.com/tikv/client-go/v2/tikv"
	"github.com/tikv/client-go/v2/tikvrpc"

	"github.com/catena-im/catena/pkg/kv"
	"github.com/catena-im/catena/pkg/kv/kvtest"
)

// network loses requests and answers, and repeats requests late. Its mistakes follow from seed.
type network struct {
	client.Client
	percent int // of the requests of a transaction

	mu   sync.Mutex // guards the fields below
	rng  *rand.Rand
	late []func() // requests that come again
	lost int
}

var errNetwork = errors.New("connection reset by peer")

func (n *network) SendRequest(
	ctx context.Context, addr string, req *tikvrpc.Request, timeout time.Duration,
) (*tikvrpc.Response, error) {
	if req.Type != tikvrpc.CmdPrewrite && req.Type != tikvrpc.CmdCommit {
		return n.Client.SendRequest(ctx, addr, req, timeout)
	}
	fate, late := n.roll()
	for _, again := range late {
		again()
	}
	if fate == "request lost" {
		return nil, errNetwork
	}
	resp, err := n.Client.SendRequest(ctx, addr, req, timeout)
	switch fate {
	case "answer lost":
		return nil, errNetwork
	case "answer lost, request repeated":
		repeated := clone(req)
		n.mu.Lock()
		n.late = append(n.late, func() {
			_, _ = n.Client.SendRequest(context.Background(), addr, repeated, timeout)
		})
		n.mu.Unlock()
		return nil, errNetwork
	}
	return resp, err
}

// clone is what is still on the way while client-go uses its request for another try.
func clone(req *tikvrpc.Request) *tikvrpc.Request {
	if req.Type == tikvrpc.CmdCommit {
		m := *req.Commit()
		return tikvrpc.NewRequest(req.Type, &m, req.Context)
	}
	m := *req.Prewrite()
	return tikvrpc.NewRequest(req.Type, &m, req.Context)
}

// roll decides the fate of a request, and sometimes that it is time for the late ones.
func (n *network) roll() (fate string, late []func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.rng.IntN(4) == 0 {
		late, n.late = n.late, nil
	}
	if n.rng.IntN(100) >= n.percent {
		return "", late
	}
	n.lost++
	return []string{"request lost", "answer lost", "answer lost, request repeated"}[n.rng.IntN(3)], late
}

// TestLostAnswers lets owners take a fence from each other over a network that loses and repeats.
func TestLostAnswers(t *testing.T) {
	m := newMock(t)
	relay := &kvtest.Relay{Prefix: "relay/"}
	if err := m.open(t, Config{}, nil).Split(t.Context(), [][]byte{[]byte("relay/row/"), relay.Row(5, 3), relay.Row(30, 0)}); err != nil {
		t.Fatal(err)
	}
	const writers, rounds = 3, 25
	var wg sync.WaitGroup
	var networks []*network
	for w := range writers {
		n := &network{percent: 15, rng: rand.New(rand.NewPCG(7, uint64(w)))}
		networks = append(networks, n)
		s := m.open(t, Config{AttemptTimeout: 500 * time.Millisecond, CallTimeout: 2 * time.Second}, func(c client.Client) client.Client {
			n.Client = c
			return n
		})
		wg.Go(func() {
			for range rounds {
				if _, err := relay.Write(context.Background(), s, fmt.Sprint("writer-", w)); err != nil && !errors.Is(err, kv.ErrUnavailable) {
					t.Errorf("writer %d: %v", w, err)
				}
			}
		})
	}
	wg.Wait()
	lost := 0
	for _, n := range networks {
		n.mu.Lock() // second phases may still be on their way
		lost += n.lost
		n.mu.Unlock()
	}
	batches := relay.Judge(t, m.open(t, Config{}, nil))
	t.Logf("%d batches, %d answered, %d requests or answers lost", batches, relay.Told(), lost)
	if relay.Told() == 0 || lost == 0 {
		t.Error("nothing was tried")
	}
}

// TestForeignWriterOfDataIsWaitedFor commits while others write the same data under fences of their own.
func TestForeignWriterOfDataIsWaitedFor(t *testing.T) {
	m := newMock(t)
	s := m.open(t, Config{}, nil)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			var held []byte
			for i := range 15 {
				b := &kv.Batch{Fence: fmt.Append(nil, "fence-", w), Expect: held, Next: fmt.Append(nil, i)}
				b.Put([]byte("data"), fmt.Append(nil, w, i))
				if err := s.Commit(context.Background(), b); err != nil {
					t.Errorf("writer %d: %v", w, err)
					return
				}
				held = b.Next
			}
		})
	}
	wg.Wait()
}

// stall answers nothing until its context ends.
type stall struct {
	client.Client
	what tikvrpc.CmdType
}

func (n *stall) SendRequest(
	ctx context.Context, addr string, req *tikvrpc.Request, timeout time.Duration,
) (*tikvrpc.Response, error) {
	if req.Type == n.what {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return n.Client.SendRequest(ctx, addr, req, timeout)
}

// TestStoreThatDoesNotAnswer holds every call to its patience.
func TestStoreThatDoesNotAnswer(t *testing.T) {
	quick := Config{AttemptTimeout: 20 * time.Millisecond, CallTimeout: 100 * time.Millisecond}
	batch := &kv.Batch{Fence: []byte("f"), Next: []byte("1")}
	read := func(call func(sn kv.Snapshot) error) func(s *Store) error {
		return func(s *Store) error {
			sn, err := s.Snapshot(context.Background())
			if err != nil {
				return err
			}
			defer sn.Release()
			return call(sn)
		}
	}
	for _, c := range []struct {
		name  string
		stall tikvrpc.CmdType
		call  func(s *Store) error
		want  error
	}{
		{"get", tikvrpc.CmdGet, read(func(sn kv.Snapshot) error {
			_, err := sn.Get(context.Background(), []byte("k"))
			return err
		}), kv.ErrUnavailable},
		{"batch get", tikvrpc.CmdBatchGet, read(func(sn kv.Snapshot) error {
			_, err := sn.BatchGet(context.Background(), [][]byte{[]byte("k")})
			return err
		}), kv.ErrUnavailable},
		{"scan", tikvrpc.CmdScan, read(func(sn kv.Snapshot) error {
			return sn.Scan(context.Background(), kv.Range{}, func(_, _ []byte) error { return nil })
		}), kv.ErrUnavailable},
		{"commit that reads in vain", tikvrpc.CmdGet, func(s *Store) error {
			return s.Commit(context.Background(), batch)
		}, kv.ErrUnavailable},
		{"commit that writes in vain", tikvrpc.CmdPrewrite, func(s *Store) error {
			return s.Commit(context.Background(), batch)
		}, kv.ErrUnknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newMock(t).open(t, quick, func(inner client.Client) client.Client { return &stall{inner, c.stall} })
			if err := c.call(s); !errors.Is(err, c.want) || c.want != kv.ErrUnknown && errors.Is(err, kv.ErrUnknown) { //nolint:errorlint // the table's
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}
