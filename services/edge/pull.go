package edge

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/catena-im/catena/pkg/refusal"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// pull is a request that waits for the history service.
type pull struct {
	id      uint64
	request *imv1.HistoryRequest
	since   time.Time
}

// pull notes a pull. The pulls of a session run one after the other, beside its reading, and the next one waits until
// the client has taken the page before: so a client that does not read holds one page in its outbox and one here.
func (s *session) pull(f *imv1.ClientFrame) error {
	request, err := historyRequest(s.user, f)
	if err != nil {
		return err
	}
	if !s.json {
		request.FrameId = proto.Uint64(f.GetId())
	}
	if err := s.begin(f.GetId()); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.parting != nil || s.ended {
		return nil
	}
	s.pulls = append(s.pulls, pull{f.GetId(), request, time.Now()})
	if !s.pulling {
		if s.pageFree == nil {
			s.pageFree = make(chan struct{}, 1)
		}
		s.pulling = true
		s.start(s.servePulls)
	}
	return nil
}

func (s *session) servePulls() {
	for {
		s.mu.Lock()
		if len(s.pulls) == 0 || s.parting != nil { // then nobody is answered any more
			s.pulling, s.pulls = false, nil
			s.mu.Unlock()
			return
		}
		p := s.pulls[0]
		s.pulls = s.pulls[1:]
		s.mu.Unlock()
		page, err := s.page(p)
		if err != nil {
			s.refuse(p.id, err)
			continue
		}
		s.answerPage(p.id, page)
	}
}

// page asks the history service and returns the answer to the pull, as an entry of the outbox.
func (s *session) page(p pull) ([]byte, error) {
	deadline := p.since.Add(s.edge.cfg.PullTimeout)
	if time.Now().After(deadline) {
		return nil, refusal.New(imv1.ErrorCode_ERROR_CODE_OVERLOADED,
			"the pull waited too long behind the earlier ones of this connection; send it again, and fewer at once")
	}
	ctx, cancel := context.WithDeadline(s.edge.work, deadline)
	defer cancel()
	reply, err := s.edge.history(ctx, p.request)
	if err != nil {
		return nil, err
	}
	return s.encodeReply(p.id, reply)
}

// answerPage queues the answer to a pull when the one before it has left the outbox.
func (s *session) answerPage(id uint64, page []byte) {
	for !s.tryAnswerPage(id, page) {
		<-s.pageFree
	}
}

func (s *session) tryAnswerPage(id uint64, page []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended || s.parting != nil:
		return true
	case s.out.holdsPage():
		return false
	case s.finish(id): // else it was told that it waited too long
		s.out.addPage(page)
		s.startFlush()
	}
	return true
}

// signalPage wakes answerPage. The lock is held.
func (s *session) signalPage() {
	select {
	case s.pageFree <- struct{}{}:
	default: // nil, or told already
	}
}

var errHistoryAway = refusal.New(imv1.ErrorCode_ERROR_CODE_UNAVAILABLE,
	"the history service does not answer; send the request again later").After(time.Second)

// history asks the history service and returns an encoded HistoryReply; errors are for the client.
func (e *Edge) history(ctx context.Context, request *imv1.HistoryRequest) ([]byte, error) {
	select {
	case e.pulls <- struct{}{}:
		defer func() { <-e.pulls }()
	case <-ctx.Done():
		return nil, refusal.New(imv1.ErrorCode_ERROR_CODE_OVERLOADED,
			"more pulls wait than this server serves; send the request again later").After(time.Second)
	}
	payload, err := proto.Marshal(request)
	if err != nil {
		return nil, err
	}
	reply, err := e.deps.Peers.History(ctx, payload)
	if err != nil {
		e.log.Debug("history request", "user", request.GetUserId(), "err", err)
		return nil, errHistoryAway
	}
	return reply, nil
}

// encodeReply makes the answer to a pull, as an entry of the outbox, out of an encoded HistoryReply. A page for a binary
// session comes as such an entry; it is neither decoded nor copied.
func (s *session) encodeReply(id uint64, data []byte) ([]byte, error) {
	if num, typ, n := protowire.ConsumeTag(data); num == fieldReplyFrame && typ == protowire.BytesType {
		if frame, alone := protowire.ConsumeBytes(data[n:]); n+alone == len(data) {
			return frame, nil
		}
	}
	reply := new(imv1.HistoryReply)
	if err := proto.Unmarshal(data, reply); err != nil {
		return nil, fmt.Errorf("history reply: %w", err)
	}
	f := &imv1.ServerFrame{Id: id}
	switch body := reply.GetBody().(type) {
	case *imv1.HistoryReply_ConversationPage:
		f.Body = &imv1.ServerFrame_ConversationPage{ConversationPage: body.ConversationPage}
	case *imv1.HistoryReply_UserPage:
		f.Body = &imv1.ServerFrame_UserPage{UserPage: body.UserPage}
	case *imv1.HistoryReply_ConversationList:
		f.Body = &imv1.ServerFrame_ConversationList{ConversationList: body.ConversationList}
	case *imv1.HistoryReply_Conversation:
		f.Body = &imv1.ServerFrame_Conversation{Conversation: body.Conversation}
	case *imv1.HistoryReply_Error:
		f.Body = &imv1.ServerFrame_Error{Error: body.Error}
	default:
		return nil, errors.New("history reply: holds no answer to a pull")
	}
	frame := s.encode(f)
	return append(entry(len(frame)), frame...), nil
}

// fieldReplyFrame is HistoryReply.frame.
const fieldReplyFrame = 7
