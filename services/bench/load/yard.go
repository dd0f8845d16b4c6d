package load

import (
	"context"

	"github.com/catena-im/catena/services/bench/latency"
	"github.com/catena-im/catena/services/bench/yardstick"
)

// Yardsticks is what the libraries reached bare, in the same run. A part that was not measured is 0.
type Yardsticks struct {
	RawPublish       float64           `json:"raw_publish_rate"`        // one JetStream stream, the server's default sync
	RawPublishSynced float64           `json:"raw_publish_synced_rate"` // the same, each message synced before it is acknowledged
	EchoRoundTrip    latency.Quantiles `json:"echo_round_trip"`         // of a bare gws server
	EchoRate         float64           `json:"echo_rate"`
	Fsync            latency.Quantiles `json:"fsync"` // 4 KiB appended and synced
}

func (b *Bench) hasYardsticks() bool { return len(b.deps.Yardsticks.Command) > 0 }

// measureYardsticks measures those that messages are held against.
func (b *Bench) measureYardsticks(ctx context.Context) (y Yardsticks, err error) {
	if !b.hasYardsticks() {
		return y, nil
	}
	b.say("yardsticks: raw JetStream publish, gws echo, fsync")
	if y.RawPublish, err = b.rawPublish(ctx, false); err != nil {
		return y, err
	}
	if !b.Interval {
		if y.RawPublishSynced, err = b.rawPublish(ctx, true); err != nil {
			return y, err
		}
	}
	echo, err := b.deps.Yardsticks.Echo(ctx, b.Body, b.Config.Yardsticks/2)
	if err != nil {
		return y, err
	}
	y.EchoRoundTrip, y.EchoRate = echo.RoundTrip, echo.Rate
	y.Fsync, err = b.deps.Yardsticks.Fsync(ctx, b.Config.Yardsticks/3)
	return y, err
}

func (b *Bench) rawPublish(ctx context.Context, sync bool) (float64, error) {
	if !b.hasYardsticks() {
		return 0, nil
	}
	result, err := b.deps.Yardsticks.Publish(ctx, b.Body, sync, b.Config.Yardsticks)
	return result.Rate, err
}

// publishAgain measures raw publish once more and takes the mean: the machine may have become faster or slower.
func (b *Bench) publishAgain(ctx context.Context, y *Yardsticks) error {
	if !b.hasYardsticks() {
		return nil
	}
	b.say("yardsticks: raw JetStream publish once more")
	again, err := b.rawPublish(ctx, false)
	if y.RawPublish = (y.RawPublish + again) / 2; y.RawPublish == 0 {
		y.RawPublish = again
	}
	return err
}

// PebbleYardstick is what plain Pebble reached.
type PebbleYardstick = yardstick.PebbleResult

// ratio is a/b, 0 where b is not known.
func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}
