package check

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	imv1 "github.com/catena-im/catena/proto/im/v1"
	"github.com/catena-im/catena/services/bench/check/judge"
	"github.com/catena-im/catena/services/bench/check/wire"
)

// The devices on the bare wire.
const (
	watchDevice  = "watch"
	secondDevice = "again1"
	thirdDevice  = "again2"
	lateDevice   = "late-" // and the user whose watcher sends again
)

const (
	revisit     = 300 * time.Millisecond // before another session
	resendEvery = 2500 * time.Millisecond
	wireTimeout = 10 * time.Second // of one request
)

// watcher is a device of a user on the bare wire. It sees every push as the server sends it, and sends again what was
// sent before.
type watcher struct {
	*run
	user   string
	speech *speech
	rng    *rand.Rand
}

// watch keeps a session open until load ends. A request that is under way then ends within ctx, so that nothing of it
// comes when the conversations are closed.
func (w *watcher) watch(ctx, load context.Context) {
	for first := true; first || pause(load, jitter(w.rng, revisit)); first = false {
		_ = w.visit(ctx, visitor{w.user, watchDevice, w.heard}, func(ctx context.Context, s *wire.Session) error {
			until, end := context.WithCancel(load)
			defer end()
			defer context.AfterFunc(ctx, end)()
			return w.disturb(ctx, until, s)
		})
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
	return wire.Visit(ctx, wire.Config{URL: r.URL, Token: token, Device: v.device, Heard: v.heard}, use)
}

func (w *watcher) heard(f *imv1.ServerFrame) {
	switch body := f.GetBody().(type) {
	case *imv1.ServerFrame_Push:
		w.journal.saw(w.user, judge.ViaPush, body.Push.GetEntry().GetUserIndex(), body.Push.GetEntry().GetMessage())
	case *imv1.ServerFrame_ReadMoved:
		w.journal.read(w.user, body.ReadMoved.GetConversationId(), body.ReadMoved.GetReadIndex(), body.ReadMoved.GetListVersion())
	}
}

// disturb sends again, if the run is to be disturbed, until the other context ends.
func (w *watcher) disturb(ctx, until context.Context, s *wire.Session) error {
	if !w.disturbs() {
		<-until.Done()
		return nil
	}
	for pause(until, jitter(w.rng, w.every(resendEvery))) {
		if w.rng.IntN(2) == 0 {
			w.sendThrice(ctx, s)
		} else {
			w.sendLate(ctx)
		}
	}
	return nil
}

// sendThrice sends a new message over three connections at once, half of the times with another body on the third.
func (w *watcher) sendThrice(ctx context.Context, s *wire.Session) {
	u := w.speech.say(w.speech.target())
	sent := w.journal.queue(w.user, "", u.conversation, u.frame)
	kind, third, content := FaultResend, u.frame, 0
	if w.rng.IntN(2) == 0 {
		kind, third = FaultConflict, altered(u.frame)
		content = w.journal.other(sent, third)
	}
	w.journal.fault(kind)
	var all sync.WaitGroup
	defer all.Wait()
	again := func(device string, frame *imv1.Send, content int) {
		_ = w.visit(ctx, visitor{w.user, device, w.heard}, func(ctx context.Context, s *wire.Session) error {
			w.send(ctx, s, attempt{sent, frame, content, false})
			return nil
		})
	}
	all.Go(func() { again(secondDevice, u.frame, 0) })
	all.Go(func() { again(thirdDevice, third, content) })
	w.send(ctx, s, attempt{sent, u.frame, 0, false})
}

// sendLate sends something again that anybody sent and that was acknowledged, from a device of the sender's, half of the
// times with another body. The first answer must come again.
func (w *watcher) sendLate(ctx context.Context) {
	sent := w.journal.draw(w.rng)
	if sent == nil {
		return
	}
	kind, frame, content := FaultResend, sent.frame, 0
	if w.rng.IntN(2) == 0 {
		kind, frame = FaultConflict, altered(sent.frame)
		content = w.journal.other(sent, frame)
	}
	w.journal.fault(kind)
	_ = w.visit(ctx, visitor{sent.User, lateDevice + w.user, nil}, func(ctx context.Context, s *wire.Session) error {
		w.send(ctx, s, attempt{sent, frame, content, true})
		return nil
	})
}

// altered is the frame with another body.
func altered(frame *imv1.Send) *imv1.Send {
	other := &imv1.Send{ConversationId: frame.GetConversationId(), ToUserId: frame.GetToUserId(),
		ClientMessageId: frame.GetClientMessageId(), Visibility: proto.CloneOf(frame.GetVisibility())}
	other.Type, other.Body = text("not what was sent before under " + frame.GetClientMessageId())
	return other
}

// attempt is one request that sends a message.
type attempt struct {
	sent    *sent
	frame   *imv1.Send
	content int  // the number of what the frame carries
	late    bool // the message was acknowledged before
}

// send makes one attempt and records what came of it. No answer and "try again" say nothing about the message.
func (w *watcher) send(ctx context.Context, s *wire.Session, a attempt) {
	ctx, cancel := context.WithTimeout(ctx, wireTimeout)
	defer cancel()
	answer, err := s.Do(ctx, &imv1.ClientFrame{Body: &imv1.ClientFrame_Send{Send: a.frame}})
	var refusal *wire.Refusal
	switch {
	case err == nil && answer.GetSent() != nil:
		w.journal.answered(a.sent, a.content, a.late, answer.GetSent())
	case err == nil:
		w.journal.trouble("a Send was answered with something else than Sent")
	case errors.As(err, &refusal) && !refusal.Wire.GetRetryable():
		w.journal.refused(a.sent, a.late, refusal.Wire)
	}
}
