package load

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// connecting is how many connect at once where it does not matter how fast that goes.
const connecting = 32

// users are n new users.
func (b *Bench) users(n int) []string {
	b.calls++
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("%s-%d-%d", b.Run, b.calls, i)
	}
	return names
}

// crowd connects users, and holds their connections while use runs. Its context ends when a connection does.
func (b *Bench) crowd(ctx context.Context, users []string, l listener, use func(context.Context, []*client) error) error {
	clients, err := b.openAll(ctx, users)
	defer func() {
		for _, c := range clients {
			if c != nil {
				_ = c.conn.Close()
			}
		}
	}()
	if err != nil {
		return err
	}
	return hold(ctx, clients, l, func(ctx context.Context) error { return use(ctx, clients) })
}

// openAll connects users. On an error those are left that connected.
func (b *Bench) openAll(ctx context.Context, users []string) ([]*client, error) {
	clients := make([]*client, len(users))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(connecting)
	for i, u := range users {
		g.Go(func() (err error) {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			clients[i], err = b.open(ctx, u, i)
			return err
		})
	}
	return clients, g.Wait()
}

// hold reads from clients and keeps them alive while use runs, and closes them.
func hold(ctx context.Context, clients []*client, l listener, use func(context.Context) error) error {
	ctx, end := context.WithCancelCause(ctx)
	var loops sync.WaitGroup
	for _, c := range clients {
		loops.Go(func() {
			if err := c.read(l); ctx.Err() == nil {
				end(fmt.Errorf("the connection of %s ended: %w", c.user, err))
			}
		})
	}
	loops.Go(func() { keepAlive(ctx, clients) })
	err := use(ctx)
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	end(nil)
	for _, c := range clients {
		_ = c.conn.Close()
	}
	loops.Wait()
	return err
}

// keepAlive pings every client once in its heartbeat, spread over that time.
func keepAlive(ctx context.Context, clients []*client) {
	if len(clients) == 0 {
		return
	}
	beat := max(clients[0].beat, time.Second)
	for next := 0; ; next++ {
		if !pause(ctx, beat/time.Duration(len(clients))) {
			return
		}
		ping := &imv1.ClientFrame{Id: firstCall, Body: &imv1.ClientFrame_Ping{Ping: &imv1.Ping{}}} // nobody waits for the answer
		_ = clients[next%len(clients)].write(ping)                                                 // its reader notices an end
	}
}
