package edge

import (
	"encoding/binary"
	"errors"
	"os"
	"runtime"
	"sync"

	"github.com/lxzan/gws"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/catena-im/catena/pkg/refusal"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// startFlush makes sure that a goroutine writes what waits, now or with the stroke. The lock is held.
func (s *session) startFlush() {
	urgent := s.urgent()
	settled := s.ended || s.flushing || s.held && !urgent
	held := s.edge.cadence.count(s, !settled && !urgent)
	switch {
	case settled:
	case held:
		s.held = true
	default:
		s.flushNow()
	}
}

// flushNow starts the goroutine that writes. The lock is held, and no such goroutine runs.
func (s *session) flushNow() {
	s.held, s.flushing = false, true
	s.start(func() {
		// Whoever is ready to run goes first: under load that adds more to what waits, and it leaves with one write.
		runtime.Gosched()
		s.flush()
	})
}

// endStroke writes for a session that was held, unless it has done so meanwhile.
func (s *session) endStroke() {
	s.mu.Lock()
	due := s.held && !s.ended
	if due {
		s.held, s.flushing = false, true
		s.tasks.Add(1)
	}
	s.mu.Unlock()
	if due {
		defer s.tasks.Done()
		s.flush()
	}
}

// urgent reports whether what waits is worth a write of its own: a page, for which the next one waits; as much as one
// WebSocket message takes; or the end of the connection. The lock is held.
func (s *session) urgent() bool {
	return s.out.holdsPage() || len(s.out.waiting) >= maxJoined || s.parting != nil
}

// errand is what the flusher does next.
type errand struct {
	chunk []byte   // frames to write
	pong  []byte   // answer to a ping, nil: none
	head  bool     // tell the client where the chain stands, since pushes were dropped
	part  *parting // close the connection
}

// flush writes until nothing waits. It is the only writer of data frames, and there only while there is something.
func (s *session) flush() {
	for {
		do, more := s.next()
		switch {
		case !more:
			return
		case do.part != nil:
			if do.part.error != nil {
				content := s.encode(s.errorFrame(0, do.part.error))
				_ = s.write(errand{chunk: append(entry(len(content)), content...)}) // if it fails, so does the close frame
			}
			farewell := binary.BigEndian.AppendUint16(nil, do.part.code)
			_, _ = s.link.Write(appendWire(nil, gws.OpcodeCloseConnection, farewell))
			_ = s.link.Close()
			close(do.part.said)
			return
		case do.head:
			s.edge.tellHead(s)
			continue
		}
		if err := s.write(do); err != nil {
			s.giveUp(err)
			return
		}
		s.edge.spares.put(do.chunk)
	}
}

// next ends the errand before and takes the next one; false: there is none.
func (s *session) next() (errand, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.out.sent() {
		s.signalPage()
	}
	switch {
	case s.ended:
		return errand{}, false
	case s.out.waiting != nil || s.out.pong != nil:
		do := errand{chunk: s.out.take(), pong: s.out.pong}
		s.out.pong = nil
		return do, true
	case s.parting != nil: // stays flushing: nothing is written after the close frame
		return errand{part: s.parting}, true
	case s.out.gap && s.stage == joined:
		s.out.gap = false
		return errand{head: true}, true
	}
	s.flushing = false
	return errand{}, false
}

// giveUp ends a connection that could not be written to. The client is not told: half a frame may be on its way.
func (s *session) giveUp(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.parting != nil: // as it is when the session has ended
	case errors.Is(err, os.ErrDeadlineExceeded):
		s.part(closeStale, nil)
	default:
		s.startParting(closeNormal, nil)
	}
	close(s.parting.said) // nobody writes any more
	s.link.abort()
}

// write writes WebSocket frames, as many at a time as fit into a buffer.
func (s *session) write(do errand) error {
	wire := wires.Get().(*[]byte)
	defer func() {
		if cap(*wire) <= keepWire {
			wires.Put(wire)
		}
	}()
	b := (*wire)[:0]
	if do.pong != nil {
		b = appendWire(b, gws.OpcodePong, do.pong)
	}
	cut, opcode := nextJoined, gws.OpcodeBinary
	if s.json {
		cut, opcode = nextSingle, gws.OpcodeText
	}
	for rest := do.chunk; len(rest) > 0; {
		var message []byte
		if message, rest = cut(rest); len(b) > 0 && len(b)+len(message) > maxJoined {
			if _, err := s.link.Write(b); err != nil {
				return err
			}
			b = b[:0]
		}
		b = appendWire(b, opcode, message)
		s.edge.metrics.sent.Inc()
	}
	*wire = b
	_, err := s.link.Write(b)
	return err
}

// wires are buffers for WebSocket frames while they are written, apart from spares, which keep none that is as large as
// a joined message. A writer takes one, so there are as many as goroutines that write, and the collector takes those
// that are not used.
var wires = sync.Pool{New: func() any { return new([]byte) }}

// keepWire is how many bytes the largest of wires has that is used again: room for a joined message.
const keepWire = 2 * maxJoined

// encode makes the frame's content as the session speaks it, in a spare buffer, and counts refusals.
func (s *session) encode(f *imv1.ServerFrame) []byte {
	if err := f.GetError(); err != nil {
		s.edge.metrics.refused(err.GetCode())
	}
	frame, err := encodeFrame(s.edge.spares.get(), s.json, f)
	if err != nil { // JSON, and a string of a peer is not UTF-8
		return s.encode(s.errorFrame(f.GetId(), err))
	}
	return frame
}

func encodeFrame(b []byte, json bool, f *imv1.ServerFrame) ([]byte, error) {
	if json {
		return protojson.MarshalOptions{}.MarshalAppend(b, f)
	}
	return imv1.Append(b, f), nil
}

// errorFrame tells a client of an error. What is not a refusal is a fault, of which only the log tells more.
func (s *session) errorFrame(id uint64, err error) *imv1.ServerFrame {
	if r := new(refusal.Refusal); !errors.As(err, &r) {
		s.edge.log.Error("request", "session", s.number, "err", err)
	}
	return &imv1.ServerFrame{Id: id, Body: &imv1.ServerFrame_Error{Error: refusal.Of(err)}}
}
