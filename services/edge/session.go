package edge

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/catena-im/catena/pkg/im"
	"github.com/catena-im/catena/pkg/refusal"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// The close codes: up to 1013 as registered for RFC 6455, from 4400 on Catena's own.
const (
	closeNormal          = 1000
	closeGoingAway       = 1001
	closeProtocolError   = 1002
	closeTooLarge        = 1009
	closeTryAgain        = 1013
	closeMalformed       = 4400
	closeUnauthenticated = 4401
	closeStale           = 4408
	closeReplaced        = 4409
	closeFlood           = 4429
)

// stage is how far a connection has come.
type stage uint8

const (
	fresh   stage = iota // Connect has not come
	joining              // authenticated; Connected was not sent: requests are taken, pushes are not
	joined               // Connected was sent
)

// session is one connection, and from Connect on the session of a device.
type session struct {
	edge   *Edge
	number uint64 // names the session to the workers
	json   bool
	link   *link
	opened time.Duration // by the edge's clock
	seen   atomic.Int64  // when the client was last heard, by the edge's clock
	tasks  sync.WaitGroup

	// The fields below are of Received.
	frames        frames
	budget        bucket
	authenticated bool // Connect was accepted
	deaf          bool // nothing is taken any more: the connection is being closed, or reading panicked

	mu        sync.Mutex // guards the fields below
	stage     stage
	user      im.UserID
	device    im.DeviceID
	expires   time.Time     // of the token
	heartbeat time.Duration // as negotiated
	pending   []pending     // requests without an answer, oldest first
	pulls     []pull        // those of them that wait for the history service
	pulling   bool          // a goroutine works on pulls
	pageFree  chan struct{} // tells that goroutine that the page was written, or that the session ended
	out       outbox
	held      bool     // what waits is written when the stroke ends
	flushing  bool     // a goroutine writes
	parting   *parting // the connection is being closed
	ended     bool     // the connection has ended: nothing more is started
}

// pending is a request that waits for its answer.
type pending struct {
	id    uint64
	since time.Duration // by the edge's clock
}

// parting is how a connection is closed.
type parting struct {
	code  uint16
	error *refusal.Refusal // told to the client before the close frame; may be nil
	since time.Duration    // by the edge's clock
	said  chan struct{}    // closed when the close frame is written, or cannot be
}

// keepPending is how many pending requests an idle session keeps room for.
const keepPending = 8

// begin notes that a request waits for its answer.
func (s *session) begin(id uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.pending) >= s.edge.cfg.PendingRequests {
		return refusal.New(imv1.ErrorCode_ERROR_CODE_RATE_LIMITED,
			"%d requests of this connection wait for their answers; await some before you send more", len(s.pending)).After(100 * time.Millisecond)
	}
	if slices.ContainsFunc(s.pending, func(p pending) bool { return p.id == id }) {
		return errDuplicateID
	}
	s.pending = append(s.pending, pending{id, s.edge.now()})
	return nil
}

// finish takes a request off the list of those that wait; false: it was answered before.
func (s *session) finish(id uint64) bool {
	i := slices.IndexFunc(s.pending, func(p pending) bool { return p.id == id })
	if i < 0 {
		return false
	}
	s.pending = slices.Delete(s.pending, i, i+1)
	if len(s.pending) == 0 && cap(s.pending) > keepPending {
		s.pending = nil
	}
	return true
}

// answer answers a request that begin noted, once.
func (s *session) answer(f *imv1.ServerFrame) {
	frame := s.encode(f)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.finish(f.GetId()) {
		s.reply(frame)
	}
}

// refuse answers a request that begin noted with an error.
func (s *session) refuse(id uint64, err error) { s.answer(s.errorFrame(id, err)) }

// tell sends what answers no noted request: Pong, and the refusal of a request that was not taken.
func (s *session) tell(f *imv1.ServerFrame) {
	frame := s.encode(f)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reply(frame)
}

// reply queues an answer. A client that leaves so much unread that it cannot be told is cut off. The lock is held.
func (s *session) reply(frame []byte) {
	if s.parting != nil || s.ended {
		return
	}
	if !s.out.addAnswer(frame) {
		s.cutOff()
		return
	}
	s.startFlush()
}

// cutOff closes a connection whose client does not read; what waits for it is dropped. The lock is held.
func (s *session) cutOff() {
	s.part(closeStale, refusal.New(imv1.ErrorCode_ERROR_CODE_CONNECTION_STALE,
		"%d bytes wait for this connection to read them; read faster, or ask for less at once", s.out.queued()))
	s.out.waiting, s.out.pageWaiting = nil, 0
	s.signalPage()
	s.link.hurry()
}

// close closes the connection after what waits is written, and the error if there is one. Only the first call counts.
func (s *session) close(code uint16, err *refusal.Refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.part(code, err)
}

// part is close with the lock held.
func (s *session) part(code uint16, err *refusal.Refusal) {
	if s.parting != nil || s.ended {
		return
	}
	s.edge.metrics.closed(code)
	s.startParting(code, err)
}

// goodbye closes for a client that has ended, after what waits is written. Metrics count what the edge closes, so not this.
func (s *session) goodbye(code uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.parting == nil && !s.ended {
		s.startParting(code, nil)
	}
}

// startParting begins to close the connection, which is not parting yet. The lock is held.
func (s *session) startParting(code uint16, err *refusal.Refusal) {
	s.parting = &parting{code: code, error: err, since: s.edge.now(), said: make(chan struct{})}
	s.startFlush()
}

// lastWords is closed when the client has been told that the connection closes, or cannot be. It has begun to be closed.
func (s *session) lastWords() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.parting.said
}

// isParting reports whether requests are ignored because the connection is being closed.
func (s *session) isParting() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.parting != nil
}

// end releases what the session holds after its connection ended, and waits for its goroutines.
func (s *session) end() {
	s.mu.Lock()
	s.ended = true
	s.out = outbox{}
	s.pulls, s.pending = nil, nil
	s.signalPage()
	s.mu.Unlock()
	s.link.abort()
	s.tasks.Wait()
}

// start runs f in a goroutine that end waits for. The lock is held.
func (s *session) start(f func()) {
	s.tasks.Go(f)
}
