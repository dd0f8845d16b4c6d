package client

import (
	"errors"
	"fmt"
	"strings"
	"time"

	imv1 "github.com/catena-im/catena/proto/im/v1"
	"github.com/coder/websocket"
)

var (
	// ErrOutboxFull: Config.MaxQueued messages wait for their answers; try again when some are answered.
	ErrOutboxFull = errors.New("the outbox is full; wait until messages in it are answered")
	// ErrNotQueued: no such message is in the outbox: it was answered or withdrawn, or never queued under this name.
	ErrNotQueued = errors.New("no such message is in the outbox")
	// ErrWithdrawn: the message was taken out of the outbox by Withdraw before it was answered.
	ErrWithdrawn = errors.New("the message was withdrawn")
	// ErrStopped: Run has ended, so nothing is sent any more. The error that wraps it tells why Run ended.
	ErrStopped = errors.New("the client has stopped")
	// ErrOtherUser: the token names another user than the one whom the Store belongs to.
	ErrOtherUser = errors.New("the store belongs to another user; give each user and device a store of its own")
	// ErrChainWentBack: the server's user chain ends before the stored position, so the server lost or replaced its data.
	ErrChainWentBack = errors.New("the server's user chain ends before what this device holds; the server's data was replaced, start with a new store")

	errSilent   = errors.New("nothing heard for 2.5 heartbeats")
	errNoAnswer = errors.New("requests stay unanswered though the connection lives")
)

// Error is a refusal by the server, or by the client where it can tell that the server would have to refuse.
type Error struct {
	Code       imv1.ErrorCode
	Text       string        // what happened and what to do, for people
	Retryable  bool          // whether the same request may succeed later
	RetryAfter time.Duration // how long to wait before that; 0 when the server does not say
}

func (e *Error) Error() string {
	name := strings.ToLower(strings.TrimPrefix(e.Code.String(), "ERROR_CODE_"))
	return fmt.Sprintf("%s: %s", name, e.Text)
}

func fromWire(e *imv1.Error) *Error {
	return &Error{
		Code:       e.GetCode(),
		Text:       e.GetText(),
		Retryable:  e.GetRetryable() || e.GetCode() == imv1.ErrorCode_ERROR_CODE_OUT_OF_ORDER,
		RetryAfter: time.Duration(e.GetRetryAfterMs()) * time.Millisecond,
	}
}

// tokenRefused tells whether a fresh token may help.
func tokenRefused(code imv1.ErrorCode) bool {
	switch code {
	case imv1.ErrorCode_ERROR_CODE_TOKEN_INVALID, imv1.ErrorCode_ERROR_CODE_TOKEN_EXPIRED,
		imv1.ErrorCode_ERROR_CODE_TOKEN_AUDIENCE, imv1.ErrorCode_ERROR_CODE_TOKEN_DEVICE:
		return true
	}
	return false
}

// ofConnection tells whether an error says something about the connection and nothing about the request it answers.
func ofConnection(code imv1.ErrorCode) bool {
	switch code {
	case imv1.ErrorCode_ERROR_CODE_UNAUTHENTICATED, imv1.ErrorCode_ERROR_CODE_UNSUPPORTED_VERSION,
		imv1.ErrorCode_ERROR_CODE_SESSION_REPLACED, imv1.ErrorCode_ERROR_CODE_CONNECTION_STALE,
		imv1.ErrorCode_ERROR_CODE_GOING_AWAY:
		return true
	}
	return tokenRefused(code)
}

// A closing is what a close code stands for when no error frame came before it.
type closing struct {
	code      imv1.ErrorCode
	retryable bool
}

var closings = map[websocket.StatusCode]closing{
	websocket.StatusGoingAway:     {imv1.ErrorCode_ERROR_CODE_GOING_AWAY, true},
	websocket.StatusMessageTooBig: {imv1.ErrorCode_ERROR_CODE_FRAME_TOO_LARGE, false},
	4400:                          {imv1.ErrorCode_ERROR_CODE_MALFORMED_FRAME, false},
	4401:                          {imv1.ErrorCode_ERROR_CODE_TOKEN_INVALID, false},
	4408:                          {imv1.ErrorCode_ERROR_CODE_CONNECTION_STALE, true},
	4409:                          {imv1.ErrorCode_ERROR_CODE_SESSION_REPLACED, false},
	4429:                          {imv1.ErrorCode_ERROR_CODE_RATE_LIMITED, true},
}

// closeError makes an *Error of err when it is a close frame whose code says what happened.
func closeError(err error) error {
	var frame websocket.CloseError
	if !errors.As(err, &frame) {
		return err
	}
	c, known := closings[frame.Code]
	if !known {
		return err
	}
	text := fmt.Sprintf("the server closed the connection with %d: %s", frame.Code, frame.Reason)
	return &Error{Code: c.code, Text: text, Retryable: c.retryable}
}
