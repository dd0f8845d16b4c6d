package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/catena-im/catena/pkg/client"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// session is a client command's connection.
type session struct {
	cmd     *cobra.Command
	user    string
	base    string             // name of the device where none is given
	onEvent func(client.Event) // nil: events are dropped
	end     func()             // called when nobody takes events any more; may be nil
}

// with connects, runs fn, and disconnects. What fn left unanswered stays in the outbox of the device.
func (a *access) with(s session, fn func(ctx context.Context, c *client.Client, device string) error) error {
	srv, err := a.resolve(s.user)
	if err != nil {
		return err
	}
	dev, err := claim(srv.devices, s.user, a.device, s.base)
	if err != nil {
		return err
	}
	first := newFirst(s.onEvent)
	c, err := client.New(client.Config{
		URL: srv.url, Device: dev.id, Platform: "cli", Token: srv.token, Store: dev.store, OnEvent: first.event, Log: a.log(s.cmd),
	})
	if err == nil {
		err = a.run(s, c, first, func(ctx context.Context) error { return fn(ctx, c, dev.id) })
	}
	return errors.Join(explain(err, srv), dev.store.Close())
}

// run runs the client around fn, which begins when the client is connected.
func (a *access) run(s session, c *client.Client, first *first, fn func(context.Context) error) error {
	ctx, cancel := context.WithCancel(s.cmd.Context()) // of fn; a client that has ended has nothing more to do
	defer cancel()
	running, stop := context.WithCancel(context.WithoutCancel(ctx)) // fn ends first, then the connection
	ended := make(chan struct{})
	var wg sync.WaitGroup
	var broken error
	wg.Go(func() {
		broken = c.Run(running)
		close(ended)
		cancel()
	})
	err := first.wait(ctx, ended, a.timeout)
	if err == nil {
		err = fn(ctx)
	}
	if s.end != nil {
		s.end()
	}
	stop()
	wg.Wait()
	if broken != nil {
		return broken // the cause of what fn met
	}
	return err
}

// first waits for the first connection, and keeps what went wrong before it.
type first struct {
	next      func(client.Event)
	connected chan struct{}
	lost      chan client.Disconnected // holds one, the newest
	once      sync.Once
}

func newFirst(next func(client.Event)) *first {
	return &first{next: next, connected: make(chan struct{}), lost: make(chan client.Disconnected, 1)}
}

func (f *first) event(e client.Event) {
	switch e := e.(type) {
	case client.Connected:
		f.once.Do(func() { close(f.connected) })
	case client.Disconnected:
		select {
		case <-f.lost:
		default:
		}
		f.lost <- e // one sender, and it has just made room
	}
	if f.next != nil {
		f.next(e)
	}
}

var errEnded = errors.New("the client ended")

// unreachable: there was no connection in time.
type unreachable struct{ why error }

func (u unreachable) Error() string { return u.why.Error() }
func (u unreachable) Unwrap() error { return u.why }

// wait returns when the client is connected. A port that nobody listens on is not waited for.
func (f *first) wait(ctx context.Context, ended <-chan struct{}, timeout time.Duration) error {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	why := fmt.Errorf("no answer within %v", timeout)
	note := func(e client.Disconnected) {
		if e.Err != nil {
			why = fmt.Errorf("no connection within %v: %w", timeout, e.Err)
		}
	}
	for {
		select {
		case <-f.connected:
			return nil
		case e := <-f.lost:
			if errors.Is(e.Err, syscall.ECONNREFUSED) {
				return unreachable{e.Err}
			}
			note(e)
		case <-ended:
			return errEnded
		case <-timer.C:
			select {
			case e := <-f.lost: // it came before the time was up, perhaps
				note(e)
			default:
			}
			return unreachable{why}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// explain turns what went wrong with the server into what a user can do about it.
func explain(err error, srv server) error {
	if u, ok := errors.AsType[unreachable](err); ok {
		hint := "check the address, ws://host:port/ws or wss://host/ws, and that the server runs"
		if srv.run != nil {
			hint = fmt.Sprintf("the one that was started at %s (pid %d) is gone or does not answer; start it again with: %s dev%s",
				srv.run.Started.Local().Format("2006-01-02 15:04:05"), srv.run.PID, self(), onData(srv.data))
		}
		return fmt.Errorf("no server found at %s: %w\n%s", srv.url, u.why, hint)
	}
	if errors.Is(err, context.Canceled) {
		return errors.New("interrupted; a message that was sent is kept in the outbox until the server has it")
	}
	refused, ok := errors.AsType[*client.Error](err)
	if !ok {
		return err
	}
	switch refused.Code {
	case imv1.ErrorCode_ERROR_CODE_TOKEN_INVALID, imv1.ErrorCode_ERROR_CODE_TOKEN_EXPIRED, imv1.ErrorCode_ERROR_CODE_TOKEN_AUDIENCE,
		imv1.ErrorCode_ERROR_CODE_TOKEN_DEVICE:
		return fmt.Errorf("the server refuses the token: %s\nget one where the server runs, with: %s token USER", refused.Text, self())
	case imv1.ErrorCode_ERROR_CODE_INVALID_ARGUMENT:
		if strings.Contains(refused.Text, "WRONG_PATH") {
			return fmt.Errorf("no server found at %s: %s", srv.url, refused.Text)
		}
	case imv1.ErrorCode_ERROR_CODE_SESSION_REPLACED:
		return errors.New("another client connected as the same device, so this one was closed\nuse another --device for each")
	}
	return err
}
