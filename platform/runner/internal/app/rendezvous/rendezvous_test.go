package rendezvous_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/runner/internal/app/rendezvous"
)

func TestChoose(t *testing.T) {
	require.Zero(t, rendezvous.Choose("k", nil))
	require.EqualValues(t, 7, rendezvous.Choose("k", []int64{7}))
	all := []int64{3, 4, 9, 11}
	share := map[int64]int{}
	for i := range 4000 {
		key := fmt.Sprint("key-", i)
		c := rendezvous.Choose(key, all)
		share[c]++
		require.Equal(t, c, rendezvous.Choose(key, []int64{11, 9, 4, 3}), "the order does not matter")
		without := rendezvous.Choose(key, []int64{3, 4, 11})
		if c != 9 {
			require.Equal(t, c, without, "only the keys of the one that is gone move")
		}
	}
	for _, r := range all {
		require.InDelta(t, 1000, share[r], 150)
	}
}
