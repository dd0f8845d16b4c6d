package load

import (
	"strings"
	"testing"

	imv1 "github.com/catena-im/catena/proto/im/v1"
)

func TestBreachesInAChainAreSeen(t *testing.T) {
	entry := func(user, index, number uint64) *imv1.UserEntry {
		return &imv1.UserEntry{UserIndex: user, Message: message(number, index)}
	}
	tests := []struct {
		name    string
		entries []*imv1.UserEntry
		want    string // empty: none
	}{
		{"sound", []*imv1.UserEntry{entry(5, 1, 10), entry(6, 3, 11), entry(7, 4, 12)}, ""},
		{"a hole", []*imv1.UserEntry{entry(5, 1, 10), entry(7, 2, 11)}, "UserIndex 7 follows 5"},
		{"the first is missing", []*imv1.UserEntry{entry(6, 1, 10)}, "UserIndex 6 follows 4"},
		{"out of order", []*imv1.UserEntry{entry(5, 2, 10), entry(6, 1, 11)}, "index 1 of s:a:b follows 2"},
		{"twice", []*imv1.UserEntry{entry(5, 1, 10), entry(6, 2, 10)}, "is there twice"},
	}
	for _, tt := range tests {
		r := reading{user: "a", last: 4, indexes: map[string]uint64{}, seen: map[uint64]bool{}}
		for _, e := range tt.entries {
			r.entry(e)
		}
		if got := strings.Join(r.violations, "\n"); tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}
