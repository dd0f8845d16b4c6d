package partition

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/catena-im/catena/pkg/bus"
)

// meter counts what the loops do.
type meter struct {
	messages *prometheus.CounterVec
	batches  *prometheus.CounterVec
	restarts *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

func newMeter(reg prometheus.Registerer) *meter {
	label := []string{"partition"}
	m := &meter{
		messages: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "catena_partition_messages_total", Help: "Stream messages applied.",
		}, label),
		batches: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "catena_partition_batches_total", Help: "Batches committed; messages by batches is the batch size.",
		}, label),
		restarts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "catena_partition_restarts_total", Help: "Runs of a partition that ended with an error.",
		}, label),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "catena_partition_batch_seconds", Help: "Time from having a batch to having answered it.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16),
		}, label),
	}
	if reg != nil {
		reg.MustRegister(m.messages, m.batches, m.restarts, m.seconds)
	}
	return m
}

func (m *meter) batch(p bus.Partition, messages int, d time.Duration) {
	m.messages.WithLabelValues(p.String()).Add(float64(messages))
	m.batches.WithLabelValues(p.String()).Inc()
	m.seconds.WithLabelValues(p.String()).Observe(d.Seconds())
}

func (m *meter) restart(p bus.Partition) { m.restarts.WithLabelValues(p.String()).Inc() }
