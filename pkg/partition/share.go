package partition

import (
	"hash/fnv"

	"github.com/catena-im/catena/pkg/bus"
)

// share is the worker that should own p: the one with the highest hash of (worker, partition). A worker that comes or
// goes moves only its own share.
func share(p bus.Partition, workers []string) string {
	var best string
	var top uint64
	for _, w := range workers {
		h := fnv.New64a()
		h.Write([]byte(w))
		h.Write([]byte{0})
		h.Write([]byte(p.String()))
		if s := mix(h.Sum64()); best == "" || s > top || s == top && w < best {
			best, top = w, s
		}
	}
	return best
}

// mix spreads the last bytes of an FNV hash over all bits (the finalizer of MurmurHash3).
func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
