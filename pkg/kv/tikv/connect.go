package tikv

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pingcap/kvproto/pkg/pdpb"
	"github.com/tikv/client-go/v2/config"
	tkv "github.com/tikv/client-go/v2/kv"
	client "github.com/tikv/client-go/v2/tikv"
	"github.com/tikv/client-go/v2/tikvrpc"
	"github.com/tikv/client-go/v2/util"
	pd "github.com/tikv/pd/client"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

// tune sets what client-go keeps for the whole process. By default a transaction above 16 KiB is never committed in one
// phase, and one above 256 keys or 4 KiB of keys never with async commit.
func tune(security config.Security) {
	tkv.TxnCommitBatchSize.Store(entryBytes)
	config.UpdateGlobal(func(c *config.Config) {
		c.TiKVClient.AsyncCommit.KeysLimit = 4096
		c.TiKVClient.AsyncCommit.TotalKeySizeLimit = 256 << 10
		c.TiKVClient.GrpcConnectionCount = 4
		c.Security = security
	})
}

// connect makes the parts that client-go's NewClient makes, which leaves them running when one fails, and has no say in
// the log of etcd's client. after ends what the Close of the result leaves.
func connect(cfg Config) (c *client.KVStore, after func(), err error) {
	var undo []func()
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
	placement, forget, err := connectPD(cfg, secret)
	if err != nil {
		return nil, nil, err
	}
	undo = append(undo, forget, placement.Close)
	points, err := newSafePoints(cfg, secret, logger)
	if err != nil {
		return nil, nil, err
	}
	undo = append(undo, func() { _ = points.Close() })
	codec := client.NewCodecPDClient(client.ModeTxn, util.InterceptedPDClient{Client: placement})
	rpc := client.NewRPCClient(client.WithSecurity(security), client.WithCodec(codec.GetCodec()))
	undo = append(undo, func() { _ = rpc.Close() })
	name := fmt.Sprintf("tikv-%d", placement.GetClusterID(context.Background()))
	if c, err = client.NewKVStore(name, codec, points, &hasty{rpc, cfg.AttemptTimeout * 3 / 4}); err != nil {
		return nil, nil, fmt.Errorf("connect to the cluster of pd %v: %w", cfg.PD, err)
	}
	return c, forget, nil
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
	case tikvrpc.CmdGet, tikvrpc.CmdBatchGet, tikvrpc.CmdScan, tikvrpc.CmdPrewrite, tikvrpc.CmdCommit,
		tikvrpc.CmdCheckTxnStatus, tikvrpc.CmdCheckSecondaryLocks:
		timeout = min(timeout, h.timeout)
	}
	return h.Client.SendRequest(ctx, addr, req, timeout)
}

// connectPD connects within ConnectTimeout. PD's client takes a context for as long as it lives; forget ends it.
func connectPD(cfg Config, secret *tls.Config) (c pd.Client, forget context.CancelFunc, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), cfg.ConnectTimeout)
	defer cancel()
	if err := awaitPD(ctx, cfg, secret); err != nil {
		return nil, nil, fmt.Errorf("no answer from pd: %w", err)
	}
	life, forget := context.WithCancel(context.Background())
	stop := context.AfterFunc(ctx, forget)
	alive := config.GetGlobalConfig().TiKVClient
	c, err = pd.NewClientWithContext(life, cfg.PD, pd.SecurityOption{CAPath: cfg.CA, CertPath: cfg.Cert, KeyPath: cfg.Key},
		pd.WithGRPCDialOptions(grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time:    time.Duration(alive.GrpcKeepAliveTime) * time.Second,
			Timeout: time.Duration(alive.GrpcKeepAliveTimeout) * time.Second,
		})),
		pd.WithCustomTimeoutOption(3*time.Second),
	)
	if stop() && err == nil {
		return c, forget, nil
	}
	forget()
	if err == nil {
		c.Close()
		err = ctx.Err()
	}
	return nil, nil, fmt.Errorf("connect to pd at %v: %w", cfg.PD, err)
}

// awaitPD returns when one of the addresses answers as PD does, or with what is wrong with each when ctx ends. PD's
// client would keep that to itself, and leave its connections behind.
func awaitPD(ctx context.Context, cfg Config, secret *tls.Config) error {
	for {
		var wrong []string
		for _, addr := range cfg.PD {
			err := askPD(ctx, cfg, addr, secret)
			if err == nil {
				return nil
			}
			wrong = append(wrong, addr+": "+status.Convert(err).Message())
		}
		if !sleep(ctx, lastWait) {
			return errors.New(strings.Join(wrong, "; "))
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
	defer conn.Close()
	_, err = pdpb.NewPDClient(conn).GetMembers(ctx, new(pdpb.GetMembersRequest))
	return err
}
