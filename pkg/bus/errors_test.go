package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func TestAppendErrorsSayWhetherToTryAgain(t *testing.T) {
	api := func(status int, code jetstream.ErrorCode, text string) error {
		return fmt.Errorf("nats: %w", &jetstream.APIError{Code: status, ErrorCode: code, Description: text})
	}
	ended, end := context.WithCancelCause(context.Background())
	end(errDisconnected)
	background := context.Background()
	for _, c := range []struct {
		name string
		ctx  context.Context
		err  error
		want error // nil: permanent
	}{
		{"no stream or no leader", background, jetstream.ErrNoStreamResponse, ErrUnclear},
		{"no answer", background, context.DeadlineExceeded, ErrUnclear},
		{"connection lost", ended, context.Canceled, ErrUnclear},
		{"server left", background, nats.ErrDisconnected, ErrUnclear},
		{"connection away", background, nats.ErrReconnectBufExceeded, ErrUnclear},
		{"odd answer", background, jetstream.ErrInvalidJSAck, ErrUnclear},
		{"first copy in work", background, api(409, 10158, "duplicate message id is in process"), ErrUnclear},
		{"too many queued", background, api(429, 10167, "too many requests"), ErrUnclear},
		{"no leader in the cluster", background, api(503, 10008, "JetStream system temporarily unavailable"), ErrUnclear},
		{"disk fault", background, api(503, 10077, "input/output error"), ErrUnclear},
		{"bytes used up", background, api(503, 10077, "maximum bytes exceeded"), ErrFull},
		{"account used up", background, api(400, 10002, "resource limits exceeded for account"), ErrFull},
		{"storage used up", background, api(500, 10047, "insufficient storage resources available"), ErrFull},
		{"message beyond the stream", background, api(400, 10054, "message size exceeds maximum allowed"), ErrTooLarge},
		{"message beyond the server", background, nats.ErrMaxPayload, ErrTooLarge},
		{"closed", ended, nats.ErrConnectionClosed, ErrUnclear},
		{"closed while it stood", background, nats.ErrConnectionClosed, ErrClosed},
		{"another stream", background, api(400, 10060, "expected stream does not match"), nil},
	} {
		got := appendError(c.ctx, c.err)
		for _, sentinel := range []error{ErrUnclear, ErrFull, ErrTooLarge, ErrClosed} {
			if is, want := errors.Is(got, sentinel), errors.Is(c.want, sentinel); is != want {
				t.Errorf("%s: got %q; it is %q: %v, want %v", c.name, got, sentinel, is, want)
			}
		}
		if got == nil {
			t.Errorf("%s: the error got lost", c.name)
		}
	}
}

func TestStatusesFreeRoomOrEndTheFeed(t *testing.T) {
	header := func(pairs ...string) nats.Header {
		h := nats.Header{}
		for i := 0; i < len(pairs); i += 2 {
			h.Set(pairs[i], pairs[i+1])
		}
		return h
	}
	const pending, last = "Nats-Pending-Messages", "Nats-Last-Stream"
	for _, c := range []struct {
		name, status string
		header       nats.Header
		due          int // of 100
		failed       bool
	}{
		{"expired", "408", header("Description", "Request Timeout", pending, "60"), 40, false},
		{"out of bytes", "409", header("Description", "Message Size Exceeds MaxBytes", pending, "7"), 93, false},
		{"complete", "409", header("Description", "Batch Completed", pending, "0"), 100, false},
		{"more than was due", "408", header(pending, "400"), 0, false},
		{"heartbeat at the same place", "100", header(last, "5"), 100, false},
		{"heartbeat ahead", "100", header(last, "6"), 100, false},
		{"leadership change", "409", header("Description", "Leadership Change"), 100, true},
		{"consumer deleted", "409", header("Description", "Consumer Deleted"), 100, true},
		{"server shutdown", "409", header("Description", "Server Shutdown", pending, "60"), 100, true},
		{"no responders", "503", header(), 100, true},
		{"nonsense", "", header(), 100, true},
	} {
		f := &feed{due: 100, seen: 5}
		f.heed(c.status, c.header)
		if f.due != c.due || (f.err != nil) != c.failed {
			t.Errorf("%s: got %d due and error %v, want %d and failed %v", c.name, f.due, f.err, c.due, c.failed)
		}
	}
	f := &feed{seen: 5}
	for _, told := range []string{"6", "5", "6", "6"} { // it takes two in a row
		if f.err != nil {
			t.Fatalf("failed before heartbeat %s: %v", told, f.err)
		}
		f.heed("100", header(last, told))
	}
	if !errors.Is(f.err, ErrInterrupted) {
		t.Errorf("got %v, want %v", f.err, ErrInterrupted)
	}
}

func TestServerThatIsOfflineForAMomentIsWaitedFor(t *testing.T) {
	for text, want := range map[string]bool{
		"no suitable peers for placement, peer offline":                        true,
		"no suitable peers for placement, insufficient storage":                false,
		"no suitable peers for placement, tags not matched ['zone:elsewhere']": false,
	} {
		err := setupError(t.Context(), &jetstream.APIError{Code: 400, ErrorCode: 10005, Description: text})
		if got := errors.Is(err, ErrNoLeader); got != want || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: got %v", text, err)
		}
	}
}
