package check

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	imv1 "github.com/catena-im/catena/proto/im/v1"
	"github.com/catena-im/catena/services/bench/check/wire"
)

const (
	resendEvery = 2500 * time.Millisecond
	wireTimeout = 10 * time.Second // of one request
	lateDevice  = "late-"          // and the user who sends again

	overtakeDevice = "overtake"
)

// onceDevices are the devices of a user that send one message at once.
var onceDevices = []string{"again1", "again2", "again3"}

// resender sends on purpose what no good client sends, in the name of a user.
type resender struct {
	*run
	user   string
	speech *speech
	rng    *rand.Rand
}

// disturb sends again and again until load ends. What is under way then ends within ctx, so that nothing of it comes
// when the conversations are closed.
func (w *resender) disturb(ctx, load context.Context) {
	for pause(load, jitter(w.rng, w.every(resendEvery))) {
		switch w.rng.IntN(5) {
		case 0, 1:
			w.sendAtOnce(ctx)
		case 2, 3:
			w.sendLate(ctx)
		default:
			w.overtake(ctx)
		}
	}
}

// sendAtOnce sends a new message over several connections at once, half of the times with another body on the last.
func (w *resender) sendAtOnce(ctx context.Context) {
	u := w.speech.say(w.speech.target())
	first := attempt{sent: w.journal.queue(author{user: w.user}, u), frame: u.frame}
	last := w.again(first)
	var all sync.WaitGroup
	defer all.Wait()
	for i, device := range onceDevices {
		a := first
		if i == len(onceDevices)-1 {
			a = last
		}
		all.Go(func() { w.send(ctx, visitor{w.user, device, func(f *imv1.ServerFrame) { w.hear(w.user, f) }}, a) })
	}
}

// sendLate sends something again that anybody sent and that was acknowledged, half of the times with another body. The
// first answer must come again.
func (w *resender) sendLate(ctx context.Context) {
	sent := w.journal.draw(w.rng)
	if sent == nil {
		return
	}
	w.send(ctx, visitor{user: sent.User, device: lateDevice + w.user}, w.again(attempt{sent: sent, frame: sent.frame, late: true}))
}

// overtake sends a message that is to come after another before that other one, which the server must refuse, then both
// in their order.
func (w *resender) overtake(ctx context.Context) {
	to, by := w.speech.target(), author{user: w.user, device: overtakeDevice}
	a, b := w.speech.say(to), w.speech.say(to)
	b.frame.After = a.frame.GetClientMessageId()
	before := attempt{sent: w.journal.queue(by, a), frame: a.frame}
	after := attempt{sent: w.journal.queue(by, b), frame: b.frame}
	w.journal.fault(FaultOvertake)
	v := visitor{user: w.user, device: overtakeDevice}
	w.send(ctx, v, after)
	w.send(ctx, v, before)
	w.send(ctx, v, after)
}

// attempt is one request that sends a message.
type attempt struct {
	sent    *sent
	frame   *imv1.Send
	content int  // the number of what the frame carries
	late    bool // the message was acknowledged before
}

// again is the attempt as it is, or half of the times with another body. It counts as a fault.
func (w *resender) again(a attempt) attempt {
	if w.rng.IntN(2) == 0 {
		w.journal.fault(FaultResend)
		return a
	}
	w.journal.fault(FaultConflict)
	a.frame = altered(a.frame)
	a.content = w.journal.other(a.sent, a.frame)
	return a
}

// altered is the frame with another body.
func altered(frame *imv1.Send) *imv1.Send {
	other := &imv1.Send{ConversationId: frame.GetConversationId(), ToUserId: frame.GetToUserId(),
		ClientMessageId: frame.GetClientMessageId(), Visibility: proto.CloneOf(frame.GetVisibility())}
	other.Type, other.Body = text("not what was sent before under " + frame.GetClientMessageId())
	return other
}

// send makes one attempt over a connection of its own. No answer and "try again" say nothing about the message.
func (w *resender) send(ctx context.Context, v visitor, a attempt) {
	ctx, cancel := context.WithTimeout(ctx, wireTimeout)
	defer cancel()
	_ = w.visit(ctx, v, func(ctx context.Context, s *wire.Session) error {
		answer, err := s.Do(ctx, &imv1.ClientFrame{Body: &imv1.ClientFrame_Send{Send: a.frame}})
		w.note(a, answer, err)
		return nil
	})
}

// note records what came of an attempt.
func (w *resender) note(a attempt, answer *imv1.ServerFrame, err error) {
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
