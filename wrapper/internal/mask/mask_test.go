package mask

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestJSONStaysJSON(t *testing.T) {
	m := New([][]byte{[]byte("123456"), []byte(`p"w\\x`), []byte("ab"), []byte("true")})
	require.Equal(t, 1, m.Short())
	for in, want := range map[string]string{
		`{"a":123456}`:                `{"a":"•••"}`,
		`{"a":1234567}`:               `{"a":1234567}`,
		`{"a":"x123456y"}`:            `{"a":"x•••y"}`,
		`{"123456":[123456,true]}`:    `{"•••":["•••",true]}`,
		`{"a":"say p\"w\\\\x now"}`:   `{"a":"say ••• now"}`,
		`{"a":"\\","b":"123456"}`:     `{"a":"\\","b":"•••"}`,
		`"MTIzNDU2"`:                  `"•••"`,
		`{"a":"nothing","b":1.5e3}`:   `{"a":"nothing","b":1.5e3}`,
		`[-123456, 0.123456, 123456]`: `[-123456, 0.123456, "•••"]`,
	} {
		got := m.JSON([]byte(in))
		require.True(t, json.Valid(got), "%s gave %s", in, got)
		require.Equal(t, want, string(got), in)
	}
}

func TestNothingToHide(t *testing.T) {
	var none *Masker
	require.Equal(t, "x", none.String("x"))
	require.False(t, New(nil).Active())
	require.Equal(t, `{"a":1}`, string(New([][]byte{[]byte("a")}).JSON([]byte(`{"a":1}`))))
}
