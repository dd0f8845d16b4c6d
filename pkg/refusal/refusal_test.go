package refusal_test

import (
	"errors"
	"fmt"
	"os"
	"regexp"
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

// The page that client authors read and the flag on the wire say the same.
func TestRetryableIsWhatTheProtocolPageSays(t *testing.T) {
	page, err := os.ReadFile("../../proto/README.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile("(?m)^\\| `([A-Z_]+)` \\| (\\d+) \\|( yes)? \\|").FindAllStringSubmatch(string(page), -1)
	if want := len(imv1.ErrorCode_name) - 1; len(rows) != want { // all but UNSPECIFIED
		t.Fatalf("the page has %d codes, want %d", len(rows), want)
	}
	for _, row := range rows {
		code := imv1.ErrorCode(imv1.ErrorCode_value["ERROR_CODE_"+row[1]])
		if fmt.Sprint(int32(code)) != row[2] {
			t.Errorf("%s has the number %d, not %s", row[1], code, row[2])
		}
		if got, want := refusal.New(code, "x").Wire().GetRetryable(), row[3] != ""; got != want {
			t.Errorf("%s: retryable is %v, the page says %v", row[1], got, want)
		}
	}
}
