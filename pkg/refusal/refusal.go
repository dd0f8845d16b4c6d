// Package refusal makes the errors that clients see: a code of the one enum, a text that says what happened and what
// to do, and whether sending again may help. Which code a situation gets is decided by the callers.
package refusal

import (
	"errors"
	"fmt"
	"strings"
	"time"

	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// Refusal is an error that may be shown to a client as it is.
type Refusal struct{ wire *imv1.Error }

// New makes a refusal. Whether it is retryable follows from its code. The text may quote what a client sent: bytes that
// are not UTF-8, which could not be sent back, are replaced.
func New(code imv1.ErrorCode, format string, args ...any) *Refusal {
	text := strings.ToValidUTF8(fmt.Sprintf(format, args...), "\uFFFD")
	return &Refusal{&imv1.Error{Code: code, Text: text, Retryable: retryable(code)}}
}

// After adds how long the client should wait before it sends again.
func (r *Refusal) After(d time.Duration) *Refusal {
	r.wire.RetryAfterMs = uint32(d.Milliseconds())
	return r
}

func (r *Refusal) Error() string { return r.wire.GetText() }

// Code is the kind of the refusal.
func (r *Refusal) Code() imv1.ErrorCode { return r.wire.GetCode() }

// Wire is the refusal as clients get it; not to be changed.
func (r *Refusal) Wire() *imv1.Error { return r.wire }

// Of is err as clients get it: the Refusal in its chain, or INTERNAL, which tells nothing of err.
func Of(err error) *imv1.Error {
	var r *Refusal
	if errors.As(err, &r) {
		return r.wire
	}
	return New(imv1.ErrorCode_ERROR_CODE_INTERNAL, "the server met a fault of its own, which is in its log; try again later").wire
}

func retryable(c imv1.ErrorCode) bool {
	switch c {
	case imv1.ErrorCode_ERROR_CODE_OUT_OF_ORDER, imv1.ErrorCode_ERROR_CODE_RATE_LIMITED,
		imv1.ErrorCode_ERROR_CODE_OVERLOADED, imv1.ErrorCode_ERROR_CODE_UNAVAILABLE,
		imv1.ErrorCode_ERROR_CODE_GOING_AWAY, imv1.ErrorCode_ERROR_CODE_INTERNAL,
		imv1.ErrorCode_ERROR_CODE_CONNECTION_STALE:
		return true
	}
	return false
}
