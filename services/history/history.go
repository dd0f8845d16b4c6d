// Package history answers pulls: pages of both chains, the conversation list with unread counts, and conversations. It
// reads snapshots of the store for users that an edge has authenticated, and is the one place that decides what a pull
// shows: nobody gets, counts or is told of a message that they may not see. It writes nothing.
package history

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/catena-im/catena/pkg/bus"
	"github.com/catena-im/catena/pkg/chain"
	"github.com/catena-im/catena/pkg/im"
	"github.com/catena-im/catena/pkg/kv"
	"github.com/catena-im/catena/pkg/refusal"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// Config is what the service needs to know.
type Config struct {
	Layout  chain.Layout
	Workers int           // pulls served at once; 0: 16
	Timeout time.Duration // of one pull; 0: 4 s
	Scan    int           // entries that are looked at for one page; 0: 20,000, which proto/README.md tells
}

// Server makes a request endpoint; *bus.Bus is one.
type Server interface {
	Serve(bus.ServiceConfig) (stop func(), err error)
}

// Deps is what the service works with.
type Deps struct {
	Store kv.Store
	Bus   Server
	Log   *slog.Logger
	// Serving is told when pulls are answered; may be nil.
	Serving func()
}

// Service answers pulls.
type Service struct {
	cfg   Config
	deps  Deps
	pages sync.Pool // of *page: what they hold grows to some 600 KB at most
}

// New fills in the defaults.
func New(cfg Config, deps Deps) (*Service, error) {
	if cfg.Workers == 0 {
		cfg.Workers = 16
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 4 * time.Second
	}
	if cfg.Scan == 0 {
		cfg.Scan = 20_000
	}
	return &Service{cfg: cfg, deps: deps, pages: sync.Pool{New: func() any { return new(page) }}}, nil
}

// Run serves until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	stop, err := s.deps.Bus.Serve(bus.ServiceConfig{
		Name: "history", Version: "1.0.0", Endpoint: "pull", Subject: bus.HistorySubject(),
		Workers: s.cfg.Workers, Handler: s.handle,
	})
	if err != nil {
		return err
	}
	if s.deps.Serving != nil {
		s.deps.Serving()
	}
	<-ctx.Done()
	stop()
	return nil
}

// handle answers one encoded HistoryRequest with an encoded HistoryReply, which lies in a page that is used again.
func (s *Service) handle(ctx context.Context, data []byte, reply func([]byte)) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	p := s.pages.Get().(*page)
	defer s.pages.Put(p)
	req := new(imv1.HistoryRequest)
	var answer []byte
	err := proto.Unmarshal(data, req)
	if err == nil {
		answer, err = s.pull(ctx, req, p)
	}
	if err != nil {
		answer, err = errorReply(s.refuse(ctx, err))
	}
	if err != nil {
		s.deps.Log.Error("reply not encoded", "err", err)
	}
	reply(answer)
}

// refuse is err as the client gets it; what is a fault of the server's is logged.
func (s *Service) refuse(ctx context.Context, err error) *imv1.Error {
	switch {
	case ctx.Err() != nil:
		err = refusal.New(imv1.ErrorCode_ERROR_CODE_UNAVAILABLE, "the pull took too long; ask for a smaller page or try again")
	case errors.Is(err, kv.ErrUnavailable), errors.Is(err, kv.ErrExpired):
		s.deps.Log.Warn("pull not answered", "err", err)
		err = refusal.New(imv1.ErrorCode_ERROR_CODE_UNAVAILABLE, "the store did not answer in time; try again later")
	}
	wire := refusal.Of(err)
	if wire.GetCode() == imv1.ErrorCode_ERROR_CODE_INTERNAL {
		s.deps.Log.Error("pull not answered", "err", err)
	}
	return wire
}

// pull answers req with an encoded HistoryReply, perhaps in p, or with an error that holds a refusal when the client is to
// blame.
func (s *Service) pull(ctx context.Context, req *imv1.HistoryRequest, p *page) ([]byte, error) {
	snap, err := s.deps.Store.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	defer snap.Release()
	p.frame = req.FrameId
	v := &view{chain.NewReader(s.cfg.Layout, snap), im.UserID(req.GetUserId()), p, s.cfg.Scan, s.cfg.Timeout / 2}
	reply := new(imv1.HistoryReply)
	switch b := req.GetBody().(type) {
	case *imv1.HistoryRequest_PullConversation:
		return v.conversationPage(ctx, b.PullConversation)
	case *imv1.HistoryRequest_PullUser:
		return v.userPage(ctx, b.PullUser)
	case *imv1.HistoryRequest_ListConversations:
		return v.list(ctx, b.ListConversations)
	case *imv1.HistoryRequest_GetConversation:
		c, err := v.conversation(ctx, b.GetConversation)
		if err != nil {
			return nil, err
		}
		reply.Body = &imv1.HistoryReply_Conversation{Conversation: c}
	case *imv1.HistoryRequest_GetHead:
		h, err := v.r.UserHead(ctx, v.user)
		if err != nil {
			return nil, err
		}
		reply.Body = &imv1.HistoryReply_Head{Head: chain.HeadOf(h)}
	default:
		return nil, refusal.New(imv1.ErrorCode_ERROR_CODE_UNKNOWN_TYPE, "this server does not know the request; a newer one may")
	}
	return proto.Marshal(reply)
}

// view is the store as one user may see it, for one answer.
type view struct {
	r    *chain.Reader
	user im.UserID
	page *page
	most int           // entries that are looked at
	time time.Duration // how long that goes on
}
