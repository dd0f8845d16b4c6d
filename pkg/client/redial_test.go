package client

import (
	"context"
	"errors"
	"testing"
	"time"

	imv1 "github.com/catena-im/catena/proto/im/v1"
)

func TestRedial(t *testing.T) {
	lost := errors.New("lost")
	refusal := func(code imv1.ErrorCode, retryable bool) error { return &Error{Code: code, Retryable: retryable} }
	token := refusal(imv1.ErrorCode_ERROR_CODE_TOKEN_INVALID, false)
	type attempt struct {
		ending ending
		wait   time.Duration
		final  bool
	}
	for _, tc := range []struct {
		name     string
		attempts []attempt
	}{
		{"waits grow up to the longest", []attempt{
			{ending{err: lost}, 1 * time.Second, false},
			{ending{err: lost}, 2 * time.Second, false},
			{ending{err: lost}, 4 * time.Second, false},
			{ending{err: lost}, 5 * time.Second, false},
		}},
		{"a connection that lived begins again, one that did not counts on", []attempt{
			{ending{err: lost}, 1 * time.Second, false},
			{ending{err: lost, connected: true, lived: time.Second}, 2 * time.Second, false},
			{ending{err: lost, connected: true, lived: time.Minute}, 1 * time.Second, false},
		}},
		{"a server that goes away has said when", []attempt{
			{ending{err: lost}, 1 * time.Second, false},
			{ending{err: lost, connected: true, leaving: true, left: 7 * time.Second}, 7 * time.Second, false},
		}},
		{"a refused token is asked for once more at once", []attempt{
			{ending{err: token}, 0, false},
			{ending{err: token}, 0, true},
		}},
		{"an accepted token in between counts", []attempt{
			{ending{err: token}, 0, false},
			{ending{err: lost, connected: true}, 1 * time.Second, false},
			{ending{err: token}, 0, false},
		}},
		{"a token that expires while connected is no refusal", []attempt{
			{ending{err: refusal(imv1.ErrorCode_ERROR_CODE_TOKEN_EXPIRED, true), connected: true}, 1 * time.Second, false},
			{ending{err: token}, 0, false},
		}},
		{"a Connect that came too late is tried again", []attempt{
			{ending{err: refusal(imv1.ErrorCode_ERROR_CODE_UNAUTHENTICATED, false)}, 1 * time.Second, false},
			{ending{err: refusal(imv1.ErrorCode_ERROR_CODE_UNAUTHENTICATED, false)}, 2 * time.Second, false},
		}},
		{"the server's wait comes on top", []attempt{
			{ending{err: &Error{Code: imv1.ErrorCode_ERROR_CODE_OVERLOADED, Retryable: true, RetryAfter: time.Minute}}, 61 * time.Second, false},
		}},
		{"a version that the server does not speak is final", []attempt{
			{ending{err: refusal(imv1.ErrorCode_ERROR_CODE_UNSUPPORTED_VERSION, false)}, 0, true},
		}},
		{"another session of the device is final", []attempt{
			{ending{err: refusal(imv1.ErrorCode_ERROR_CODE_SESSION_REPLACED, false), connected: true}, 0, true},
		}},
		{"a Connect that can never succeed is final", []attempt{
			{ending{err: refusal(imv1.ErrorCode_ERROR_CODE_INVALID_ID, false)}, 0, true},
		}},
		{"a refusal of the connection later is not", []attempt{
			{ending{err: refusal(imv1.ErrorCode_ERROR_CODE_MALFORMED_FRAME, false), connected: true}, 1 * time.Second, false},
		}},
		{"a store of another user is final", []attempt{{ending{err: ErrOtherUser}, 0, true}}},
		{"a chain that went back is looked at twice", []attempt{
			{ending{err: ErrChainWentBack}, 1 * time.Second, false},
			{ending{err: ErrChainWentBack}, 0, true},
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := redial{backoff: backoff{time.Second, 5 * time.Second}}
			for i, a := range tc.attempts {
				wait, err := r.next(a.ending, 1)
				if (err != nil) != a.final || wait != a.wait {
					t.Fatalf("attempt %d: got %v, %v; want %v, final %v", i+1, wait, err, a.wait, a.final)
				}
			}
		})
	}
}

func TestConfigNamesTheWrongKey(t *testing.T) {
	good := Config{URL: "ws://h/ws", Device: "d", Token: func(context.Context) (string, error) { return "", nil }}
	if _, err := New(good); err != nil {
		t.Errorf("the zero value of the rest: %v", err)
	}
	for _, tc := range []struct {
		name  string
		wrong func(*Config)
		want  string
	}{
		{"no URL", func(c *Config) { c.URL = "" }, `client config: URL "" is not ws://host:port/ws or wss://host/ws`},
		{"no device", func(c *Config) { c.Device = "" }, "client config: Device must have 1 to 64 bytes"},
		{"no token", func(c *Config) { c.Token = nil }, "client config: Token is missing"},
		{"window", func(c *Config) { c.Window = -1 }, "client config: Window and MaxQueued must not be negative"},
		{"timeout", func(c *Config) { c.SendTimeout = -1 },
			"client config: SendTimeout, Heartbeat, MinBackoff and MaxBackoff must not be negative"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := good
			tc.wrong(&cfg)
			if _, err := New(cfg); err == nil || err.Error() != tc.want {
				t.Errorf("got %v, want %s", err, tc.want)
			}
		})
	}
}
