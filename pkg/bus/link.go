package bus

import (
	"context"
	"sync"
)

// link is the state of the connection as something to wait for.
type link struct {
	mu    sync.Mutex // guards the fields below
	ctx   context.Context
	drop  context.CancelCauseFunc
	up    chan struct{} // closed while the connection stands
	isUp  bool
	final bool
}

func newLink() *link {
	l := &link{up: make(chan struct{})}
	l.ctx, l.drop = context.WithCancelCause(context.Background())
	l.drop(errDisconnected)
	return l
}

func (l *link) rise() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isUp || l.final {
		return
	}
	l.isUp = true
	l.ctx, l.drop = context.WithCancelCause(context.Background())
	close(l.up)
}

func (l *link) fall(cause error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.isUp {
		return
	}
	l.isUp = false
	l.drop(cause)
	l.up = make(chan struct{})
}

// close is a fall without a rise.
func (l *link) close() {
	l.fall(ErrClosed)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.final {
		return
	}
	l.final = true
	l.ctx, l.drop = context.WithCancelCause(context.Background())
	l.drop(ErrClosed)
	close(l.up) // wakes await, which looks at final
}

// alive is a context that ends, with the cause, when the connection that stands now is lost.
func (l *link) alive() context.Context {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ctx
}

// await returns alive once the connection stands.
func (l *link) await(ctx context.Context) (context.Context, error) {
	for {
		l.mu.Lock()
		up, isUp, final, alive := l.up, l.isUp, l.final, l.ctx
		l.mu.Unlock()
		switch {
		case final:
			return nil, ErrClosed
		case isUp:
			return alive, nil
		}
		select {
		case <-up:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}
