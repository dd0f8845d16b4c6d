package partition

import (
	"errors"
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

// newMeter registers with reg. An owner that comes after another in the same process counts on where that one ended.
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
		m.messages, m.batches = registered(reg, m.messages), registered(reg, m.batches)
		m.restarts, m.seconds = registered(reg, m.restarts), registered(reg, m.seconds)
	}
	return m
}

// registered is c, or what was registered in its place before.
func registered[C prometheus.Collector](reg prometheus.Registerer, c C) C {
	err := reg.Register(c)
	if earlier, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		return earlier.ExistingCollector.(C)
	}
	if err != nil {
		panic(err) // a name of ours is wrong
	}
	return c
}

func (m *meter) batch(p bus.Partition, messages int, d time.Duration) {
	m.messages.WithLabelValues(p.String()).Add(float64(messages))
	m.batches.WithLabelValues(p.String()).Inc()
	m.seconds.WithLabelValues(p.String()).Observe(d.Seconds())
}

func (m *meter) restart(p bus.Partition) { m.restarts.WithLabelValues(p.String()).Inc() }
