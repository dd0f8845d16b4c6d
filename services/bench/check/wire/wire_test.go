package wire

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"

	imv1 "github.com/catena-im/catena/proto/im/v1"
	"github.com/catena-im/catena/services/bench/check/internal/fakeserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func serve(t *testing.T) (*fakeserver.Server, string) {
	server := fakeserver.New("")
	web := httptest.NewServer(server)
	t.Cleanup(web.Close)
	return server, "ws" + strings.TrimPrefix(web.URL, "http")
}

func hello(to string) *imv1.ClientFrame {
	return &imv1.ClientFrame{Body: &imv1.ClientFrame_Send{Send: &imv1.Send{ToUserId: to, ClientMessageId: "m1",
		Type: imv1.MessageType_MESSAGE_TYPE_TEXT, Body: &imv1.Body{Content: &imv1.Body_Text{Text: &imv1.TextBody{Text: "hello"}}}}}}
}

func TestDoIsAnsweredAndPushesAreHeard(t *testing.T) {
	_, url := serve(t)
	pushes := make(chan *imv1.ServerFrame, 16)
	heard := func(f *imv1.ServerFrame) { pushes <- f }
	err := Visit(t.Context(), Config{URL: url, Token: "ann", Device: "d1", Heard: heard}, func(ctx context.Context, s *Session) error {
		answer, err := s.Do(ctx, hello("bob"))
		if err != nil {
			return err
		}
		if got := answer.GetSent(); got.GetConversationId() != "s:ann:bob" || got.GetConversationIndex() != 1 {
			t.Errorf("answered with %v", got)
		}
		if got := (<-pushes).GetPush().GetEntry().GetUserIndex(); got != 1 {
			t.Errorf("pushed user index %d, want 1", got)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestRefusalIsAnError(t *testing.T) {
	_, url := serve(t)
	err := Visit(t.Context(), Config{URL: url, Token: "ann", Device: "d1"}, func(ctx context.Context, s *Session) error {
		_, err := s.Do(ctx, &imv1.ClientFrame{Body: &imv1.ClientFrame_PullConversation{
			PullConversation: &imv1.PullConversation{ConversationId: "g:none"}}})
		return err
	})
	var refusal *Refusal
	if !errors.As(err, &refusal) || refusal.Wire.GetCode() != imv1.ErrorCode_ERROR_CODE_NOT_A_MEMBER {
		t.Errorf("got %v, want a refusal with NOT_A_MEMBER", err)
	}
}

func TestVisitEndsWithTheConnection(t *testing.T) {
	server, url := serve(t)
	err := Visit(t.Context(), Config{URL: url, Token: "ann", Device: "d1"}, func(ctx context.Context, s *Session) error {
		server.Cut()
		<-ctx.Done()
		return context.Cause(ctx)
	})
	if !errors.Is(err, ErrClosed) {
		t.Errorf("got %v, want %v", err, ErrClosed)
	}
}

func TestVisitReportsThatNobodyListens(t *testing.T) {
	web := httptest.NewServer(nil)
	url := "ws" + strings.TrimPrefix(web.URL, "http")
	web.Close()
	err := Visit(t.Context(), Config{URL: url}, func(context.Context, *Session) error { return nil })
	if err == nil {
		t.Error("a visit to nobody succeeds")
	}
}
