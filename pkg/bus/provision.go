package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	formatVersion   = 2        // of the streams and of the store; 1 had other partitions for ids, and fences in a range of their own
	layoutKey       = "layout" // in im_cluster
	consumerAckWait = time.Hour
)

// Report names what Provision made or changed; both are empty when everything was as it should be.
type Report struct {
	Created, Updated []string
}

// record is what im_cluster holds under layoutKey.
type record struct {
	Format         int    `json:"format"`
	Cell           string `json:"cell"`
	ConvPartitions int    `json:"conv_partitions"`
	UserPartitions int    `json:"user_partitions"`
}

// Provision makes the cell's streams, consumers and buckets, or brings those that are there to l. It may be repeated,
// also after it was broken off. ErrMismatch when the cluster was provisioned with other partition counts or for another
// cell; nothing is changed then. ErrNoJetStream and ErrNoLeader say that JetStream is not there, or not yet.
func (b *Bus) Provision(ctx context.Context, l Layout) (Report, error) {
	l = l.withDefaults()
	var report Report
	if err := l.validate(); err != nil {
		return report, err
	}
	if err := b.provisionRecord(ctx, l, &report); err != nil {
		return report, fmt.Errorf("provision %s: %w", ClusterBucket, setupError(ctx, err))
	}
	owners := jetstream.KeyValueConfig{Bucket: OwnersBucket, Description: "ownership leases", Replicas: l.Replicas,
		History: 1, LimitMarkerTTL: markerTTL}
	if _, err := b.provisionBucket(ctx, owners, &report); err != nil {
		return report, fmt.Errorf("provision %s: %w", OwnersBucket, setupError(ctx, err))
	}
	for _, p := range l.Partitions() {
		if err := b.provisionPartition(ctx, p, l, &report); err != nil {
			return report, fmt.Errorf("provision %s: %w", p.Stream(), setupError(ctx, err))
		}
	}
	return report, nil
}

// Verify compares what the cluster was provisioned for with the counts of l and the cell of b. ErrNoStream when it was
// not provisioned at all, ErrMismatch when it was provisioned for something else; else as Provision.
func (b *Bus) Verify(ctx context.Context, l Layout) error {
	r, err := b.recorded(ctx)
	if err == nil {
		err = r.compare(l.withDefaults())
	}
	if err != nil {
		return fmt.Errorf("verify %s: %w", ClusterBucket, err)
	}
	return nil
}

// Recorded are the partition counts that the cluster was provisioned with. Errors as of Verify; the counts are no
// mismatch.
func (b *Bus) Recorded(ctx context.Context) (conv, user int, err error) {
	r, err := b.recorded(ctx)
	if err != nil {
		return 0, 0, fmt.Errorf("look at %s: %w", ClusterBucket, err)
	}
	return r.ConvPartitions, r.UserPartitions, nil
}

// Mismatch is the ErrMismatch of one setting.
type Mismatch struct {
	What string // one of the Mismatch constants
	text string
}

// What may differ between a configuration and the cluster.
const (
	MismatchFormat = "format"
	MismatchCell   = "cell"
	MismatchConv   = "conversation partitions"
	MismatchUser   = "user partitions"
)

func (m *Mismatch) Error() string { return ErrMismatch.Error() + ": " + m.text }

// Is makes it an ErrMismatch.
func (m *Mismatch) Is(target error) bool { return target == ErrMismatch }

// Time asks the servers for their time.
func (b *Bus) Time(ctx context.Context) (time.Time, error) {
	ctx, cancel := b.bounded(ctx, apiTimeout)
	defer cancel()
	s, err := b.js.Stream(ctx, "KV_"+ClusterBucket)
	if err != nil {
		return time.Time{}, fmt.Errorf("look at %s: %w", ClusterBucket, setupError(ctx, err))
	}
	return s.CachedInfo().TimeStamp, nil
}

// provisionRecord writes the record or compares the one that is there, before anything depends on it.
func (b *Bus) provisionRecord(ctx context.Context, l Layout, report *Report) error {
	kv, err := b.provisionBucket(ctx, jetstream.KeyValueConfig{Bucket: ClusterBucket,
		Description: "what the cluster was provisioned for", Replicas: l.Replicas}, report)
	if err != nil {
		return err
	}
	value, err := json.Marshal(record{formatVersion, b.cell, l.ConvPartitions, l.UserPartitions})
	if err != nil {
		return err
	}
	_, err = kv.Create(ctx, layoutKey, value)
	if errors.Is(err, jetstream.ErrKeyExists) {
		r, err := b.readRecord(ctx, kv)
		if err != nil {
			return err
		}
		return r.compare(l)
	}
	return err
}

// recorded is the record of a cluster whose bucket has to be looked for. Its errors are those of a start.
func (b *Bus) recorded(ctx context.Context) (record, error) {
	ctx, cancel := b.bounded(ctx, apiTimeout)
	defer cancel()
	kv, err := b.js.KeyValue(ctx, ClusterBucket)
	if err != nil {
		return record{}, setupError(ctx, err)
	}
	r, err := b.readRecord(ctx, kv)
	return r, setupError(ctx, err)
}

// readRecord refuses a record of another format or cell.
func (b *Bus) readRecord(ctx context.Context, kv jetstream.KeyValue) (r record, err error) {
	entry, err := kv.Get(ctx, layoutKey)
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return r, fmt.Errorf("%w: %s holds no %q", ErrNoStream, ClusterBucket, layoutKey)
	case errors.Is(err, nats.ErrNoResponders): // the bucket is known, but no server has it open
		return r, fmt.Errorf("%w: %w", ErrNoLeader, err)
	case err != nil:
		return r, apiError(ctx, err)
	}
	if err := json.Unmarshal(entry.Value(), &r); err != nil {
		return r, fmt.Errorf("decode %q: %w", layoutKey, err)
	}
	switch {
	case r.Format != formatVersion:
		return r, &Mismatch{MismatchFormat, fmt.Sprintf("this program speaks format %d, the cluster was provisioned with format %d; "+
			"run the version of the program that fits", formatVersion, r.Format)}
	case r.Cell != b.cell:
		return r, &Mismatch{MismatchCell, fmt.Sprintf("configured for cell %q, the cluster was provisioned for cell %q; "+
			"configure %[2]q, or the servers of %[1]q", b.cell, r.Cell)}
	}
	return r, nil
}

// compare refuses other counts than those of the record.
func (r record) compare(l Layout) error {
	switch {
	case r.ConvPartitions != l.ConvPartitions:
		return &Mismatch{MismatchConv, fmt.Sprintf("configured for %d conversation partitions, the cluster was provisioned with %d; "+
			"the number is fixed from then on: configure %[2]d, or provision a new cluster", l.ConvPartitions, r.ConvPartitions)}
	case r.UserPartitions != l.UserPartitions:
		return &Mismatch{MismatchUser, fmt.Sprintf("configured for %d user partitions, the cluster was provisioned with %d; "+
			"the number is fixed from then on: configure %[2]d, or provision a new cluster", l.UserPartitions, r.UserPartitions)}
	}
	return nil
}

func (b *Bus) provisionBucket(ctx context.Context, want jetstream.KeyValueConfig, report *Report) (jetstream.KeyValue, error) {
	kv, err := b.js.KeyValue(ctx, want.Bucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		report.Created = append(report.Created, want.Bucket)
		return b.js.CreateKeyValue(ctx, want)
	}
	if err != nil {
		return nil, err
	}
	status, err := kv.Status(ctx)
	if err != nil {
		return nil, err
	}
	have := status.Config()
	if max(have.Replicas, 1) == want.Replicas && have.LimitMarkerTTL == want.LimitMarkerTTL {
		return kv, nil
	}
	have.Replicas, have.LimitMarkerTTL = want.Replicas, want.LimitMarkerTTL
	report.Updated = append(report.Updated, want.Bucket)
	return b.js.UpdateKeyValue(ctx, have)
}

func (b *Bus) provisionPartition(ctx context.Context, p Partition, l Layout, report *Report) error {
	stream, err := b.js.Stream(ctx, p.Stream())
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		report.Created = append(report.Created, p.Stream())
		stream, err = b.js.CreateStream(ctx, b.streamConfig(jetstream.StreamConfig{}, p, l))
	case err == nil:
		have := stream.CachedInfo().Config
		if want := b.streamConfig(have, p, l); !reflect.DeepEqual(have, want) {
			report.Updated = append(report.Updated, p.Stream())
			stream, err = b.js.UpdateStream(ctx, want)
		}
	}
	if err != nil {
		return err
	}
	return provisionConsumer(ctx, stream, p, l, report)
}

// streamConfig puts what the design asks for into c and leaves the rest, such as a placement, as it is.
func (b *Bus) streamConfig(c jetstream.StreamConfig, p Partition, l Layout) jetstream.StreamConfig {
	c.Name = p.Stream()
	c.Subjects = []string{b.streamSubject(p)}
	c.Retention = jetstream.LimitsPolicy
	c.Storage = jetstream.FileStorage
	c.Discard = jetstream.DiscardNew // the other policy would drop what nobody has read yet
	c.Replicas = l.Replicas
	c.MaxBytes = l.StreamMaxBytes
	c.MaxAge = 0 // age says nothing about who has read what; the readers purge what they are done with
	c.MaxMsgSize = maxMessage
	c.Duplicates = l.DuplicateWindow
	c.AllowDirect = true
	c.DenyDelete = true // of single messages, which would be gaps to a reader; purging the beginning stays allowed
	return c
}

func provisionConsumer(ctx context.Context, stream jetstream.Stream, p Partition, l Layout, report *Report) error {
	name := p.Stream() + " > " + Consumer
	consumer, err := stream.Consumer(ctx, Consumer)
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound):
		report.Created = append(report.Created, name)
		_, err = stream.CreateConsumer(ctx, consumerConfig(jetstream.ConsumerConfig{}, l))
	case err == nil:
		have := consumer.CachedInfo().Config
		want := consumerConfig(have, l)
		if reflect.DeepEqual(have, want) {
			break
		}
		report.Updated = append(report.Updated, name)
		if have.MemoryStorage != want.MemoryStorage { // it cannot be moved, and holds nothing that its reader does not know
			err = stream.DeleteConsumer(ctx, Consumer)
		}
		if err == nil {
			_, err = stream.CreateOrUpdateConsumer(ctx, want)
		}
	}
	if err != nil {
		return fmt.Errorf("consumer %s: %w", Consumer, err)
	}
	return nil
}

// consumerConfig asks for a consumer that only counts: readers take their position from the store and reset it, so
// nothing may be sent again by itself or held back until an acknowledgement.
func consumerConfig(c jetstream.ConsumerConfig, l Layout) jetstream.ConsumerConfig {
	c.Durable = Consumer
	c.AckPolicy = jetstream.AckAllPolicy
	c.AckWait = consumerAckWait
	c.MaxDeliver = -1
	c.MaxAckPending = -1
	c.DeliverPolicy = jetstream.DeliverAllPolicy
	c.Replicas = l.Replicas
	c.MemoryStorage = l.ConsumersInMemory
	return c
}
