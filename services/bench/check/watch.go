package check

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	imv1 "github.com/catena-im/catena/proto/im/v1"
	"github.com/catena-im/catena/services/bench/check/judge"
	"github.com/catena-im/catena/services/bench/check/wire"
)

const (
	watchDevice = "watch"
	revisit     = 300 * time.Millisecond // before another session
)

// watcher is a device of a user on the bare wire. It sees every push as the server sends it, those that the SDK drops
// included.
type watcher struct {
	*run
	user  string
	rng   *rand.Rand
	once  sync.Once
	ready chan struct{} // closed when the first session is open
}

func newWatcher(r *run, user string, rng *rand.Rand) *watcher {
	return &watcher{run: r, user: user, rng: rng, ready: make(chan struct{})}
}

// watch keeps a session open until ctx ends.
func (w *watcher) watch(ctx context.Context) {
	for first := true; first || pause(ctx, jitter(w.rng, revisit)); first = false {
		_ = w.visit(ctx, visitor{w.user, watchDevice, w.heard}, func(ctx context.Context, _ *wire.Session) error {
			w.once.Do(func() { close(w.ready) })
			<-ctx.Done()
			return ctx.Err()
		})
	}
}

func (w *watcher) heard(f *imv1.ServerFrame) { w.hear(w.user, f) }

// hear records what the server says by itself to a device of user.
func (r *run) hear(user string, f *imv1.ServerFrame) {
	switch body := f.GetBody().(type) {
	case *imv1.ServerFrame_Push:
		r.journal.saw(user, judge.ViaPush, body.Push.GetEntry().GetUserIndex(), body.Push.GetEntry().GetMessage())
	case *imv1.ServerFrame_ReadMoved:
		r.journal.read(user, body.ReadMoved.GetConversationId(), body.ReadMoved.GetReadIndex(), body.ReadMoved.GetListVersion())
	}
}

// visitor is who visits the server on the bare wire.
type visitor struct {
	user, device string
	heard        func(*imv1.ServerFrame) // may be nil
}

func (r *run) visit(ctx context.Context, v visitor, use func(context.Context, *wire.Session) error) error {
	token, err := r.deps.Token(v.user)
	if err != nil {
		return err
	}
	return wire.Visit(ctx, wire.Config{URL: r.edges.url(), Token: token, Device: v.device, Heard: v.heard}, use)
}
