package load

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	imv1 "github.com/catena-im/catena/proto/im/v1"
	"github.com/catena-im/catena/services/bench/process"
	"github.com/catena-im/catena/services/bench/socket"
	"github.com/catena-im/catena/services/bench/yardstick"
)

// filling is connections that are opened while the memory of the process is watched that holds them.
type filling struct {
	pid, connections int
	settle           time.Duration
	open             func(ctx context.Context, i int) error
}

// watch opens the connections and looks at the memory at the start, on the way and when all are there. It returns how
// long the opening took.
func (b *Bench) watch(ctx context.Context, f filling) (points []MemoryPoint, took time.Duration, err error) {
	u, err := process.Read(f.pid)
	if err != nil {
		return nil, 0, err
	}
	points = []MemoryPoint{{0, mega(u.Resident)}}
	for p := 1; p <= idlePoints; p++ {
		start := time.Now()
		g, in := errgroup.WithContext(ctx)
		g.SetLimit(connecting)
		for i := f.connections * (p - 1) / idlePoints; i < f.connections*p/idlePoints; i++ {
			g.Go(func() error { return f.open(in, i) })
		}
		if err := g.Wait(); err != nil {
			return points, took, err
		}
		took += time.Since(start)
		settle := f.settle
		if p < idlePoints {
			settle /= settlePart
		}
		pause(ctx, settle)
		if u, err = process.Read(f.pid); err != nil {
			return points, took, err
		}
		points = append(points, MemoryPoint{f.connections * p / idlePoints, mega(u.Resident)})
		b.say("%d connections, %.0f MB", f.connections*p/idlePoints, mega(u.Resident))
	}
	return points, took, context.Cause(ctx)
}

// alive pings every client and counts those that answer.
func alive(ctx context.Context, clients []*client) (n int, err error) {
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(connecting)
	for _, c := range clients {
		g.Go(func() error {
			if _, err := c.call(ctx, &imv1.ClientFrame{Body: &imv1.ClientFrame_Ping{Ping: &imv1.Ping{}}}); err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			n++
			return nil
		})
	}
	return n, g.Wait()
}

// bareIdle does the same with a bare gws server, every connection of which has sent and got one message. It holds them
// while use runs, and looks at the memory once more after that.
func (b *Bench) bareIdle(ctx context.Context, c IdleConfig, use func(context.Context) error) (points []MemoryPoint, err error) {
	err = b.deps.Yardsticks.GWS(ctx, func(ctx context.Context, s yardstick.Server) (err error) {
		conns := make([]*socket.Conn, c.Connections)
		defer func() {
			for _, c := range conns {
				if c != nil {
					_ = c.Close()
				}
			}
		}()
		points, _, err = b.watch(ctx, filling{s.PID, c.Connections, c.Settle, func(ctx context.Context, i int) (err error) {
			conns[i], err = b.echoOnce(ctx, s.URL, i)
			return err
		}})
		if err == nil {
			err = use(ctx)
		}
		if u, read := process.Read(s.PID); read == nil {
			points = append(points, MemoryPoint{c.Connections, mega(u.Resident)})
		}
		return err
	})
	return points, err
}

// echoOnce connects to an echo and gets one message back, as long as a token.
func (b *Bench) echoOnce(ctx context.Context, url string, at int) (*socket.Conn, error) {
	c, err := socket.Dial(ctx, socket.Config{URL: url, From: from(at)})
	if err != nil {
		return nil, err
	}
	if err = c.Write([]byte(b.text[:tokenBytes])); err == nil {
		_, err = c.Read()
	}
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

const tokenBytes = 300

// deaf is a listener that wants nothing.
type deaf struct{}

func (deaf) heard(*client, time.Time, *frame) {}
