package domain_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

func TestPartOf(t *testing.T) {
	const n = 20_000
	for _, weights := range [][]int{{100}, {90, 10}, {0, 100}, {100, 0}, {1, 99}, {50, 30, 20}, {34, 33, 33}} {
		t.Run(fmt.Sprint(weights), func(t *testing.T) {
			got := make([]int, len(weights))
			for i := range n {
				key := fmt.Sprint("key ", i)
				part := domain.PartOf(key, weights)
				require.Equal(t, part, domain.PartOf(key, weights), "the same key has two parts")
				got[part]++
			}
			for i, w := range weights {
				want := n * w / 100
				if w == 0 || w == 100 {
					require.Equal(t, want, got[i])
				}
				// Five standard deviations of 20,000 draws are at most 354.
				require.InDelta(t, want, got[i], 354, "part %d", i)
			}
		})
	}
}

func TestPartOfGrows(t *testing.T) {
	for i := range 5000 {
		key := fmt.Sprint("customer ", i)
		last := false
		for _, w := range []int{0, 1, 10, 50, 99, 100} {
			now := domain.PartOf(key, []int{100 - w, w}) == 1
			require.False(t, last && !now, "%s left the part that grew", key)
			last = now
		}
	}
}

func TestPartOfRest(t *testing.T) {
	for i := range 200 {
		require.Zero(t, domain.PartOf(fmt.Sprint(i), nil))
		require.Zero(t, domain.PartOf(fmt.Sprint(i), []int{0, 0}))
	}
}
