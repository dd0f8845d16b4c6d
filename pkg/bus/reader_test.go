package bus_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/catena-im/catena/pkg/bus"
)

const plenty = 1 << 30

// fill appends n messages, the first of them with the sequence first.
func fill(t *testing.T, b *bus.Bus, first, n, size int) {
	t.Helper()
	for i := first; i < first+n; i++ {
		seq, err := b.AppendUntil(soon(t), conv0, fmt.Sprint("m", i), make([]byte, size))
		must(t, err)
		if seq != uint64(i) {
			t.Fatalf("message %d got sequence %d", i, seq)
		}
	}
}

func open(t *testing.T, b *bus.Bus) *bus.Reader {
	t.Helper()
	r, err := b.Open(t.Context(), conv0)
	must(t, err)
	t.Cleanup(r.Close)
	return r
}

func seqs(batch []bus.Msg) string {
	var s []uint64
	for _, m := range batch {
		s = append(s, m.Seq)
	}
	return fmt.Sprint(s)
}

// read takes messages until last has come and checks that they follow one another.
func read(t *testing.T, r *bus.Reader, first, last uint64) {
	t.Helper()
	for next := first; next <= last; {
		batch, err := r.Next(soon(t), 100, plenty)
		must(t, err)
		for _, m := range batch {
			if want := fmt.Sprint("m", next); m.Seq != next || m.ID != want {
				t.Fatalf("got message %d with id %s, want %d with %s", m.Seq, m.ID, next, want)
			}
			next++
		}
	}
}

func TestReaderTakesWhatWaitsUpToItsBounds(t *testing.T) {
	t.Parallel()
	_, b := provisioned(t, small())
	fill(t, b, 1, 9, 100)
	fill(t, b, 10, 1, 1000)
	fill(t, b, 11, 1, 100)
	r := open(t, b)
	must(t, r.Seek(t.Context(), 1))
	for _, c := range []struct {
		maxMsgs, maxBytes int
		atMost            string // what the bounds admit, once everything has arrived
	}{
		{1, plenty, "[1]"},
		{3, plenty, "[2 3 4]"},
		{plenty, 350, "[5 6 7]"},
		{2, 0, "[8]"},
		{plenty, 500, "[9]"},
		{plenty, 500, "[10]"},
		{0, 0, "[11]"},
	} {
		var got []bus.Msg
		for seqs(got) != c.atMost {
			batch, err := r.Next(soon(t), c.maxMsgs-len(got), c.maxBytes-100*len(got))
			must(t, err)
			if got = append(got, batch...); len(seqs(got)) > len(c.atMost) {
				t.Fatalf("got %s with %d messages and %d bytes, want at most %s", seqs(got), c.maxMsgs, c.maxBytes, c.atMost)
			}
		}
	}
}

func TestReaderGetsWhatArrivesWhileItWaits(t *testing.T) {
	t.Parallel()
	_, b := provisioned(t, small())
	r := open(t, b)
	must(t, r.Seek(t.Context(), 0))
	for i := range 20 {
		got := make(chan []bus.Msg)
		go func() {
			batch, err := r.Next(soon(t), plenty, plenty)
			if err != nil {
				t.Error(err)
			}
			got <- batch
		}()
		_, err := b.Append(t.Context(), conv0, fmt.Sprint("m", i), []byte("hello"))
		must(t, err)
		if batch := <-got; len(batch) != 1 || batch[0].Seq != uint64(i+1) || string(batch[0].Data) != "hello" || batch[0].Time.IsZero() {
			t.Fatalf("got %+v", batch)
		}
	}
}

func TestSeekReplaysAndDropsWhatWasPrefetched(t *testing.T) {
	t.Parallel()
	_, b := provisioned(t, small())
	fill(t, b, 1, 700, 10)
	r := open(t, b)
	_, err := r.Next(t.Context(), 1, 1)
	wantErr(t, err, bus.ErrInterrupted)
	for _, c := range []struct{ from, to uint64 }{{1, 10}, {5, 700}, {1, 1}, {690, 700}, {0, 3}, {300, 400}} {
		must(t, r.Seek(t.Context(), c.from))
		read(t, r, max(c.from, 1), c.to)
	}
	must(t, r.Seek(t.Context(), 701))
	fill(t, b, 701, 1, 10)
	read(t, r, 701, 701)
}

func TestReaderPassesTheBoundOfAPullRequest(t *testing.T) {
	t.Parallel()
	_, b := provisioned(t, small())
	fill(t, b, 1, 60, 500<<10) // 30 MB; a request is bounded to 4 MiB
	r := open(t, b)
	must(t, r.Seek(t.Context(), 1))
	read(t, r, 1, 60)
}

func TestNextGoesOnAfterItsContextEnded(t *testing.T) {
	t.Parallel()
	_, b := provisioned(t, small())
	r := open(t, b)
	must(t, r.Seek(t.Context(), 1))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := r.Next(ctx, 1, 1)
	wantErr(t, err, context.Canceled)
	fill(t, b, 1, 1, 10)
	read(t, r, 1, 1)
}

// follow reads as the partition loop does: it drops repetitions and seeks after a gap or an error.
func follow(ctx context.Context, r *bus.Reader, last uint64) error {
	for next, seek := uint64(1), true; next <= last; {
		if seek {
			if err := r.Seek(ctx, next); err != nil {
				if ctx.Err() != nil || errors.Is(err, bus.ErrClosed) {
					return fmt.Errorf("before %d: %w", next, err)
				}
				continue
			}
		}
		batch, err := r.Next(ctx, 10, plenty)
		if ctx.Err() != nil {
			return fmt.Errorf("before %d: %w", next, err)
		}
		seek = err != nil
		for _, m := range batch {
			if m.Seq > next {
				seek = true
				break
			}
			if m.Seq == next {
				next++
			}
		}
	}
	return nil
}

func TestReaderSurvivesRestartsOfTheServer(t *testing.T) {
	t.Parallel()
	n, b := provisioned(t, small())
	r := open(t, b)
	done := make(chan error)
	go func() { done <- follow(soon(t), r, 60) }()
	for i := range 3 {
		fill(t, b, 20*i+1, 10, 10)
		n.stop()
		n.start()
		fill(t, b, 20*i+11, 10, 10)
	}
	must(t, <-done)
}

func TestReaderNoticesAMessageThatWentElsewhere(t *testing.T) {
	t.Parallel()
	n, b := provisioned(t, small())
	r, thief := open(t, b), open(t, n.connect(bus.Config{}))
	must(t, thief.Seek(t.Context(), 1))
	must(t, r.Seek(t.Context(), 1)) // the thief's request is older and is served first
	fill(t, b, 1, 1, 10)
	read(t, thief, 1, 1)
	thief.Close()
	_, err := r.Next(soon(t), 1, 1) // no further message comes that would show the gap
	wantErr(t, err, bus.ErrInterrupted)
	_, again := r.Next(soon(t), 1, 1)
	wantErr(t, again, bus.ErrInterrupted)
	must(t, r.Seek(t.Context(), 1))
	read(t, r, 1, 1)
}

func TestReaderNoticesThatItsConsumerIsGone(t *testing.T) {
	t.Parallel()
	n, b := provisioned(t, small())
	fill(t, b, 1, 1, 10)
	r := open(t, b)
	must(t, r.Seek(t.Context(), 1))
	read(t, r, 1, 1)
	must(t, n.jetstream().DeleteConsumer(t.Context(), "IM_CONV_000", "seq"))
	_, err := r.Next(soon(t), 1, 1)
	wantErr(t, err, bus.ErrInterrupted)
	wantErr(t, r.Seek(t.Context(), 1), bus.ErrNoStream)
	_, err = b.Open(t.Context(), conv0)
	wantErr(t, err, bus.ErrNoStream)
	_, err = b.Provision(t.Context(), small())
	must(t, err)
	must(t, r.Seek(t.Context(), 1))
	read(t, r, 1, 1)
}

func TestStateAndMessageIDShowWhatPurgeLeft(t *testing.T) {
	t.Parallel()
	n, b := provisioned(t, small())
	r := open(t, b)
	check := func(first, last uint64) bus.StreamState {
		t.Helper()
		got, err := r.State(t.Context())
		must(t, err)
		if got.First != first || got.Last != last || got.MaxBytes != 64<<20 || got.Created.IsZero() {
			t.Errorf("got state %+v, want first %d and last %d", got, first, last)
		}
		return got
	}
	before := check(1, 0)
	fill(t, b, 1, 10, 10)
	must(t, r.Purge(t.Context(), 0))
	check(1, 10)
	must(t, r.Purge(t.Context(), 4))
	check(4, 10)
	for _, c := range []struct {
		seq  uint64
		id   string
		want error
	}{{0, "", bus.ErrNotFound}, {3, "", bus.ErrNotFound}, {4, "m4", nil}, {10, "m10", nil}, {11, "", bus.ErrNotFound}} {
		m, err := r.Message(t.Context(), c.seq)
		if m.ID != c.id || !errors.Is(err, c.want) {
			t.Errorf("message %d: got id %q and error %v, want %q and %v", c.seq, m.ID, err, c.id, c.want)
		}
	}
	must(t, r.Seek(t.Context(), 4))
	read(t, r, 4, 10)
	must(t, r.Purge(t.Context(), 11))
	after := check(11, 10)
	if !before.Created.Equal(after.Created) {
		t.Errorf("created changed from %s to %s", before.Created, after.Created)
	}
	must(t, n.jetstream().DeleteStream(t.Context(), "IM_CONV_000"))
	_, err := r.State(t.Context())
	wantErr(t, err, bus.ErrNoStream)
}

func TestMessageIsReadBesideTheConsumer(t *testing.T) {
	t.Parallel()
	_, b := provisioned(t, small())
	r := open(t, b)
	_, err := b.Append(t.Context(), conv0, "named", []byte("payload\x00"))
	must(t, err)
	must(t, r.Seek(t.Context(), 1))
	got, err := r.Message(t.Context(), 1)
	must(t, err)
	if got.Seq != 1 || got.ID != "named" || string(got.Data) != "payload\x00" || got.Time.IsZero() {
		t.Errorf("got %+v, want the message as it was appended", got)
	}
	_, err = r.Message(t.Context(), 2)
	wantErr(t, err, bus.ErrNotFound)
	msgs, err := r.Next(t.Context(), 1, 1)
	must(t, err)
	if len(msgs) != 1 || msgs[0].Seq != 1 {
		t.Errorf("Next gives %+v, want the same message: reading it beside the consumer must not take it", msgs)
	}
}

func TestAckMovesTheFloorThatOperatorsSee(t *testing.T) {
	t.Parallel()
	n, b := provisioned(t, small())
	fill(t, b, 1, 10, 10)
	r := open(t, b)
	must(t, r.Seek(t.Context(), 1))
	for range 10 {
		_, err := r.Next(soon(t), 1, plenty)
		must(t, err)
	}
	consumer, err := n.jetstream().Consumer(t.Context(), "IM_CONV_000", "seq")
	must(t, err)
	for _, c := range []struct{ ack, floor uint64 }{{4, 4}, {2, 4}, {99, 10}} {
		r.Ack(c.ack)
		for ctx := soon(t); ; { // until the server has seen it
			info, err := consumer.Info(ctx)
			must(t, err)
			if info.AckFloor.Stream == c.floor {
				break
			}
		}
	}
}
