package kvtest

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"testing"

	"github.com/catena-im/catena/pkg/kv"
)

// RunDurable checks what is found after a store came to its end. open returns one and the end of it: end closes, kills
// or cuts the power of the store that was returned last, and opens it again. A prefix of the commits must be there, each
// whole and with its fence, at least those that a Sync confirmed; and commits go on from where it ends.
func RunDurable(t *testing.T, open func(t *testing.T) (s kv.Store, end func(t *testing.T) kv.Store)) {
	s, end := open(t)
	l := &Log{Prefix: newKit(t, s).prefix}
	for round := range 4 {
		for range 25 {
			l.Commit(t, s)
		}
		if round != 1 { // in one round nothing is confirmed
			l.Sync(t, s)
		}
		for range 7 {
			l.Commit(t, s)
		}
		s = end(t)
		l.Recover(t, s)
	}
}

// Log is a series of commits by which a store can be judged: what it holds after n of them is known. Not safe for
// concurrent use.
type Log struct {
	Prefix    string // of all keys
	Committed int    // commits that were answered with nil
	Confirmed int    // the last of them that must survive
}

const (
	logKept = 10   // rows: each commit deletes an older one
	logRow  = 1000 // bytes
)

// Next is the batch of commit Committed + 1, always the same.
func (l *Log) Next() *kv.Batch {
	n := l.Committed + 1
	b := &kv.Batch{Fence: []byte(l.Prefix + "fence"), Next: []byte(strconv.Itoa(n))}
	if n > 1 {
		b.Expect = []byte(strconv.Itoa(n - 1))
	}
	b.Put([]byte(l.Prefix+"last"), b.Next)
	b.Put(fmt.Appendf(nil, "%srow/%06d", l.Prefix, n), append(b.Next, make([]byte, logRow)...))
	b.Delete(fmt.Appendf(nil, "%srow/%06d", l.Prefix, n-logKept))
	return b
}

// Commit commits Next and fails the test if that fails.
func (l *Log) Commit(t testing.TB, s kv.Store) {
	t.Helper()
	if err := l.Try(s); err != nil {
		t.Fatalf("commit %d: %v", l.Committed+1, err)
	}
}

// Try commits Next.
func (l *Log) Try(s kv.Store) error {
	err := s.Commit(context.Background(), l.Next())
	if err == nil {
		l.Committed++
	}
	return err
}

// Sync confirms what was committed.
func (l *Log) Sync(t testing.TB, s kv.Store) {
	t.Helper()
	if err := s.Sync(context.Background()); err != nil {
		t.Fatalf("sync: %v", err)
	}
	l.Confirmed = l.Committed
}

// Recover checks the store after its end: it holds what some number of commits made, at least Confirmed. One more than
// Committed is right too: the commit that got no answer. The Log goes on from there.
func (l *Log) Recover(t testing.TB, s kv.Store) {
	t.Helper()
	ctx := context.Background()
	sn, err := s.Snapshot(ctx)
	if err != nil {
		t.Fatalf("snapshot: %v", err)
	}
	defer sn.Release()
	values, err := sn.BatchGet(ctx, [][]byte{[]byte(l.Prefix + "fence"), []byte(l.Prefix + "last")})
	if err != nil {
		t.Fatalf("get: %v", err)
	}
	n, _ := strconv.Atoi(string(values[0])) // absent: 0
	if n < l.Confirmed || n > l.Committed+1 {
		t.Fatalf("the fence holds %d: %d commits were confirmed, %d made", n, l.Confirmed, l.Committed)
	}
	if string(values[1]) != string(values[0]) {
		t.Fatalf("the fence holds %q, the last commit is %q", values[0], values[1])
	}
	var got, want []int
	if err := sn.Scan(ctx, kv.Range{Start: []byte(l.Prefix + "row/"), End: []byte(l.Prefix + "row0")}, func(key, _ []byte) error {
		i, err := strconv.Atoi(string(key[len(l.Prefix)+len("row/"):]))
		got = append(got, i)
		return err
	}); err != nil {
		t.Fatalf("scan: %v", err)
	}
	for i := max(1, n-logKept+1); i <= n; i++ {
		want = append(want, i)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("after %d commits: got rows %v, want %v", n, got, want)
	}
	l.Committed, l.Confirmed = n, n
}
