package latency

import (
	"math"
	"sync"
	"testing"
	"time"
)

func TestQuantilesOfWhatManyRecorded(t *testing.T) {
	var r Recorder
	var all sync.WaitGroup
	for g := range 20 {
		all.Go(func() {
			for i := g; i < 10_000; i += 20 {
				r.Record(g, time.Duration(i+1)*100*time.Microsecond)
			}
		})
	}
	all.Wait()
	q := r.Quantiles()
	if q.Count != 10_000 {
		t.Errorf("count: got %d, want 10000", q.Count)
	}
	for _, tt := range []struct{ got, want float64 }{{q.P50, 500}, {q.P90, 900}, {q.P99, 990}, {q.P999, 999}, {q.Max, 1000}} {
		if math.Abs(tt.got-tt.want) > tt.want/500 {
			t.Errorf("got %v, want %v within the three digits that are kept: %v", tt.got, tt.want, q)
		}
	}
}

func TestExtremesAreKeptWithinBounds(t *testing.T) {
	var r Recorder
	r.Record(0, -time.Second)
	r.Record(1, time.Hour)
	if q := r.Quantiles(); q.Count != 2 || q.P50 != 0.001 || math.Abs(q.Max-300_000) > 300 {
		t.Errorf("got %+v", q)
	}
}
