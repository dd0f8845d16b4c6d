package edge

import (
	"context"
	"time"

	"github.com/catena-im/catena/pkg/refusal"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// sweep looks at all connections for what is overdue, in place of a timer for each, until ctx ends.
func (e *Edge) sweep(ctx context.Context) {
	ticker := time.NewTicker(e.cfg.SweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			e.each(func(s *session) { s.check(e.now()) })
		}
	}
}

// each calls f, which must not add or remove connections, for every connection.
func (e *Edge) each(f func(*session)) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	for _, s := range e.sessions {
		f(s)
	}
}

// check closes the connection when one of its deadlines is over, and answers requests that waited too long.
func (s *session) check(now time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	cfg := &s.edge.cfg
	silent := now - time.Duration(s.seen.Load())
	switch {
	case s.ended:
	case s.parting != nil:
		if now-s.parting.since > cfg.WriteTimeout+lingerTime {
			s.link.abort()
		}
	case s.stage == fresh && now-s.opened > cfg.ConnectTimeout:
		s.part(closeUnauthenticated, refusal.New(imv1.ErrorCode_ERROR_CODE_UNAUTHENTICATED,
			"Connect did not come within %v; send it first of all", cfg.ConnectTimeout))
	case s.stage == fresh:
	case !s.expires.After(time.Now()):
		s.part(closeUnauthenticated, refusal.New(imv1.ErrorCode_ERROR_CODE_TOKEN_EXPIRED,
			"the token of this session has expired; get a new one and connect again"))
	case silent > s.heartbeat*5/2:
		s.part(closeStale, refusal.New(imv1.ErrorCode_ERROR_CODE_CONNECTION_STALE,
			"nothing came for %v; send Ping every %v, and connect again", silent.Round(time.Millisecond), s.heartbeat))
		s.link.hurry()
	default:
		s.expire(now - cfg.AnswerTimeout)
	}
}

// expire answers the requests that have waited since before a time. The lock is held.
func (s *session) expire(before time.Duration) {
	for len(s.pending) > 0 && s.pending[0].since < before {
		id := s.pending[0].id
		s.finish(id)
		s.reply(s.encode(s.errorFrame(id, errNoAnswer)))
	}
}

var errNoAnswer = refusal.New(imv1.ErrorCode_ERROR_CODE_UNAVAILABLE,
	"no answer came in time, and the request may or may not be carried out; send it again with the same client_message_id")
