package edge

import "sync"

const (
	keepSpare  = 16 << 10 // bytes of the largest buffer that is used again
	maxSpares  = 512
	spareBytes = 512 // a new buffer begins with
)

// spares are buffers that are used again. What is encoded for clients and for lanes lives for some milliseconds only,
// and a busy edge needs thousands of buffers a second. Whoever takes one owns it until it gives it back or lets it go;
// a session to which nothing is written holds none.
type spares struct {
	mu   sync.Mutex // guards free; a session's lock may be held, and none is taken under it
	free [][]byte   // at most maxSpares; the last was used last
}

// get returns an empty buffer.
func (s *spares) get() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := len(s.free) - 1
	if last < 0 {
		return make([]byte, 0, spareBytes)
	}
	b := s.free[last]
	s.free[last] = nil
	s.free = s.free[:last]
	return b
}

// put takes b back, which its owner does not touch again. One that is too large, or one too many, is let go.
func (s *spares) put(b []byte) {
	if cap(b) == 0 || cap(b) > keepSpare {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.free) < maxSpares {
		s.free = append(s.free, b[:0])
	}
}
