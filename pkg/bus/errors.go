package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

var (
	// ErrUnclear: no answer, or one that does not say whether the message was stored. Append it again under the same id.
	ErrUnclear = errors.New("bus: outcome of the append unknown")
	// ErrFull: the stream has reached its bytes and takes nothing until it is trimmed. Nothing was stored, unless the
	// error is ErrUnclear, too; try again later under the same id.
	ErrFull = errors.New("bus: stream is full")
	// ErrTooLarge: the payload exceeds MaxPayload. Nothing was stored or sent.
	ErrTooLarge = errors.New("bus: payload too large")
	// ErrInterrupted: the reader may have missed messages. Seek to the one after the last that was handled.
	ErrInterrupted = errors.New("bus: reading was interrupted")
	// ErrNotFound: the stream holds no message under this sequence (any more).
	ErrNotFound = errors.New("bus: message not found")
	// ErrNoStream: a stream, consumer or bucket is missing. The cell has to be provisioned.
	ErrNoStream = errors.New("bus: not provisioned")
	// ErrMismatch: the cluster was provisioned for something else than this process is configured for.
	ErrMismatch = errors.New("bus: configuration does not match the cluster")
	// ErrNoJetStream: the servers run without JetStream, or the account that this process belongs to may not use it.
	ErrNoJetStream = errors.New("bus: no JetStream")
	// ErrNoLeader: JetStream does not answer, most likely because servers that have just started are electing leaders.
	ErrNoLeader = errors.New("bus: JetStream does not answer")
	// ErrNoResponder: nobody answers requests on this subject now.
	ErrNoResponder = errors.New("bus: nobody answers")
	// ErrHeld: somebody else holds the lease.
	ErrHeld = errors.New("bus: lease is held")
	// ErrLost: the lease expired, was released or was taken by somebody else.
	ErrLost = errors.New("bus: lease is lost")
	// ErrInvalid: a name, subject or setting that cannot be right. Retrying does not help.
	ErrInvalid = errors.New("bus: invalid argument")
	// ErrClosed: the bus was closed.
	ErrClosed = errors.New("bus: closed")

	errDisconnected = errors.New("nats connection lost")
)

// Codes of JetStream's API errors that nats.go does not name.
const (
	codeAccountResources jetstream.ErrorCode = 10002 // the account's or the server's storage is used up
	codeNoPeers          jetstream.ErrorCode = 10005 // for the replicas; the text says why
	codeStorageResources jetstream.ErrorCode = 10047
	codeStoreFailed      jetstream.ErrorCode = 10077 // the text says why
	codeDuplicateInWork  jetstream.ErrorCode = 10158 // the first copy is neither stored nor refused yet
	codeTooManyRequests  jetstream.ErrorCode = 10167
)

// appendError puts what a publish to a stream returned into one of the sentinels. Only an answer of the server that
// refuses the message for good stays without one; everything that is not an answer leaves the outcome open.
func appendError(ctx context.Context, err error) error {
	var api *jetstream.APIError
	switch {
	case errors.As(err, &api):
		return apiAppendError(api)
	case errors.Is(err, nats.ErrMaxPayload):
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	default:
		err = connError(err)
	}
	if errors.Is(err, ErrClosed) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnclear, err)
}

func apiAppendError(api *jetstream.APIError) error {
	switch api.ErrorCode {
	case codeStoreFailed:
		if strings.Contains(api.Description, "exceeded") { // "maximum bytes exceeded"; other texts are faults of the disk
			return fmt.Errorf("%w: %w", ErrFull, api)
		}
		return fmt.Errorf("%w: %w", ErrUnclear, api)
	case codeAccountResources, codeStorageResources:
		return fmt.Errorf("%w: %w", ErrFull, api)
	case codeDuplicateInWork, codeTooManyRequests:
		return fmt.Errorf("%w: %w", ErrUnclear, api)
	case jetstream.JSErrCodeStreamMessageExceedsMaximum:
		return fmt.Errorf("%w: %w", ErrTooLarge, api)
	}
	if api.Code >= 500 {
		return fmt.Errorf("%w: %w", ErrUnclear, api)
	}
	return api
}

// apiError puts what a request to JetStream returned into one of the sentinels where there is one for it.
func apiError(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, jetstream.ErrStreamNotFound), errors.Is(err, jetstream.ErrConsumerNotFound),
		errors.Is(err, jetstream.ErrBucketNotFound):
		return fmt.Errorf("%w: %w", ErrNoStream, err)
	case errors.Is(err, jetstream.ErrMsgNotFound), errors.Is(err, jetstream.ErrKeyNotFound):
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	case ctx.Err() != nil && !errors.Is(err, nats.ErrConnectionClosed):
		return context.Cause(ctx)
	}
	return connError(err)
}

// setupError is apiError for the requests of a start, when JetStream may not be there, or not yet.
func setupError(ctx context.Context, err error) error {
	var api *jetstream.APIError
	switch {
	case errors.Is(err, ErrNoLeader):
		return err
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return fmt.Errorf("%w: %w", ErrNoJetStream, err)
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &api) && api.Code >= 500,
		// Servers that have just found each other drop doubled routes, and are offline for that moment.
		api != nil && api.ErrorCode == codeNoPeers && strings.Contains(api.Description, "offline"):
		return fmt.Errorf("%w: %w", ErrNoLeader, err)
	}
	return apiError(ctx, err)
}

// connError puts what the connection refused to send into the bus's words.
func connError(err error) error {
	switch {
	case errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrConnectionDraining):
		return fmt.Errorf("%w: %w", ErrClosed, err)
	case errors.Is(err, nats.ErrDisconnected), // this process has left the server
		errors.Is(err, nats.ErrReconnectBufExceeded): // the buffer is switched off
		return errDisconnected
	}
	return err
}
