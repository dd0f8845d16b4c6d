// Package latency keeps how long things took in HDR histograms: from a microsecond to five minutes, three digits, a
// bounded amount of memory however many values there are.
package latency

import (
	"fmt"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

const (
	longest = 5 * time.Minute // what took longer counts as this
	digits  = 3
	stripes = 8
)

// Recorder takes durations from many goroutines. The zero value is ready.
type Recorder struct {
	stripes [stripes]stripe
}

type stripe struct {
	mu   sync.Mutex // guards the field below
	hist *hdrhistogram.Histogram
}

// Record adds d. Goroutines with different numbers seldom wait for each other.
func (r *Recorder) Record(number int, d time.Duration) {
	s := &r.stripes[number%stripes]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hist == nil {
		s.hist = newHistogram()
	}
	_ = s.hist.RecordValue(min(max(d, time.Microsecond), longest).Microseconds()) // within its bounds
}

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, longest.Microseconds(), digits)
}

// Quantiles is what was recorded so far.
func (r *Recorder) Quantiles() Quantiles {
	all := newHistogram()
	for i := range r.stripes {
		s := &r.stripes[i]
		s.mu.Lock()
		if s.hist != nil {
			all.Merge(s.hist)
		}
		s.mu.Unlock()
	}
	return Quantiles{
		Count: all.TotalCount(), P50: ms(all.ValueAtQuantile(50)), P90: ms(all.ValueAtQuantile(90)),
		P99: ms(all.ValueAtQuantile(99)), P999: ms(all.ValueAtQuantile(99.9)), Max: ms(all.Max()),
	}
}

func ms(micros int64) float64 { return float64(micros) / 1000 }

// Quantiles summarises durations, in milliseconds.
type Quantiles struct {
	Count int64   `json:"count"`
	P50   float64 `json:"p50_ms"`
	P90   float64 `json:"p90_ms"`
	P99   float64 `json:"p99_ms"`
	P999  float64 `json:"p99_9_ms"`
	Max   float64 `json:"max_ms"`
}

func (q Quantiles) String() string {
	if q.Count == 0 {
		return "none"
	}
	return fmt.Sprintf("p50 %s, p90 %s, p99 %s, p99.9 %s, max %s ms", digit(q.P50), digit(q.P90), digit(q.P99), digit(q.P999), digit(q.Max))
}

// digit shows small numbers with more digits.
func digit(v float64) string {
	switch {
	case v < 1:
		return fmt.Sprintf("%.3f", v)
	case v < 100:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}
