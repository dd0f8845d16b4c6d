package sequencer

// slab hands out the many small values of one step, so that they cost few allocations. All of them are garbage together.
type slab[T any] struct {
	size int // values of each allocation, about as many as the step needs; 0: each is one of its own
	free []T
}

// one is a zero value.
func (s *slab[T]) one() *T { return &s.some(1)[0] }

// some are n zero values. Appending to them makes a copy.
func (s *slab[T]) some(n int) []T {
	if len(s.free) < n {
		s.free = make([]T, max(n, s.size))
	}
	taken := s.free[:n:n]
	s.free = s.free[n:]
	return taken
}
