package pebble

import (
	"bytes"
	"hash/maphash"
	"slices"

	"github.com/catena-im/catena/pkg/kv"
)

// stage is what was committed last, in memory, before Pebble gets it as a whole. Each operation is an entry, which never
// changes, so a snapshot of a stage is a number of entries. The table names the newest entry of each key. It does
// the work of a memtable at a fraction of the cost: an insert into Pebble's misses the caches at each level of its skip
// list, and takes a place for every head and list record of a user who gets many messages, where only the last is kept.
type stage struct {
	content
	table []uint64 // open addressing; low half: entry number + 1, 0: free; high half: of the key's hash
	held  int      // keys in table
	bytes int      // that all of it takes, about

	ordered ordered
}

// content is entries and the bytes that they name. What is in it stays as it is, and where it is, while a stage grows
// behind it: a stage that moved what it has would hold up all commits and reads meanwhile.
type content struct {
	count        int       // of entries
	blocks       [][]entry // in the order of their commits
	keys, values arena     // apart, for keys are looked at much more often
}

const (
	blockEntries = 512 // of each block
	entryBytes   = 64  // that an entry takes beside key and value, with its places in the table and in runs
)

func (c *content) entry(n uint32) *entry { return &c.blocks[n/blockEntries][n%blockEntries] }

// entry is one operation.
type entry struct {
	key, value span
	older      uint32 // entry number + 1 of the entry before of the same key; 0: there is none
	gone       bool   // the key was deleted
}

func (c *content) key(n uint32) []byte { return c.keys.at(c.entry(n).key) }

// value is nil where the key was deleted.
func (c *content) value(n uint32) []byte {
	if e := c.entry(n); !e.gone {
		return c.values.at(e.value)
	}
	return nil
}

// seed is of the hashes of all stages.
var seed = maphash.MakeSeed()

// newStage has room in its table for as many keys as the stage before had.
func newStage(before *stage) *stage {
	s := new(stage)
	if before.held <= firstTable/2 {
		return s
	}
	size := firstTable
	for 2*(before.held+together) > size {
		size *= 2
	}
	s.table = make([]uint64, size)
	return s
}

// together is how many operations are added at a time, so many that the nearest cache holds all that is looked at for them.
const together = 32

// put adds the operations of b, and its fence.
func (s *stage) put(b *kv.Batch) {
	var ops [together]kv.Op
	n := 0
	for o := range b.Ops() {
		if n == len(ops) {
			s.add(ops[:n])
			n = 0
		}
		ops[n] = o
		n++
	}
	s.add(ops[:n])
	s.add([]kv.Op{{Key: b.Fence, Value: b.Next}})
}

// add adds operations, together at the most.
func (s *stage) add(ops []kv.Op) {
	for 2*(s.held+len(ops)) > len(s.table) {
		s.growTable()
	}
	var hashes [together]uint64
	for i, o := range ops {
		hashes[i] = maphash.Bytes(seed, o.Key)
	}
	s.warm(hashes[:len(ops)])
	for i, o := range ops {
		s.addOne(o, hashes[i])
	}
}

// warm looks at what find will look at for keys of these hashes. It does so without a decision that depends on what it
// sees, so the processor fetches all of it at the same time; find would wait for one piece of memory after the other. The
// sum means nothing: it keeps the compiler from leaving out the looking.
//
//go:noinline
func (s *stage) warm(hashes []uint64) (sum byte) {
	if s.count == 0 {
		return 0
	}
	var (
		held  [together]uint32
		spans [together]span
	)
	mask := len(s.table) - 1
	for i, hash := range hashes {
		held[i] = uint32(s.table[int(uint32(hash))&mask])
	}
	for i, n := range held[:len(hashes)] {
		spans[i] = s.entry(n - min(n, 1)).key
	}
	for _, at := range spans[:len(hashes)] {
		sum += s.keys.chunks[at.chunk][at.offset]
	}
	return sum
}

// addOne adds one operation, whose key has this hash.
func (s *stage) addOne(o kv.Op, hash uint64) {
	slot, older := s.find(o.Key, hash)
	e := entry{value: s.values.add(o.Value), older: older, gone: o.Value == nil}
	if older == 0 {
		e.key = s.keys.add(o.Key)
		s.held++
	} else {
		e.key = s.entry(older - 1).key
	}
	if s.count%blockEntries == 0 {
		s.blocks = append(s.blocks, make([]entry, blockEntries))
	}
	*s.entry(uint32(s.count)) = e
	s.count++
	s.table[slot] = hash<<32 | uint64(s.count)
	s.bytes += len(o.Key) + len(o.Value) + entryBytes
}

// find is the slot of key in the table, and the number + 1 of its newest entry; 0: the slot is free.
func (s *stage) find(key []byte, hash uint64) (slot int, number uint32) {
	mask := len(s.table) - 1
	for slot = int(uint32(hash)) & mask; ; slot = (slot + 1) & mask {
		held := s.table[slot]
		if held == 0 {
			return slot, 0
		}
		if n := uint32(held); uint32(held>>32) == uint32(hash) && bytes.Equal(s.key(n-1), key) {
			return slot, n
		}
	}
}

// firstTable is the size of a table that is not empty, in slots; each of the next is twice as large.
const firstTable = 1 << 10

func (s *stage) growTable() {
	old := s.table
	s.table = make([]uint64, max(2*len(old), firstTable))
	mask := len(s.table) - 1
	for _, held := range old {
		if held == 0 {
			continue
		}
		slot := int(held>>32) & mask
		for s.table[slot] != 0 {
			slot = (slot + 1) & mask
		}
		s.table[slot] = held
	}
}

// get is the newest value of key among the first entries, so many; nil where it was deleted. False: they do not have it.
func (s *stage) get(key []byte, entries int) (value []byte, ok bool) {
	if len(s.table) == 0 {
		return nil, false
	}
	_, n := s.find(key, maphash.Bytes(seed, key))
	for n > uint32(entries) {
		n = s.entry(n - 1).older
	}
	if n == 0 {
		return nil, false
	}
	return s.value(n - 1), true
}

// keyed is an entry with its key at hand. It has no pointers, which the collector would follow in hundreds of thousands.
type keyed struct {
	key span
	n   uint32
}

// newest are the newest entries of all keys, in the order of the keys.
func (s *stage) newest(p *pace) []keyed {
	all := make([]keyed, 0, s.held)
	for i, held := range s.table {
		if i%slotsEach == 0 {
			p.rest()
		}
		if n := uint32(held); n != 0 {
			all = append(all, keyed{s.entry(n - 1).key, n - 1})
		}
	}
	compares := 0
	slices.SortFunc(all, func(a, b keyed) int {
		if compares++; compares%comparesEach == 0 {
			p.rest()
		}
		return bytes.Compare(s.keys.at(a.key), s.keys.at(b.key))
	})
	return all
}

// each hands out entries, until one cannot be taken.
func (s *stage) each(all []keyed, p *pace, deleted func(key []byte) error, set func(key, value []byte) error) error {
	entries, bytes := 0, 0 // since the last look at the clock
	for _, e := range all {
		if entries == entriesEach || bytes >= bytesEach {
			p.rest()
			entries, bytes = 0, 0
		}
		var err error
		key, value := s.keys.at(e.key), s.value(e.n)
		entries, bytes = entries+1, bytes+len(key)+len(value)
		if value == nil {
			err = deleted(key)
		} else {
			err = set(key, value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

const (
	firstChunk = 16 << 10 // bytes; each of the next is twice as large
	mostChunk  = 1 << 20  // unless one piece is larger
)

// arena is bytes that stay where they are.
type arena struct {
	chunks [][]byte
	used   int // bytes of the last
}

// span is where a piece stands.
type span struct{ chunk, offset, length uint32 }

// add copies b.
func (a *arena) add(b []byte) span {
	if last := len(a.chunks) - 1; last < 0 || a.used+len(b) > len(a.chunks[last]) {
		size := firstChunk
		if last >= 0 {
			size = min(2*len(a.chunks[last]), mostChunk)
		}
		a.chunks, a.used = append(a.chunks, make([]byte, max(size, len(b)))), 0
	}
	at := span{uint32(len(a.chunks) - 1), uint32(a.used), uint32(len(b))}
	a.used += copy(a.chunks[at.chunk][at.offset:], b)
	return at
}

func (a *arena) at(s span) []byte {
	end := s.offset + s.length
	return a.chunks[s.chunk][s.offset:end:end]
}
