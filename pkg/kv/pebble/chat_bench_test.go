//go:build unix

package pebble

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/catena-im/catena/pkg/kv"
)

// BenchmarkChat measures the processor time that messages between two take of a store, with the flushes and compactions
// that they cause: nine keys each, between 500 users who have 10 peers, in commits of 250, synced every 14,000; before
// each, the ids of its messages are looked for.
func BenchmarkChat(b *testing.B) {
	s := open(b, Config{Dir: b.TempDir()})
	c := newChat()
	before := processorTime(b)
	for b.Loop() {
		c.commit(b, s)
	}
	if err := s.Sync(b.Context()); err != nil {
		b.Fatal(err)
	}
	spent := processorTime(b) - before
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(spent.Nanoseconds())/1000/float64(b.N*chatBatch), "cpu-µs/message")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/1000/float64(b.N*chatBatch), "µs/message")
}

func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

const (
	chatBatch = 250
	chatUsers = 500
	chatPeers = 10
	chatSync  = 14_000 / chatBatch
)

// chat makes commits as the workers of both kinds of partitions do.
type chat struct {
	source     *rand.Rand
	number     uint64
	commits    int
	indexes    [chatUsers * chatPeers]uint64
	users      [chatUsers]uint64
	conv, user kv.Batch
	key, value []byte
	heldConv   []byte
	heldUser   []byte
}

func newChat() *chat {
	return &chat{source: rand.New(rand.NewPCG(1, 2)), value: make([]byte, 300)}
}

func (c *chat) put(b *kv.Batch, value int, number uint64, format string, args ...any) {
	c.key = fmt.Appendf(c.key[:0], format, args...)
	if number != 0 {
		c.key = binary.BigEndian.AppendUint64(c.key, number)
	}
	v := c.value[:value]
	for i := 0; i+8 <= value/2; i += 8 { // half of it compresses
		binary.LittleEndian.PutUint64(v[i:], c.source.Uint64())
	}
	b.Put(c.key, v)
}

func (c *chat) commit(b *testing.B, s *Store) {
	c.conv.Reset()
	c.user.Reset()
	ids := make([][]byte, chatBatch)
	for i := range ids {
		from, peer := c.source.IntN(chatUsers), c.source.IntN(chatPeers)
		to := (from + peer + 1) % chatUsers
		at := from*chatPeers + peer
		c.indexes[at]++
		conversation := fmt.Sprintf("single:bench-%012d:bench-%012d", from, to)
		id := binary.BigEndian.AppendUint64([]byte("c\x00\x00i"), c.source.Uint64())
		ids[i] = binary.BigEndian.AppendUint64(id, c.number)
		c.number++
		c.put(&c.conv, 300, c.indexes[at], "c\x00\x00c%s\x00\x00m", conversation)
		c.conv.Put(ids[i], c.value[:30])
		c.put(&c.conv, 20, 0, "c\x00\x00c%s\x00\x00h", conversation)
		for _, u := range []int{from, to} {
			c.users[u]++
			c.put(&c.user, 45, c.users[u], "u\x00\x00ubench-%012d\x00\x00e", u)
			c.put(&c.user, 10, 0, "u\x00\x00ubench-%012d\x00\x00h", u)
			c.put(&c.user, 10, 0, "u\x00\x00ubench-%012d\x00\x00l%s", u, conversation)
		}
	}
	snap, err := s.Snapshot(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	if _, err := snap.BatchGet(b.Context(), ids); err != nil {
		b.Fatal(err)
	}
	snap.Release()
	c.commits++
	for _, part := range []struct {
		batch *kv.Batch
		fence string
		held  *[]byte
	}{{&c.conv, "c\x00\x00f", &c.heldConv}, {&c.user, "u\x00\x00f", &c.heldUser}} {
		part.batch.Fence, part.batch.Expect, part.batch.Next = []byte(part.fence), *part.held, fmt.Append(nil, c.commits)
		if err := s.Commit(b.Context(), part.batch); err != nil {
			b.Fatal(err)
		}
		*part.held = part.batch.Next
	}
	if c.commits%chatSync == 0 {
		if err := s.Sync(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
