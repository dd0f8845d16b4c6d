package edge

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/catena-im/catena/pkg/im"
	"github.com/catena-im/catena/pkg/refusal"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

func singlePartition(a, b string, n int) int {
	return im.Partition(im.Single(im.UserID(a), im.UserID(b)), n)
}

// pages answers each kind of pull.
func pages(_ context.Context, r *imv1.HistoryRequest) (*imv1.HistoryReply, error) {
	switch r.GetBody().(type) {
	case *imv1.HistoryRequest_GetHead:
		return headReply(0), nil
	case *imv1.HistoryRequest_PullConversation:
		return &imv1.HistoryReply{Body: &imv1.HistoryReply_ConversationPage{ConversationPage: &imv1.ConversationPage{
			ConversationId: r.GetPullConversation().GetConversationId(), Messages: []*imv1.Message{textMessage(r.GetUserId())}}}}, nil
	case *imv1.HistoryRequest_PullUser:
		return &imv1.HistoryReply{Body: &imv1.HistoryReply_UserPage{UserPage: &imv1.UserPage{HasMore: true}}}, nil
	case *imv1.HistoryRequest_ListConversations:
		return &imv1.HistoryReply{Body: &imv1.HistoryReply_ConversationList{ConversationList: &imv1.ConversationList{NextPageToken: "n"}}}, nil
	}
	return &imv1.HistoryReply{Body: &imv1.HistoryReply_Error{Error: refusal.New(imv1.ErrorCode_ERROR_CODE_NOT_A_MEMBER, "you are not in it, ask to be added").Wire()}}, nil
}

func pullUser() *imv1.ClientFrame {
	return &imv1.ClientFrame{Body: &imv1.ClientFrame_PullUser{PullUser: &imv1.PullUser{}}}
}

func TestPullsAreAnswered(t *testing.T) {
	for _, plain := range []bool{false, true} {
		t.Run(fmt.Sprintf("plain %t", plain), func(t *testing.T) { testPulls(t, plain) })
	}
}

func testPulls(t *testing.T, plain bool) {
	w := newWorld(t)
	w.history, w.plain = pages, plain
	s := serve(t, w, Config{})
	for _, protocol := range []string{protocolBinary, protocolJSON} {
		p := s.dial(t, protocol)
		p.connect("alice", protocol[7:9])
		f := p.ask(&imv1.ClientFrame{Body: &imv1.ClientFrame_PullConversation{PullConversation: &imv1.PullConversation{ConversationId: group}}})
		want := &imv1.ConversationPage{ConversationId: group, Messages: []*imv1.Message{textMessage("alice")}}
		if !proto.Equal(f.GetConversationPage(), want) {
			t.Errorf("got %v", f)
		}
		if f := p.ask(pullUser()); !f.GetUserPage().GetHasMore() {
			t.Errorf("got %v", f)
		}
		if f := p.ask(&imv1.ClientFrame{Body: &imv1.ClientFrame_ListConversations{ListConversations: &imv1.ListConversations{}}}); f.GetConversationList().GetNextPageToken() != "n" {
			t.Errorf("got %v", f)
		}
		wantRefused(t, p.ask(&imv1.ClientFrame{Body: &imv1.ClientFrame_GetConversation{GetConversation: &imv1.GetConversation{ConversationId: group}}}), notAMember)
		p.ping()
	}
}

func TestPullsDoNotHoldUpOtherRequests(t *testing.T) {
	w := newWorld(t)
	release := make(chan struct{})
	var pulled atomic.Int32
	w.history = func(ctx context.Context, r *imv1.HistoryRequest) (*imv1.HistoryReply, error) {
		if r.GetGetHead() == nil {
			pulled.Add(1)
			<-release
		}
		return pages(ctx, r)
	}
	s := serve(t, w, Config{})
	p := s.login(t, "alice", "d")
	first, second := p.send(pullUser()), p.send(pullUser())
	p.ping()
	eventually(t, "the first pull runs", func() bool { return pulled.Load() == 1 })
	close(release)
	p.await(first)
	p.await(second)
}

func TestHistoryAwayIsUnavailable(t *testing.T) {
	w := newWorld(t)
	w.history = func(ctx context.Context, r *imv1.HistoryRequest) (*imv1.HistoryReply, error) {
		if r.GetGetHead() == nil {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return pages(ctx, r)
	}
	s := serve(t, w, Config{PullTimeout: 50 * time.Millisecond})
	p := s.login(t, "alice", "d")
	first, second := p.send(pullUser()), p.send(pullUser())
	wantRefused(t, p.await(first), imv1.ErrorCode_ERROR_CODE_UNAVAILABLE)
	if f := p.await(second); !f.GetError().GetRetryable() {
		t.Errorf("got %v, want it refused and retryable", f)
	}
	p.ping()
}

func TestPullsBeyondTheEdgesBoundAreOverloaded(t *testing.T) {
	w := newWorld(t)
	release := make(chan struct{})
	var pulled atomic.Int32
	w.history = func(ctx context.Context, r *imv1.HistoryRequest) (*imv1.HistoryReply, error) {
		if r.GetGetHead() == nil && pulled.Add(1) == 1 {
			<-release
		}
		return pages(ctx, r)
	}
	s := serve(t, w, Config{Pulls: 1, PullTimeout: 100 * time.Millisecond})
	p, q := s.login(t, "alice", "d"), s.login(t, "bob", "d")
	id := p.send(pullUser())
	eventually(t, "the first pull runs", func() bool { return pulled.Load() == 1 })
	wantRefused(t, q.ask(pullUser()), imv1.ErrorCode_ERROR_CODE_OVERLOADED)
	close(release)
	p.await(id)
}

func TestNonsenseOfTheHistoryServiceIsInternal(t *testing.T) {
	w := newWorld(t)
	w.history = func(_ context.Context, r *imv1.HistoryRequest) (*imv1.HistoryReply, error) {
		if r.GetGetHead() == nil {
			return &imv1.HistoryReply{}, nil
		}
		return headReply(0), nil
	}
	s := serve(t, w, Config{})
	wantRefused(t, s.login(t, "alice", "d").ask(pullUser()), imv1.ErrorCode_ERROR_CODE_INTERNAL)
}

func TestPagesLargerThanTheQueueArriveOneByOne(t *testing.T) {
	const page = 64 << 10
	w := newWorld(t)
	var s *server
	var most atomic.Int64 // bytes in the outbox
	w.history = func(ctx context.Context, r *imv1.HistoryRequest) (*imv1.HistoryReply, error) {
		if r.GetGetHead() != nil {
			return pages(ctx, r)
		}
		session := s.edge.session(1)
		session.mu.Lock()
		most.Store(max(most.Load(), int64(len(session.out.waiting)+session.out.flight)))
		session.mu.Unlock()
		return &imv1.HistoryReply{Body: &imv1.HistoryReply_ConversationPage{ConversationPage: &imv1.ConversationPage{
			Messages: []*imv1.Message{textMessage(strings.Repeat("x", page))}}}}, nil
	}
	s = serve(t, w, Config{QueueBytes: 16 << 10})
	p := s.login(t, "alice", "d")
	tightBuffers(t, s.edge.session(1))
	var ids []uint64
	for range 20 {
		ids = append(ids, p.send(pullUser()))
	}
	for i, id := range ids {
		if f := p.await(id); f.GetConversationPage() == nil {
			t.Fatalf("pull %d: got %v", i, f)
		}
	}
	if most.Load() > page*3/2 {
		t.Errorf("the outbox held %d bytes, want one page at most", most.Load())
	}
	p.ping()
}

// A pull whose page waits for room does not outlive the wish to answer it, and those behind it are not served.
func TestCutOffEndsThePullsThatWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var asked atomic.Int32
		w.history = func(ctx context.Context, r *imv1.HistoryRequest) (*imv1.HistoryReply, error) {
			asked.Add(1)
			return pages(ctx, r)
		}
		e := &Edge{cfg: Config{}.withDefaults(), deps: Deps{Peers: w}, pulls: make(chan struct{}, 1), work: t.Context()}
		e.metrics, _ = newMetrics(nil)
		conn, client := net.Pipe()
		defer client.Close()
		defer conn.Close()
		s := &session{edge: e, stage: joined, flushing: true, pageFree: make(chan struct{}, 1), link: &link{Conn: conn}}
		s.out.addPage([]byte("the page that the client does not read"))
		for id := range uint64(2) {
			s.pending = append(s.pending, pending{id: id + 1})
			s.pulls = append(s.pulls, pull{id + 1, &imv1.HistoryRequest{Body: &imv1.HistoryRequest_PullUser{PullUser: &imv1.PullUser{}}}, time.Now()})
		}
		s.pulling = true
		s.start(s.servePulls)
		synctest.Wait()
		s.mu.Lock()
		s.cutOff()
		s.mu.Unlock()
		s.tasks.Wait() // for ever, unless the page is let go
		if asked.Load() != 1 {
			t.Errorf("%d pulls were served for a client that is cut off", asked.Load())
		}
	})
}
