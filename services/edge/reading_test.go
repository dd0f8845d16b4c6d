package edge

import (
	"testing"
	"time"
)

func TestBusyEdgesReadShortlyBeforeBatchesLeave(t *testing.T) {
	const ms = time.Millisecond
	r := reading{busy: 10}
	for _, step := range []struct {
		what     string
		at       time.Duration
		commands uint64
		want     time.Duration
	}{
		{"the first, after a while", 1000 * ms, 1, 0},
		{"many at once, but nothing in the time before", 1001 * ms, 99, 0},
		{"a busy stroke", 1010 * ms, 1, 3 * ms},
		{"a few follow, and the stroke is not over", 1013 * ms, 5, 5 * ms},
		{"late", 1019 * ms, 1, 4 * ms},
		{"a calm stroke", 1023 * ms, 1, 0},
	} {
		r.commands.Add(step.commands)
		if got := r.rest(step.at); got != step.want {
			t.Errorf("%s: rests for %v, want %v", step.what, got, step.want)
		}
	}
}
