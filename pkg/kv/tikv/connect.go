//go:build !darwin || cgo

package tikv

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pingcap/kvproto/pkg/metapb"
	"github.com/pingcap/kvproto/pkg/pdpb"
	"github.com/tikv/client-go/v2/config"
	ckv "github.com/tikv/client-go/v2/kv"
	client "github.com/tikv/client-go/v2/tikv"
	"github.com/tikv/client-go/v2/tikvrpc"
	"github.com/tikv/client-go/v2/util"
	pd "github.com/tikv/pd/client"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/catena-im/catena/pkg/kv"
)

// tune sets what client-go keeps for the whole process. By default a transaction above 16 KiB is never committed in one
// phase, and one above 256 keys or 4 KiB of keys never with async commit.
func tune(security config.Security) {
	ckv.TxnCommitBatchSize.Store(2 * kv.MaxBatch) // any batch, with its prefixes
	config.UpdateGlobal(func(c *config.Config) {
		c.TiKVClient.AsyncCommit.KeysLimit = 4096
		c.TiKVClient.AsyncCommit.TotalKeySizeLimit = 256 << 10
		c.TiKVClient.GrpcConnectionCount = 4
		c.Security = security
	})
}

// connect makes the parts that client-go's NewClient makes, which leaves them running when one fails, and has no say in
// the log of etcd's client. forget, called before the Close of the result, ends what that leaves behind.
func connect(cfg Config) (c *client.KVStore, forget func(), err error) {
	life, forget := context.WithCancel(context.Background())
	undo := []func(){forget}
	defer func() {
		if err != nil {
			for i := len(undo) - 1; i >= 0; i-- {
				undo[i]()
			}
		}
	}()
	logger := route(cfg.Log)
	security := config.NewSecurity(cfg.CA, cfg.Cert, cfg.Key, nil)
	tune(security)
	secret, err := cfg.tls()
	if err != nil {
		return nil, nil, err
	}
	placement, err := connectPD(life, forget, cfg, secret)
	if err != nil {
		return nil, nil, err
	}
	undo = append(undo, placement.Close)
	points, err := newSafePoints(cfg, secret, logger)
	if err != nil {
		return nil, nil, err
	}
	undo = append(undo, func() { _ = points.Close() })
	codec := client.NewCodecPDClient(client.ModeTxn, util.InterceptedPDClient{Client: &patient{placement, life}})
	rpc := client.NewRPCClient(client.WithSecurity(security), client.WithCodec(codec.GetCodec()))
	undo = append(undo, func() { _ = rpc.Close() })
	name := fmt.Sprintf("tikv-%d", placement.GetClusterID(context.Background()))
	if c, err = client.NewKVStore(name, codec, points, &hasty{rpc, cfg.AttemptTimeout * 3 / 4}); err != nil {
		return nil, nil, fmt.Errorf("connect to the cluster of pd %v: %w", cfg.PD, err)
	}
	return c, forget, nil
}

// patient asks PD where a store is until it answers. Client-go, once it was told nothing, would not ask again for 30 s,
// and would not send to the store either.
type patient struct {
	pd.Client
	life context.Context
}

func (p *patient) GetStore(ctx context.Context, id uint64) (*metapb.Store, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.life, cancel)()
	for {
		s, err := p.Client.GetStore(ctx, id)
		if err == nil || strings.Contains(err.Error(), "not found") || !sleep(ctx, lastWait) {
			return s, err
		}
	}
}

// hasty shortens client-go's 30 s for a request that a healthy store answers in milliseconds. Unlike a passed deadline
// of a context, its time-out makes client-go look whether the store is alive, and else turn to another.
type hasty struct {
	client.Client
	timeout time.Duration
}

func (h *hasty) SendRequest(
	ctx context.Context, addr string, req *tikvrpc.Request, timeout time.Duration,
) (*tikvrpc.Response, error) {
	switch req.Type {
	case tikvrpc.CmdGet, tikvrpc.CmdBatchGet, tikvrpc.CmdScan, tikvrpc.CmdCheckTxnStatus, tikvrpc.CmdCheckSecondaryLocks:
		timeout = min(timeout, h.timeout)
	case tikvrpc.CmdPrewrite:
		timeout = min(timeout, h.timeout+extra(len(req.Prewrite().Mutations)))
	case tikvrpc.CmdCommit:
		timeout = min(timeout, h.timeout+extra(len(req.Commit().Keys)))
	}
	return h.Client.SendRequest(ctx, addr, req, timeout)
}

// reconnect looks for a PD that went away every two seconds. GRPC's default would look every two minutes in the end, and
// a client that cannot read the safe point for 100 s answers no reads.
var reconnect = grpc.WithConnectParams(grpc.ConnectParams{
	Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second},
	MinConnectTimeout: 3 * time.Second,
})

// connectPD connects within ConnectTimeout. PD's client takes a context for as long as it lives; forget ends that.
func connectPD(life context.Context, forget context.CancelFunc, cfg Config, secret *tls.Config) (pd.Client, error) {
	ctx, cancel := context.WithTimeout(context.Background(), cfg.ConnectTimeout)
	defer cancel()
	if err := awaitPD(ctx, cfg, secret); err != nil {
		return nil, fmt.Errorf("no answer from pd: %w", err)
	}
	stop := context.AfterFunc(ctx, forget)
	alive := config.GetGlobalConfig().TiKVClient
	c, err := pd.NewClientWithContext(life, cfg.PD, pd.SecurityOption{CAPath: cfg.CA, CertPath: cfg.Cert, KeyPath: cfg.Key},
		pd.WithGRPCDialOptions(reconnect, grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time:    time.Duration(alive.GrpcKeepAliveTime) * time.Second,
			Timeout: time.Duration(alive.GrpcKeepAliveTimeout) * time.Second,
		})),
		pd.WithCustomTimeoutOption(3*time.Second),
	)
	if stop() && err == nil {
		return c, nil
	}
	if err == nil {
		c.Close()
		err = ctx.Err()
	}
	return nil, fmt.Errorf("connect to pd at %v: %w", cfg.PD, err)
}

// awaitPD returns when one of the addresses answers as PD does, or with what is wrong with each when ctx ends. PD's
// client would keep that to itself, and leave its connections behind.
func awaitPD(ctx context.Context, cfg Config, secret *tls.Config) error {
	var last error // of a round that the end of ctx did not cut short, where there was one: it tells more
	for {
		var wrong []string
		for _, addr := range cfg.PD {
			err := askPD(ctx, cfg, addr, secret)
			if err == nil {
				return nil
			}
			wrong = append(wrong, addr+": "+status.Convert(err).Message())
		}
		if last == nil || ctx.Err() == nil {
			last = errors.New(strings.Join(wrong, "; "))
		}
		if !sleep(ctx, lastWait) {
			return last
		}
	}
}

func askPD(ctx context.Context, cfg Config, addr string, secret *tls.Config) error {
	ctx, cancel := context.WithTimeout(ctx, min(cfg.AttemptTimeout, cfg.ConnectTimeout/2))
	defer cancel()
	transport := insecure.NewCredentials()
	if secret != nil {
		transport = credentials.NewTLS(secret)
	}
	conn, err := grpc.DialContext(ctx, addr, grpc.WithTransportCredentials(transport))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	_, err = pdpb.NewPDClient(conn).GetMembers(ctx, new(pdpb.GetMembersRequest))
	return err
}
