package refusal_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/catena-im/catena/pkg/refusal"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

func TestOfTellsNothingOfOtherErrors(t *testing.T) {
	r := refusal.New(imv1.ErrorCode_ERROR_CODE_RATE_LIMITED, "slow down, %s", "alice").After(1500 * time.Millisecond)
	got := refusal.Of(fmt.Errorf("around: %w", r))
	want := &imv1.Error{Code: imv1.ErrorCode_ERROR_CODE_RATE_LIMITED, Text: "slow down, alice", Retryable: true, RetryAfterMs: 1500}
	if !proto.Equal(got, want) {
		t.Errorf("Of a refusal: %v, want %v", got, want)
	}
	got = refusal.Of(errors.New("password is 1234"))
	if got.GetCode() != imv1.ErrorCode_ERROR_CODE_INTERNAL || got.GetText() == "password is 1234" {
		t.Errorf("Of another error: %v, want INTERNAL without its text", got)
	}
}

func TestTextCanBeSentWhateverItQuotes(t *testing.T) {
	r := refusal.New(imv1.ErrorCode_ERROR_CODE_MALFORMED_FRAME, "invalid value %s", "\xe0")
	if _, err := proto.Marshal(r.Wire()); err != nil {
		t.Errorf("the refusal cannot be encoded: %v", err)
	}
	if want := "invalid value \uFFFD"; r.Error() != want {
		t.Errorf("the text is %q, want %q", r.Error(), want)
	}
}
