//go:build !darwin || cgo

package tikv

import (
	"context"
	"errors"

	"github.com/prometheus/client_golang/prometheus"
	tikverr "github.com/tikv/client-go/v2/error"
)

// meter counts what an operator of a cluster should watch.
type meter struct {
	commits  *prometheus.CounterVec
	failures *prometheus.CounterVec
	safe     prometheus.Gauge
}

func newMeter() *meter {
	return &meter{
		commits: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "catena_tikv_commits_total",
			Help: "Transactions committed, by mode: 1pc is one round trip, async_commit one and 2pc two rounds over several regions.",
		}, []string{"mode"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "catena_tikv_commit_failures_total",
			Help: "Tries of a commit that failed and were settled by reading the fence, by reason.",
		}, []string{"reason"}),
		safe: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "catena_tikv_gc_safe_point_seconds",
			Help: "Unix time before which overwritten values were collected, as of the last collection of this process.",
		}),
	}
}

func (m *meter) committed(mode string) { m.commits.WithLabelValues(mode).Inc() }

func (m *meter) failed(err error) { m.failures.WithLabelValues(reason(err)).Inc() }

func reason(err error) string {
	switch {
	case tikverr.IsErrWriteConflict(err):
		return "conflict"
	case tikverr.IsErrorUndetermined(err):
		return "undetermined"
	case errors.Is(err, errAttempt):
		return "deadline"
	case errors.Is(err, context.Canceled):
		return "canceled"
	}
	return "other"
}

// Describe is prometheus.Collector's.
func (s *Store) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range s.meter.collectors() {
		c.Describe(ch)
	}
}

// Collect is prometheus.Collector's.
func (s *Store) Collect(ch chan<- prometheus.Metric) {
	for _, c := range s.meter.collectors() {
		c.Collect(ch)
	}
}

func (m *meter) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.commits, m.failures, m.safe}
}
