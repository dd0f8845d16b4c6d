package client

import (
	"errors"
	"time"

	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// backoff spreads repetitions: the n-th wait in a row lies anywhere between 0 and min·2ⁿ, at most max (full jitter).
type backoff struct{ min, max time.Duration }

func (b backoff) ceiling(failures int) time.Duration {
	wait := b.min
	for range failures {
		if wait >= b.max/2 {
			return b.max
		}
		wait *= 2
	}
	return min(wait, b.max)
}

// wait takes dice, evenly spread over [0, 1), so that the deciding code stays free of randomness.
func (b backoff) wait(failures int, dice float64) time.Duration {
	return time.Duration(dice * float64(b.ceiling(failures)))
}

// ending tells how a connection, or the attempt to make one, ended.
type ending struct {
	err       error
	connected bool          // the server had answered Connected
	lived     time.Duration // since then
	leaving   bool          // the server had said GoAway
	left      time.Duration // of the wait chosen then
}

// redial decides when to connect again and when not to.
type redial struct {
	backoff
	failures int
	refused  bool // the token of the last attempt was refused
	behind   bool // the server's chain ended too early at the last attempt
}

// next is the time to wait before the next attempt, or why there must be none.
func (r *redial) next(e ending, dice float64) (time.Duration, error) {
	if e.connected {
		r.refused, r.behind = false, false
		if e.lived >= r.ceiling(r.failures) {
			r.failures = 0
		}
	}
	if err := r.final(e); err != nil {
		return 0, err
	}
	if e.leaving {
		return e.left, nil
	}
	var refusal *Error
	isRefusal := errors.As(e.err, &refusal)
	if isRefusal && tokenRefused(refusal.Code) && !e.connected {
		r.refused = true
		return 0, nil
	}
	wait := r.wait(r.failures, dice)
	r.failures++
	if isRefusal {
		wait += refusal.RetryAfter
	}
	return wait, nil
}

// final returns e.err when connecting again cannot help.
func (r *redial) final(e ending) error {
	if errors.Is(e.err, ErrOtherUser) {
		return e.err
	}
	if errors.Is(e.err, ErrChainWentBack) {
		if r.behind {
			return e.err
		}
		r.behind = true
	}
	var refusal *Error
	if !errors.As(e.err, &refusal) {
		return nil
	}
	switch {
	case refusal.Code == imv1.ErrorCode_ERROR_CODE_UNSUPPORTED_VERSION,
		refusal.Code == imv1.ErrorCode_ERROR_CODE_SESSION_REPLACED:
		return e.err
	case e.connected, refusal.Code == imv1.ErrorCode_ERROR_CODE_UNAUTHENTICATED:
		return nil // a Connect that came too late says nothing about the next
	case tokenRefused(refusal.Code):
		if r.refused {
			return e.err
		}
		return nil
	case refusal.Retryable || ofConnection(refusal.Code):
		return nil
	}
	return e.err
}
