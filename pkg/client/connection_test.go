package client

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	imv1 "github.com/catena-im/catena/proto/im/v1"
	"github.com/coder/websocket"
)

// refuseConnect answers the Connect of the next connection with an error and returns it.
func (f *fake) refuseConnect(e *imv1.Error) *imv1.Connect {
	f.t.Helper()
	p := f.accept()
	frame := p.next()
	p.fail(frame, e)
	p.gone()
	return frame.GetConnect()
}

func code(err error) imv1.ErrorCode {
	var e *Error
	errors.As(err, &e)
	if e == nil {
		return imv1.ErrorCode_ERROR_CODE_UNSPECIFIED
	}
	return e.Code
}

func TestConnectTellsWhoAndWhere(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		cfg := f.config()
		cfg.Platform, cfg.Heartbeat = "cli", 5*time.Second
		cfg.Store = NewMemoryStore()
		cfg.Store.Apply(t.Context(), Change{User: "alice", Position: 4})
		c, _ := f.start(cfg)
		p := f.accept()
		frame := p.next()
		got := frame.GetConnect()
		if got.GetToken() != "token a" || got.GetDeviceId() != "phone" || got.GetPlatform() != "cli" ||
			got.GetLastUserIndex() != 4 || got.GetHeartbeatMs() != 5000 {
			t.Errorf("got %v", got)
		}
		// Pushes may come before the answer.
		p.push(5)
		p.answer(frame, &imv1.ServerFrame{Body: &imv1.ServerFrame_Connected{Connected: &imv1.Connected{
			SessionId: "s1", UserId: "alice", Head: &imv1.Head{UserIndex: 4},
		}}})
		if err := c.Ready(t.Context()); err != nil {
			t.Error(err)
		}
		f.await(told(1))
		events := f.events()
		if first, ok := events[0].(Connected); !ok || first.Session != "s1" || first.User != "alice" {
			t.Errorf("got %v", events)
		}
	})
}

func TestRefusedTokenIsRefreshedOnce(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		_, stop := f.start(f.config())
		expired := &imv1.Error{Code: imv1.ErrorCode_ERROR_CODE_TOKEN_EXPIRED, Retryable: true}
		f.refuseConnect(expired)
		p := f.login(0)
		p.send(&imv1.ServerFrame{Body: &imv1.ServerFrame_Error{Error: expired}})
		p.gone()
		f.refuseConnect(expired)
		if got := f.refuseConnect(expired).GetToken(); got != "token d" {
			t.Errorf("got %s, want a fresh one", got)
		}
		f.await(func(e []Event) bool { return len(of[Disconnected](e)) == 4 })
		if err := stop(); code(err) != imv1.ErrorCode_ERROR_CODE_TOKEN_EXPIRED {
			t.Errorf("run returned %v", err)
		}
	})
}

func TestEndsThatAreFinal(t *testing.T) {
	for _, tc := range []struct {
		name string
		play func(f *fake)
		want imv1.ErrorCode
	}{
		{"closed with 4401 twice", func(f *fake) {
			for range 2 {
				f.accept().conn.Close(4401, "no token")
			}
		}, imv1.ErrorCode_ERROR_CODE_TOKEN_INVALID},
		{"closed with 4409", func(f *fake) { f.login(0).conn.Close(4409, "replaced") }, imv1.ErrorCode_ERROR_CODE_SESSION_REPLACED},
		{"session replaced", func(f *fake) {
			f.login(0).send(&imv1.ServerFrame{Body: &imv1.ServerFrame_Error{
				Error: &imv1.Error{Code: imv1.ErrorCode_ERROR_CODE_SESSION_REPLACED},
			}})
		}, imv1.ErrorCode_ERROR_CODE_SESSION_REPLACED},
		{"the server speaks something else", func(f *fake) {
			<-f.conns
		}, imv1.ErrorCode_ERROR_CODE_UNSUPPORTED_VERSION},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, f *fake) {
				if tc.want == imv1.ErrorCode_ERROR_CODE_UNSUPPORTED_VERSION {
					f.protocols = []string{"catena.v2"}
				}
				c, stop := f.start(f.config())
				tc.play(f)
				<-c.stopped
				if err := stop(); code(err) != tc.want {
					t.Errorf("run returned %v, want %v", err, tc.want)
				}
				if err := c.Ready(t.Context()); !errors.Is(err, ErrStopped) || code(err) != tc.want {
					t.Errorf("ready: got %v", err)
				}
				if _, err := c.Send(t.Context(), text("bob", "m1")); !errors.Is(err, ErrStopped) {
					t.Errorf("send: got %v", err)
				}
				if _, err := c.MarkRead(t.Context(), "g:x", 1); !errors.Is(err, ErrStopped) {
					t.Errorf("mark read: got %v", err)
				}
			})
		})
	}
}

func TestStoreOfAnotherUser(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		cfg := f.config()
		cfg.Store = NewMemoryStore()
		cfg.Store.Apply(t.Context(), Change{User: "bob"})
		c, stop := f.start(cfg)
		f.login(0)
		<-c.stopped
		if err := stop(); !errors.Is(err, ErrOtherUser) {
			t.Errorf("run returned %v", err)
		}
	})
}

func TestServerThatLostItsData(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		cfg := f.config()
		cfg.Store = NewMemoryStore()
		cfg.Store.Apply(t.Context(), Change{User: "alice", Position: 9})
		c, stop := f.start(cfg)
		f.login(3)
		f.login(3)
		<-c.stopped
		if err := stop(); !errors.Is(err, ErrChainWentBack) {
			t.Errorf("run returned %v", err)
		}
	})
}

func TestUnreachableServerIsTriedAgain(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		f.setRefuse(errors.New("nobody listens"))
		c, _ := f.start(f.config())
		f.await(func(e []Event) bool { return len(of[Disconnected](e)) == 5 })
		f.setRefuse(nil)
		f.login(0)
		if err := c.Ready(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestHTTPAnswers(t *testing.T) {
	for _, tc := range []struct {
		name, body string
		status     int
		want       imv1.ErrorCode
		final      bool
	}{
		{"no place", "later", http.StatusServiceUnavailable, imv1.ErrorCode_ERROR_CODE_UNAVAILABLE, false},
		{"a proxy's own page", "<html>", http.StatusBadRequest, imv1.ErrorCode_ERROR_CODE_UNAVAILABLE, false},
		{"no such subprotocol", "UNSUPPORTED_VERSION: this server speaks others", http.StatusBadRequest,
			imv1.ErrorCode_ERROR_CODE_UNSUPPORTED_VERSION, true},
		{"another path", "WRONG_PATH: elsewhere", http.StatusNotFound, imv1.ErrorCode_ERROR_CODE_INVALID_ARGUMENT, true},
		{"a proxy that knows no server", "not found", http.StatusNotFound, imv1.ErrorCode_ERROR_CODE_UNAVAILABLE, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, f *fake) {
				answered := make(chan time.Time, 100)
				f.instead = func(w http.ResponseWriter) {
					answered <- time.Now()
					w.Header().Set("Retry-After", "30")
					http.Error(w, tc.body, tc.status)
				}
				c, stop := f.start(f.config())
				f.await(func(e []Event) bool { return len(of[Disconnected](e)) > 0 })
				if lost := of[Disconnected](f.events()); code(lost[0].Err) != tc.want {
					t.Errorf("got %v, want %v", lost[0].Err, tc.want)
				}
				if tc.final {
					<-c.stopped
					if err := stop(); code(err) != tc.want {
						t.Errorf("run returned %v", err)
					}
					return
				}
				if first, second := <-answered, <-answered; second.Sub(first) < 30*time.Second {
					t.Errorf("tried again after %v, was asked to wait 30 s", second.Sub(first))
				}
			})
		})
	}
}

func TestHeartbeats(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		f.start(f.config())
		p := f.loginWith(&imv1.Connected{UserId: "alice", Head: &imv1.Head{}, HeartbeatMs: 1000})
		for range 5 {
			ping := p.any()
			if ping.GetPing() == nil {
				t.Errorf("got %v", ping)
			}
			p.answer(ping, &imv1.ServerFrame{Body: &imv1.ServerFrame_Pong{Pong: &imv1.Pong{}}})
		}
		p.gone() // two more come and are not answered
		f.await(func(e []Event) bool { return len(of[Disconnected](e)) == 1 })
		if lost := of[Disconnected](f.events()); !errors.Is(lost[0].Err, errSilent) {
			t.Errorf("got %v", lost)
		}
		f.login(0)
	})
}

// deafConn is a connection that takes in nothing any more once deaf is closed, as when the other side has vanished.
type deafConn struct {
	net.Conn
	deaf, closed chan struct{}
	once         sync.Once
}

func (d *deafConn) Write(p []byte) (int, error) {
	select {
	case <-d.deaf:
		<-d.closed
		return 0, net.ErrClosed
	default:
		return d.Conn.Write(p)
	}
}

func (d *deafConn) Close() error {
	d.once.Do(func() { close(d.closed) })
	return d.Conn.Close()
}

func TestHalfDeadConnectionThatTakesNothing(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		cfg := f.config()
		deaf := make(chan struct{})
		cfg.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := f.dial(ctx, network, addr)
			return &deafConn{Conn: conn, deaf: deaf, closed: make(chan struct{})}, err
		}
		c, _ := f.start(cfg)
		p := f.login(0)
		if err := c.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		close(deaf)
		gone := make(chan struct{})
		go func() {
			p.gone()
			close(gone)
		}()
		for i := range uint64(60) { // the server is heard all the while
			p.push(i + 1)
			select {
			case <-gone:
			case <-time.After(10 * time.Second):
			}
		}
		f.await(func(e []Event) bool { return len(of[Disconnected](e)) > 0 })
		if lost := of[Disconnected](f.events()); errors.Is(lost[0].Err, errSilent) {
			t.Error("only silence ended it")
		}
	})
}

func TestGoAway(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c, _ := f.start(f.config())
		p := f.login(0)
		enqueue(t, c, text("bob", "m1"))
		frame := expectSends(t, p, "m1")[0]
		p.send(&imv1.ServerFrame{Body: &imv1.ServerFrame_GoAway{GoAway: &imv1.GoAway{Reason: "stop", ReconnectWithinMs: 60_000}}})
		f.await(func(e []Event) bool { return len(of[GoingAway](e)) == 1 })
		said := time.Now()
		enqueue(t, c, text("bob", "m2")) // nothing new is sent, but what was sent is answered
		p.sent(frame, 1)
		f.awaitDone(1)
		if err := p.gone(); websocket.CloseStatus(err) != websocket.StatusNormalClosure {
			t.Errorf("the connection ended with %v", err)
		}
		expectSends(t, f.login(0), "m2")
		if within := time.Since(said); within > time.Minute {
			t.Errorf("came back after %v, was asked for within a minute", within)
		}
		if lost := of[Disconnected](f.events()); code(lost[0].Err) != imv1.ErrorCode_ERROR_CODE_GOING_AWAY {
			t.Errorf("got %v", lost)
		}
	})
}

func TestServerClosesAfterGoAway(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		f.start(f.config())
		for range 5 {
			p := f.login(0)
			p.send(&imv1.ServerFrame{Body: &imv1.ServerFrame_GoAway{GoAway: &imv1.GoAway{ReconnectWithinMs: 60_000}}})
			p.conn.Close(websocket.StatusGoingAway, "")
		}
		f.await(func(e []Event) bool { return len(of[Disconnected](e)) == 5 })
		for _, lost := range of[Disconnected](f.events()) {
			if code(lost.Err) != imv1.ErrorCode_ERROR_CODE_GOING_AWAY {
				t.Errorf("got %v", lost)
			}
		}
	})
}

func TestCleanEnd(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		_, stop := f.start(f.config())
		p := f.login(0)
		p.push(1, 2, 3)
		f.await(told(3))
		if err := stop(); err != nil {
			t.Errorf("run returned %v", err)
		}
		if err := p.gone(); websocket.CloseStatus(err) != websocket.StatusNormalClosure {
			t.Errorf("the server saw %v, want a close with 1000", err)
		}
		events := f.events()
		if last, ok := events[len(events)-1].(Disconnected); !ok || last.Err != nil {
			t.Errorf("the last event is %v", events[len(events)-1])
		}
	})
}

func TestEndDoesNotWaitForADeadServer(t *testing.T) {
	t.Run("that does not answer Connect", func(t *testing.T) {
		bubble(t, func(t *testing.T, f *fake) {
			_, stop := f.start(f.config())
			f.accept().next()
			if err := stop(); err != nil {
				t.Errorf("run returned %v", err)
			}
		})
	})
	t.Run("that takes nothing any more", func(t *testing.T) {
		bubble(t, func(t *testing.T, f *fake) {
			cfg := f.config()
			deaf := make(chan struct{})
			cfg.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := f.dial(ctx, network, addr)
				return &deafConn{Conn: conn, deaf: deaf, closed: make(chan struct{})}, err
			}
			c, stop := f.start(cfg)
			f.login(0)
			if err := c.Ready(t.Context()); err != nil {
				t.Fatal(err)
			}
			close(deaf)
			enqueue(t, c, text("bob", "m1"))
			ending := time.Now()
			if err := stop(); err != nil {
				t.Errorf("run returned %v", err)
			}
			if took := time.Since(ending); took > closeDeadline {
				t.Errorf("the end took %v", took)
			}
		})
	})
}

func TestRunOnce(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c, stop := f.start(f.config())
		f.login(0)
		stop()
		if err := c.Run(t.Context()); err == nil {
			t.Error("a second run was allowed")
		}
	})
}
