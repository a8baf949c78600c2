// Package rendezvous chooses one of several replicas for a key, so that every replica that knows
// the same ones chooses alike, without asking, and a replica that comes or goes moves only the
// keys that are its own (highest random weight: Thaler and Ravishankar, 1998).
package rendezvous

import (
	"encoding/binary"
	"hash/fnv"
)

// Choose is the fence of the replica that has the key, 0 if there are no replicas. The order of
// replicas does not matter.
func Choose(key string, replicas []int64) int64 {
	var best int64
	var most uint64
	for _, r := range replicas {
		if w := weight(key, r); best == 0 || w > most || (w == most && r < best) {
			best, most = r, w
		}
	}
	return best
}

func weight(key string, replica int64) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(key))
	_, _ = h.Write(binary.BigEndian.AppendUint64(nil, uint64(replica)))
	// FNV mixes its last bytes poorly; the finalizer of MurmurHash3 spreads them.
	x := h.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
