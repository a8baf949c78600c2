package domain

import (
	"crypto/sha256"
	"encoding/binary"
)

// PartOf tells which of several parts a key belongs to, by their weights of 0 to 100 that sum to 100: of many
// keys each part gets as many of a hundred. The same key belongs to the same part for as long as the weights
// stay; where the last part grows, no key leaves it. Weights that do not sum to 100 leave the rest to the first part.
func PartOf(key string, weights []int) int {
	sum := sha256.Sum256([]byte(key))
	at := int(binary.BigEndian.Uint64(sum[:8]) % 100)
	for i, w := range weights {
		if at -= w; at < 0 {
			return i
		}
	}
	return 0
}
