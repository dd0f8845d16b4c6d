package edge

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	imv1 "github.com/catena-im/catena/proto/im/v1"
)

type metrics struct {
	connections prometheus.Gauge
	sessions    prometheus.Gauge
	received    map[string]prometheus.Counter // by kind
	sent        prometheus.Counter
	refusals    *prometheus.CounterVec // by code
	closes      *prometheus.CounterVec // by code
	dropped     prometheus.Counter
	batch       prometheus.Histogram
	appends     *prometheus.CounterVec // by result
	lost        prometheus.Counter
	panics      prometheus.Counter
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	opts := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: "catena", Subsystem: "edge", Name: name, Help: help}
	}
	m := &metrics{
		connections: prometheus.NewGauge(prometheus.GaugeOpts(opts("connections", "Open connections."))),
		sessions:    prometheus.NewGauge(prometheus.GaugeOpts(opts("sessions", "Authenticated sessions."))),
		received:    make(map[string]prometheus.Counter),
		sent:        prometheus.NewCounter(opts("messages_sent_total", "WebSocket messages to clients; one may hold several frames.")),
		refusals:    prometheus.NewCounterVec(opts("refusals_total", "Errors told to clients."), []string{"code"}),
		closes:      prometheus.NewCounterVec(opts("closes_total", "Connections closed by the edge, by close code."), []string{"code"}),
		dropped:     prometheus.NewCounter(opts("pushes_dropped_total", "Pushes dropped because a client read too slowly.")),
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: "catena", Subsystem: "edge", Name: "lane_batch_commands",
			Help: "Commands in a published batch.", Buckets: prometheus.ExponentialBuckets(1, 2, 11)}),
		appends: prometheus.NewCounterVec(opts("lane_appends_total", "Published batches."), []string{"result"}),
		lost:    prometheus.NewCounter(opts("delivery_gaps_total", "Times at which deliveries of a user partition were missed.")),
		panics:  prometheus.NewCounter(opts("panics_total", "Connections ended by a panic.")),
	}
	received := prometheus.NewCounterVec(opts("frames_received_total", "Frames from clients."), []string{"type"})
	for _, kind := range kinds() {
		m.received[kind] = received.WithLabelValues(kind)
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.connections, m.sessions, received, m.sent, m.refusals, m.closes, m.dropped,
		m.batch, m.appends, m.lost, m.panics} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// kinds are all the kinds of frames that are counted.
func kinds() []string {
	all := []string{kindUnknown, kindUndecodable}
	requests := (*imv1.ClientFrame)(nil).ProtoReflect().Descriptor().Oneofs().ByName("body").Fields()
	for i := range requests.Len() {
		all = append(all, string(requests.Get(i).Name()))
	}
	return all
}

func (m *metrics) refused(code imv1.ErrorCode) { m.refusals.WithLabelValues(code.String()).Inc() }

func (m *metrics) closed(code uint16) { m.closes.WithLabelValues(strconv.Itoa(int(code))).Inc() }
