package bus_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/catena-im/catena/pkg/bus"
)

func TestAppendStoresAnIDOnce(t *testing.T) {
	t.Parallel()
	_, b := provisioned(t, small())
	for _, c := range []struct {
		id   string
		want uint64
	}{{"a", 1}, {"b", 2}, {"a", 1}, {"c", 3}, {"b", 2}} {
		got, err := b.Append(t.Context(), conv0, c.id, []byte("payload of "+c.id))
		must(t, err)
		if got != c.want {
			t.Errorf("append %s: got sequence %d, want %d", c.id, got, c.want)
		}
	}
}

func TestAppendToAFullStream(t *testing.T) {
	t.Parallel()
	_, b := provisioned(t, bus.Layout{ConvPartitions: 1, UserPartitions: 1, StreamMaxBytes: 8 << 10})
	r, err := b.Open(t.Context(), conv0)
	must(t, err)
	payload := []byte(strings.Repeat("x", 1000))
	var last uint64
	for i := range 100 {
		var seq uint64
		if seq, err = b.AppendUntil(soon(t), conv0, fmt.Sprint("m", i), payload); err != nil {
			break
		}
		last = seq
	}
	wantErr(t, err, bus.ErrFull)
	if last == 0 {
		t.Fatal("nothing was stored")
	}
	must(t, r.Purge(t.Context(), last))
	_, err = b.Append(t.Context(), conv0, "after the purge", payload)
	must(t, err)
}

func TestAppendRefusesWhatServersRefuse(t *testing.T) {
	t.Parallel()
	_, b := provisioned(t, small())
	_, err := b.Append(t.Context(), conv0, "large", make([]byte, bus.MaxPayload+1))
	wantErr(t, err, bus.ErrTooLarge)
	_, err = b.Append(t.Context(), conv0, strings.Repeat("i", 100), make([]byte, bus.MaxPayload))
	must(t, err)
}

func TestAppendWithoutStreamIsUnclear(t *testing.T) {
	t.Parallel()
	b := startNode(t).connect(bus.Config{})
	_, err := b.Append(t.Context(), conv0, "a", nil)
	wantErr(t, err, bus.ErrUnclear)

	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	done := make(chan error)
	go func() {
		_, err := b.AppendUntil(ctx, conv0, "a", nil)
		done <- err
	}()
	cancel(enough)
	err = <-done
	wantErr(t, err, bus.ErrUnclear)
	wantErr(t, err, enough)
}

func TestAppendUntilOutlivesTheServer(t *testing.T) {
	t.Parallel()
	n, b := provisioned(t, small())
	n.stop()
	_, err := b.Append(t.Context(), conv0, "a", nil)
	wantErr(t, err, bus.ErrUnclear)
	type result struct {
		seq uint64
		err error
	}
	done := make(chan result)
	go func() {
		seq, err := b.AppendUntil(soon(t), conv0, "a", nil)
		done <- result{seq, err}
	}()
	n.start()
	if got := <-done; got != (result{1, nil}) {
		t.Errorf("got sequence %d and error %v, want 1 and none", got.seq, got.err)
	}
}

func TestCloseEndsWhatWaits(t *testing.T) {
	t.Parallel()
	n, b := provisioned(t, small())
	r, err := b.Open(t.Context(), conv0)
	must(t, err)
	must(t, r.Seek(t.Context(), 1))
	read, appended := make(chan error), make(chan error)
	go func() {
		_, err := r.Next(t.Context(), 1, 1)
		read <- err
	}()
	b.Close()
	wantErr(t, <-read, bus.ErrInterrupted)
	wantErr(t, r.Seek(t.Context(), 1), bus.ErrClosed)
	_, err = b.Append(t.Context(), conv0, "a", nil)
	wantErr(t, err, bus.ErrClosed)
	wantErr(t, b.Publish(bus.AnnounceSubject(), nil), bus.ErrClosed)
	b.Close()

	away := n.connect(bus.Config{})
	n.stop()
	go func() {
		_, err := away.AppendUntil(t.Context(), conv0, "a", nil)
		appended <- err
	}()
	away.Close()
	wantErr(t, <-appended, bus.ErrClosed)
}

func TestConnectSaysWhereNobodyListens(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	n.stop()
	url := fmt.Sprintf("nats://127.0.0.1:%d", n.opts.Port)
	_, err := bus.Connect(t.Context(), bus.Config{URL: url}, nil)
	if err == nil || !strings.Contains(err.Error(), url) {
		t.Errorf("got error %v, want one that names %s", err, url)
	}
	_, err = bus.Connect(t.Context(), bus.Config{Cell: "a.b"}, nil)
	wantErr(t, err, bus.ErrInvalid)
}
