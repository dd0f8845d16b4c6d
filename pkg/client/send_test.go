package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	imv1 "github.com/catena-im/catena/proto/im/v1"
)

func enqueue(t *testing.T, c *Client, messages ...Outgoing) {
	t.Helper()
	for _, m := range messages {
		if _, err := c.Enqueue(context.Background(), m); err != nil {
			t.Fatal(err)
		}
	}
}

// expectSends takes the next frames, which must be these messages, written "id" or "id<after".
func expectSends(t *testing.T, p *peer, want ...string) (frames []*imv1.ClientFrame) {
	t.Helper()
	for _, w := range want {
		f := p.next()
		got := f.GetSend().GetClientMessageId()
		if after := f.GetSend().GetAfter(); after != "" {
			got += "<" + after
		}
		if got != w {
			t.Fatalf("got %s (%v), want %s", got, f, w)
		}
		frames = append(frames, f)
	}
	return frames
}

func (f *fake) awaitDone(n int) {
	f.t.Helper()
	f.await(func(e []Event) bool { return len(of[SendDone](e)) == n })
}

func TestWindowAndAfter(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		cfg := f.config()
		cfg.Window = 2
		c, _ := f.start(cfg)
		enqueue(t, c, text("bob", "m1"), text("bob", "m2"), text("bob", "m3"))
		p := f.login(0)
		frames := expectSends(t, p, "m1", "m2<m1")
		p.sent(frames[0], 1)
		frames = append(frames, expectSends(t, p, "m3<m2")...)
		p.sent(frames[1], 2)
		p.sent(frames[2], 3)
		f.awaitDone(3)
	})
}

func TestLostAnswerIsAskedForAgain(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c, _ := f.start(f.config())
		enqueue(t, c, text("bob", "m1"), text("bob", "m2"))
		p := f.login(0)
		expectSends(t, p, "m1", "m2<m1")
		frames := expectSends(t, p, "m1", "m2<m1")
		p.sent(frames[0], 1)
		p.sent(frames[1], 2)
		f.awaitDone(2)
	})
}

func TestNoAnswersCallForAnotherConnection(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c, _ := f.start(f.config())
		enqueue(t, c, text("bob", "m1"))
		p := f.login(0)
		expectSends(t, p, "m1", "m1", "m1")
		go func() { // the heartbeats are answered all the while
			for frame := range p.in {
				p.answer(frame, &imv1.ServerFrame{Body: &imv1.ServerFrame_Pong{Pong: &imv1.Pong{}}})
			}
		}()
		p = f.login(0)
		p.sent(expectSends(t, p, "m1")[0], 1)
		f.awaitDone(1)
		if lost := of[Disconnected](f.events()); len(lost) != 1 || !errors.Is(lost[0].Err, errNoAnswer) {
			t.Errorf("got %v", lost)
		}
	})
}

func TestReconnectSendsAgainInOrder(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c, _ := f.start(f.config())
		enqueue(t, c, text("bob", "m1"), text("bob", "m2"), text("bob", "m3"))
		p := f.login(0)
		frames := expectSends(t, p, "m1", "m2<m1", "m3<m2")
		p.sent(frames[0], 1)
		f.awaitDone(1)
		p.conn.CloseNow()
		p = f.login(0)
		for i, frame := range expectSends(t, p, "m2", "m3<m2") {
			p.sent(frame, uint64(i+2))
		}
		f.awaitDone(3)
	})
}

func TestRefusals(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c, _ := f.start(f.config())
		enqueue(t, c, text("bob", "m1"), text("bob", "m2"), text("bob", "m3"))
		p := f.login(0)
		frames := expectSends(t, p, "m1", "m2<m1", "m3<m2")
		outOfOrder := &imv1.Error{Code: imv1.ErrorCode_ERROR_CODE_OUT_OF_ORDER, Retryable: true}
		p.fail(frames[1], outOfOrder)
		p.fail(frames[2], outOfOrder)
		frames = expectSends(t, p, "m1", "m2<m1", "m3<m2")
		p.fail(frames[0], &imv1.Error{Code: imv1.ErrorCode_ERROR_CODE_UNAVAILABLE, Retryable: true, RetryAfterMs: 60_000})
		refused := time.Now()
		frames = expectSends(t, p, "m1", "m2<m1", "m3<m2")
		if waited := time.Since(refused); waited < time.Minute {
			t.Errorf("waited %v of the minute that the server asked for", waited)
		}
		p.fail(frames[1], &imv1.Error{Code: imv1.ErrorCode_ERROR_CODE_INVALID_BODY, Text: "no"})
		p.fail(frames[2], outOfOrder)
		frames = append(frames[:1], expectSends(t, p, "m3<m1")...)
		p.sent(frames[0], 1)
		p.sent(frames[1], 2)
		f.awaitDone(2)
		failed := of[SendFailed](f.events())
		var e *Error
		if len(failed) != 1 || failed[0].Outgoing.ClientMessageID != "m2" ||
			!errors.As(failed[0].Err, &e) || e.Code != imv1.ErrorCode_ERROR_CODE_INVALID_BODY {
			t.Errorf("got %v", failed)
		}
	})
}

func TestErrorsOfTheConnectionDoNotJudgeTheMessage(t *testing.T) {
	for _, c := range []imv1.ErrorCode{
		imv1.ErrorCode_ERROR_CODE_UNAUTHENTICATED, imv1.ErrorCode_ERROR_CODE_TOKEN_EXPIRED, imv1.ErrorCode_ERROR_CODE_GOING_AWAY,
	} {
		bubble(t, func(t *testing.T, f *fake) {
			client, _ := f.start(f.config())
			enqueue(t, client, text("bob", "m1"))
			p := f.login(0)
			p.fail(p.next(), &imv1.Error{Code: c})
			p.gone()
			p = f.login(0)
			p.sent(p.next(), 1)
			f.awaitDone(1)
		})
	}
}

func TestResultsThatNobodyTookPauseSending(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		const n = maxResults + 100
		cfg := f.config()
		open, record := make(chan struct{}), cfg.OnEvent
		cfg.OnEvent = func(e Event) { <-open; record(e) }
		c, _ := f.start(cfg)
		for i := range n {
			enqueue(t, c, text("bob", fmt.Sprint("m", i)))
		}
		p := f.login(0)
		answered := 0
		for synctest.Wait(); len(p.in) > 0; synctest.Wait() {
			p.sent(p.next(), 1)
			answered++
		}
		if answered != maxResults {
			t.Errorf("%d messages were sent, want %d", answered, maxResults)
		}
		close(open)
		for range n - answered {
			p.sent(p.next(), 1)
		}
		f.awaitDone(n)
	})
}

func TestJoinedFramesKeepTheLimit(t *testing.T) {
	s := &session{codec: &binaryCodec, limits: &imv1.Limits{FrameBytes: 100}, out: make(chan []byte, 200)}
	for range 150 {
		s.out <- make([]byte, 40)
	}
	message, rest := s.gather(<-s.out)
	if len(message) != 2*42 || len(rest) != 40 {
		t.Errorf("got %d bytes and a rest of %d", len(message), len(rest))
	}
	s.limits.FrameBytes = 1 << 20
	if message, rest = s.gather(rest); len(message) != maxJoined*42 || rest != nil {
		t.Errorf("got %d bytes and a rest of %d, want %d frames", len(message), len(rest), maxJoined)
	}
	s.codec = &jsonCodec
	if message, rest = s.gather(<-s.out); len(message) != 40 || rest != nil {
		t.Errorf("got %d bytes and a rest of %d, want one frame", len(message), len(rest))
	}
}

func TestRestartSendsTheStoredOutbox(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		cfg := f.config()
		cfg.Store = NewMemoryStore()
		first, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		enqueue(t, first, text("bob", "m1"), text("bob", "m2")) // Run never runs

		second, stop := f.start(cfg)
		p := f.login(0)
		frames := expectSends(t, p, "m1", "m2<m1")
		enqueue(t, second, text("bob", "m3"))
		expectSends(t, p, "m3<m2")
		p.sent(frames[0], 1)
		f.awaitDone(1)
		stop()

		f.start(cfg)
		expectSends(t, f.login(0), "m2", "m3<m2")
	})
}

func TestTheSameMessageAgainIsOne(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c, _ := f.start(f.config())
		p := f.login(0)
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		enqueue(t, c, text("bob", "m1"))
		if _, err := c.Send(ended, text("bob", "m1")); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		frame := expectSends(t, p, "m1")[0]
		done := make(chan *imv1.Sent)
		go func() {
			sent, err := c.Send(context.Background(), text("bob", "m1"))
			if err != nil {
				t.Error(err)
			}
			done <- sent
		}()
		synctest.Wait() // until it waits
		p.sent(frame, 1)
		if sent := <-done; sent.GetConversationIndex() != 1 {
			t.Errorf("got %v", sent)
		}
		f.awaitDone(1)
	})
}

func TestOutboxIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		cfg := f.config()
		cfg.MaxQueued = 2
		c, _ := f.start(cfg)
		enqueue(t, c, text("bob", "m1"), text("bob", "m2"))
		if _, err := c.Enqueue(context.Background(), text("bob", "m3")); !errors.Is(err, ErrOutboxFull) {
			t.Errorf("got %v, want ErrOutboxFull", err)
		}
		p := f.login(0)
		p.sent(expectSends(t, p, "m1")[0], 1)
		f.awaitDone(1)
		enqueue(t, c, text("bob", "m3"))
	})
}

func TestPendingRequestsStayWithinTheServersLimit(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c, _ := f.start(f.config())
		for i := range 20 {
			enqueue(t, c, text(fmt.Sprintf("user%d", i), fmt.Sprintf("m%d", i)))
		}
		p := f.loginWith(&imv1.Connected{UserId: "alice", Head: &imv1.Head{}, Limits: &imv1.Limits{PendingRequests: 5}})
		var waiting []*imv1.ClientFrame
		for range 3 {
			waiting = append(waiting, p.next())
		}
		for i := range 20 {
			if synctest.Wait(); len(p.in) > 0 {
				t.Fatalf("%d requests wait for an answer", len(waiting)+len(p.in))
			}
			p.sent(waiting[0], 1)
			if waiting = waiting[1:]; i < 17 {
				waiting = append(waiting, p.next())
			}
		}
		f.awaitDone(20)
	})
}

func TestWhatNeverFitsIsRefusedHere(t *testing.T) {
	for _, json := range []bool{false, true} {
		bubble(t, func(t *testing.T, f *fake) {
			cfg := f.config()
			cfg.JSON = json
			c, _ := f.start(cfg)
			kind, body := TextBody(strings.Repeat("x", 2000))
			enqueue(t, c, Outgoing{To: "bob", ClientMessageID: "m1", Type: kind, Body: body}, text("bob", "m2"))
			p := f.loginWith(&imv1.Connected{UserId: "alice", Head: &imv1.Head{}, Limits: &imv1.Limits{FrameBytes: 1000}})
			p.sent(expectSends(t, p, "m2")[0], 1)
			f.awaitDone(1)
			failed := of[SendFailed](f.events())
			var e *Error
			if len(failed) != 1 || !errors.As(failed[0].Err, &e) || e.Code != imv1.ErrorCode_ERROR_CODE_FRAME_TOO_LARGE {
				t.Errorf("got %v", failed)
			}
		})
	}
}

func TestMessagesThatCannotBeSent(t *testing.T) {
	cfg := (&fake{}).config()
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	_, body := TextBody("hello")
	_, broken := TextBody("\xff")
	for name, m := range map[string]Outgoing{
		"nowhere":      {Body: body},
		"two places":   {ConversationID: "g:x", To: "bob", Body: body},
		"no body":      {To: "bob"},
		"broken UTF-8": {To: "bob", Body: broken},
	} {
		if _, err := c.Enqueue(context.Background(), m); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
