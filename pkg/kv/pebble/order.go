package pebble

import (
	"bytes"
	"cmp"
	"slices"
	"sort"
	"sync"

	"github.com/catena-im/catena/pkg/kv"
)

// run is numbers of entries, ordered by key, and those of one key from the newest to the oldest.
type run []uint32

func (c *content) compare(a, b uint32) int {
	if order := bytes.Compare(c.key(a), c.key(b)); order != 0 {
		return order
	}
	return cmp.Compare(b, a)
}

// merge makes one run of two.
func (c *content) merge(a, b run) run {
	both := make(run, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		if c.compare(a[0], b[0]) < 0 {
			both, a = append(both, a[0]), a[1:]
		} else {
			both, b = append(both, b[0]), b[1:]
		}
	}
	return append(append(both, a...), b...)
}

// sorted is content in runs, from that of the oldest entries to that of the newest.
type sorted struct {
	content
	runs []run
}

// ordered keeps a stage as scans want it, as far as a scan asked for it. Of what was committed since the last one a run
// is made, and runs of about the same length are merged, so that an entry is moved a few times only.
type ordered struct {
	mu sync.Mutex // guards the field below, whose runs are not changed
	sorted
}

// upTo returns runs that hold the entries of c at least.
func (o *ordered) upTo(c content) sorted {
	o.mu.Lock()
	defer o.mu.Unlock()
	from := o.count
	if from >= c.count {
		return o.sorted
	}
	fresh := make(run, c.count-from)
	for i := range fresh {
		fresh[i] = uint32(from + i)
	}
	slices.SortFunc(fresh, c.compare)
	runs := append(slices.Clip(o.runs), fresh)
	for n := len(runs); n > 1 && len(runs[n-2]) < 2*len(runs[n-1]); n-- {
		runs = append(runs[:n-2], c.merge(runs[n-2], runs[n-1]))
	}
	o.sorted = sorted{c, runs}
	return o.sorted
}

// cursor goes over a range of a run. It sees the first entries of the stage, so many, and of each key the newest of them.
type cursor struct {
	*sorted
	entries int
	left    run // of the range, and not visited yet
	reverse bool

	at    uint32 // the entry that it stands on
	valid bool   // it stands on one
}

func newCursor(s *sorted, r run, entries int, of kv.Range) *cursor {
	if of.End != nil {
		r = r[:s.search(r, of.End)]
	}
	c := &cursor{sorted: s, entries: entries, left: r[s.search(r, of.Start):], reverse: of.Reverse}
	c.next()
	return c
}

// search is the first place in r whose key is not below key.
func (c *content) search(r run, key []byte) int {
	return sort.Search(len(r), func(i int) bool { return bytes.Compare(c.key(r[i]), key) >= 0 })
}

// next goes to the next key that the cursor sees.
func (c *cursor) next() {
	for c.valid = false; len(c.left) > 0 && !c.valid; {
		same := c.take()
		for _, n := range same {
			if int(n) < c.entries {
				c.at, c.valid = n, true
				break
			}
		}
	}
}

// take cuts the entries of the next key off what is left.
func (c *cursor) take() (same run) {
	if c.reverse {
		begin := len(c.left) - 1
		for key := c.key(c.left[begin]); begin > 0 && bytes.Equal(c.key(c.left[begin-1]), key); {
			begin--
		}
		same, c.left = c.left[begin:], c.left[:begin]
		return same
	}
	end := 1
	for key := c.key(c.left[0]); end < len(c.left) && bytes.Equal(c.key(c.left[end]), key); {
		end++
	}
	same, c.left = c.left[:end], c.left[end:]
	return same
}

// overlay goes over a range of the stages of a view, and of each key sees what was committed last.
type overlay struct {
	cursors    []*cursor // from the newest entries to the oldest
	reverse    bool
	key, value []byte // where it stands; a nil key: at the end, a nil value: deleted
}

func newOverlay(stages []stageView, of kv.Range) *overlay {
	o := &overlay{reverse: of.Reverse}
	for _, st := range stages {
		s := st.stage.ordered.upTo(st.seen)
		for _, r := range slices.Backward(s.runs) {
			if c := newCursor(&s, r, st.seen.count, of); c.valid {
				o.cursors = append(o.cursors, c)
			}
		}
	}
	o.settle()
	return o
}

// settle stands on the first key of all cursors.
func (o *overlay) settle() {
	o.key, o.value = nil, nil
	for _, c := range o.cursors {
		if !c.valid {
			continue
		}
		if key := c.key(c.at); o.key == nil || o.before(key, o.key) {
			o.key, o.value = key, c.value(c.at)
		}
	}
}

// before reports whether a scan comes to key a before it comes to b.
func (o *overlay) before(a, b []byte) bool {
	if o.reverse {
		a, b = b, a
	}
	return bytes.Compare(a, b) < 0
}

func (o *overlay) next() {
	for _, c := range o.cursors {
		if c.valid && bytes.Equal(c.key(c.at), o.key) {
			c.next()
		}
	}
	o.settle()
}
