package sequencer

// slab hands out the many small values of one step, so that they cost few allocations. All of them are garbage together.
type slab[T any] struct {
	free []T
	made int // values of the last allocation
}

const mostMade = 256 // values of one allocation, unless as many are asked for at once

// one is a zero value.
func (s *slab[T]) one() *T { return &s.some(1)[0] }

// some are n zero values. Appending to them makes a copy.
func (s *slab[T]) some(n int) []T {
	if len(s.free) < n {
		s.made = max(n, min(2*s.made, mostMade))
		s.free = make([]T, s.made)
	}
	taken := s.free[:n:n]
	s.free = s.free[n:]
	return taken
}
