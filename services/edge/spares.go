package edge

import "sync"

const (
	keepSpare  = 16 << 10 // bytes of the largest buffer that is used again
	maxSpares  = 8 << 20  // bytes of all that are kept
	spareBytes = 1 << 10  // a new buffer begins with
)

// spares are buffers that are used again. What is encoded for clients and for lanes lives for some milliseconds only,
// and a busy edge needs thousands of buffers a second. Whoever takes one owns it until it gives it back or lets it go;
// a session to which nothing is written holds none.
type spares struct {
	mu    sync.Mutex // guards the fields below; a session's lock may be held, and none is taken under it
	free  [][]byte   // the last was used last
	bytes int        // of free
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
	s.free, s.bytes = s.free[:last], s.bytes-cap(b)
	return b
}

// put takes b back, which its owner does not touch again. One that is too large, or one too many, is let go.
func (s *spares) put(b []byte) {
	if cap(b) == 0 || cap(b) > keepSpare {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bytes+cap(b) <= maxSpares {
		s.free, s.bytes = append(s.free, b[:0]), s.bytes+cap(b)
	}
}
