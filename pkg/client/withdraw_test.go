package client

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// expectWithdrawn withdraws a message and compares the doubt.
func expectWithdrawn(t *testing.T, c *Client, m Outgoing, doubt bool) {
	t.Helper()
	if got, err := c.Withdraw(context.Background(), m); err != nil || got != doubt {
		t.Fatalf("withdraw %s: got doubt %v, %v; want %v", m.ClientMessageID, got, err, doubt)
	}
}

func refusal(code imv1.ErrorCode) *imv1.Error { return &imv1.Error{Code: code, Retryable: true} }

func TestWithdrawBeforeTheFirstConnection(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		cfg := f.config()
		cfg.Store = NewMemoryStore()
		c, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		enqueue(t, c, text("bob", "m1"), text("bob", "m2"))
		expectWithdrawn(t, c, Outgoing{To: "bob", ClientMessageID: "m1"}, false)
		for _, m := range []Outgoing{text("bob", "m1"), text("carol", "m2"), {ConversationID: "s:alice:bob", ClientMessageID: "m2"}} {
			if _, err := c.Withdraw(t.Context(), m); !errors.Is(err, ErrNotQueued) {
				t.Errorf("%v: got %v, want ErrNotQueued", m, err)
			}
		}
		if state, err := cfg.Store.Load(t.Context()); err != nil || len(state.Outbox) != 1 || state.Outbox[0].Send.GetClientMessageId() != "m2" {
			t.Errorf("the store has %v, %v", state.Outbox, err)
		}
		f.start(cfg) // what an earlier process queued may have been sent by it
		p := f.login(0)
		p.sent(expectSends(t, p, "m2")[0], 1)
		f.awaitDone(1)
	})
}

func TestWithdrawLetsThoseBehindGoOn(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		cfg := f.config()
		cfg.Window = 2
		c, _ := f.start(cfg)
		enqueue(t, c, text("bob", "m1"), text("bob", "m2"), text("bob", "m3"), text("bob", "m4"))
		waited := make(chan error, 1)
		go func() {
			_, err := c.Send(context.Background(), text("bob", "m1"))
			waited <- err
		}()
		p := f.login(0)
		frames := expectSends(t, p, "m1", "m2<m1")
		expectWithdrawn(t, c, text("bob", "m3"), false) // never sent
		p.fail(frames[0], refusal(imv1.ErrorCode_ERROR_CODE_OVERLOADED))
		p.fail(frames[1], refusal(imv1.ErrorCode_ERROR_CODE_OUT_OF_ORDER))
		frames = expectSends(t, p, "m1", "m2<m1")
		p.fail(frames[0], refusal(imv1.ErrorCode_ERROR_CODE_OVERLOADED))
		p.fail(frames[1], refusal(imv1.ErrorCode_ERROR_CODE_OUT_OF_ORDER))
		frames = expectSends(t, p, "m1", "m2<m1") // both are under way now
		expectWithdrawn(t, c, text("bob", "m1"), true)
		if err := <-waited; !errors.Is(err, ErrWithdrawn) {
			t.Errorf("who waits gets %v, want ErrWithdrawn", err)
		}
		again := expectSends(t, p, "m2", "m4<m2")
		p.sent(frames[0], 1) // it was accepted after all, and nobody is told twice
		p.fail(frames[1], refusal(imv1.ErrorCode_ERROR_CODE_OUT_OF_ORDER))
		p.sent(again[0], 2)
		p.sent(again[1], 3)
		f.awaitDone(2)
		if done := of[SendDone](f.events()); done[0].Outgoing.ClientMessageID != "m2" || done[1].Outgoing.ClientMessageID != "m4" || len(of[SendFailed](f.events())) != 0 {
			t.Errorf("got %v", f.events())
		}
	})
}

func TestWithdrawTellsOfDoubt(t *testing.T) {
	for _, c := range []struct {
		name  string
		meet  func(t *testing.T, f *fake, p *peer) // what becomes of the message before it is withdrawn
		doubt bool
	}{
		{"refused", func(t *testing.T, _ *fake, p *peer) {
			p.fail(expectSends(t, p, "m1")[0], &imv1.Error{Code: imv1.ErrorCode_ERROR_CODE_OVERLOADED, Retryable: true, RetryAfterMs: 60_000})
		}, false},
		{"refused, perhaps", func(t *testing.T, _ *fake, p *peer) {
			p.fail(expectSends(t, p, "m1")[0], &imv1.Error{Code: imv1.ErrorCode_ERROR_CODE_UNAVAILABLE, Retryable: true, RetryAfterMs: 60_000})
		}, true},
		{"unanswered once, then refused", func(t *testing.T, _ *fake, p *peer) {
			p.fail(expectSends(t, p, "m1", "m1")[1], &imv1.Error{Code: imv1.ErrorCode_ERROR_CODE_OVERLOADED, Retryable: true, RetryAfterMs: 60_000})
		}, true},
		{"sent over a connection that was lost", func(t *testing.T, f *fake, p *peer) {
			expectSends(t, p, "m1")
			f.setRefuse(errors.New("no way"))
			p.conn.CloseNow()
			f.await(func(e []Event) bool { return len(of[Disconnected](e)) > 0 })
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, f *fake) {
				client, _ := f.start(f.config())
				enqueue(t, client, text("bob", "m1"))
				p := f.login(0)
				c.meet(t, f, p)
				synctest.Wait()
				expectWithdrawn(t, client, text("bob", "m1"), c.doubt)
			})
		})
	}
}

func TestWithdrawOfAnEarlierProcess(t *testing.T) {
	cfg := Config{URL: "ws://h/ws", Device: "d", Token: func(context.Context) (string, error) { return "", nil }, Store: NewMemoryStore()}
	for _, doubt := range []bool{false, true} {
		c, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if !doubt {
			enqueue(t, c, text("bob", "m1"), text("bob", "m2"))
		}
		expectWithdrawn(t, c, text("bob", map[bool]string{false: "m1", true: "m2"}[doubt]), doubt)
	}
}

type brokenStore struct{ Store }

func (brokenStore) Apply(context.Context, Change) error { return errors.New("disk full") }

func TestWithdrawThatIsNotStored(t *testing.T) {
	store := NewMemoryStore()
	cfg := Config{URL: "ws://h/ws", Device: "d", Token: func(context.Context) (string, error) { return "", nil }, Store: store}
	first, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	enqueue(t, first, text("bob", "m1"))
	cfg.Store = brokenStore{store}
	second, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := second.Withdraw(t.Context(), text("bob", "m1")); err == nil || errors.Is(err, ErrNotQueued) {
		t.Errorf("got %v, want the store's error", err)
	}
}
