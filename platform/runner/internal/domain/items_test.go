package domain

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestItemList reads random lists in random orders, as a JSON decoder does.
func TestItemList(t *testing.T) {
	texts := []string{`1`, `-1.5e3`, `"a"`, `"a\"],[\\"`, `null`, `true`, `[]`, `{}`, ` [1, [2,3] ] `, "\n{\"a\" : [1,{\"]\":2}]}\t", `"x y"`, `""`}
	for seed := range uint64(500) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		parts := make([]string, rnd.IntN(1000))
		for i := range parts {
			parts[i] = texts[rnd.IntN(len(texts))]
		}
		list := Value(" [ " + strings.Join(parts, ",") + " ] ")
		var want []json.RawMessage
		require.NoError(t, json.Unmarshal(list, &want))
		l, err := readList(list)
		require.Nil(t, err)
		require.Equal(t, len(want), l.count)
		for i := range want {
			require.Equal(t, string(want[i]), string(l.item(i)), "seed %d, item %d", seed, i)
		}
		for range want {
			i := rnd.IntN(len(want))
			require.Equal(t, string(want[i]), string(l.item(i)), "seed %d, item %d", seed, i)
		}
		require.Nil(t, l.item(len(want)))
	}
	for _, no := range []string{``, `null`, `{}`, `[1`, `[1,]`, `1`, `[1] 2`} {
		_, err := readList(Value(no))
		require.NotNil(t, err, no)
	}
}
