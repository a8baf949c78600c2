package values

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/wrapper/internal/bundle"
)

func TestNumbersAreWrittenAsTheirType(t *testing.T) {
	items := []bundle.Item{{Name: "f", Type: "float"}, {Name: "i", Type: "integer"}}
	for _, c := range [][4]string{{"2", "3.0", "2.0", "3"}, {"-1", "1e3", "-1.0", "1000"}, {"2.5", "7", "2.5", "7"}, {"1e2", "-0.0", "1e2", "0"}} {
		out := map[string]json.RawMessage{"f": json.RawMessage(c[0]), "i": json.RawMessage(c[1])}
		require.Nil(t, Output(items, out, false))
		require.Equal(t, c[2], string(out["f"]))
		require.Equal(t, c[3], string(out["i"]))
	}
}
