package app

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFileRefs(t *testing.T) {
	a, b := strings.Repeat("ab", 32), strings.Repeat("0f", 32)
	sum := func(text string) Sum { return FileRefs([]byte(digestPrefix + text))[0].Sum }
	for text, want := range map[string][]FileRef{
		"":                                      nil,
		"sha256:":                               nil,
		"sha256:" + a[:63]:                      nil,
		"sha256:" + a[:63] + "g":                nil,
		"sha256:sha256:" + a:                    {{sum(a), true}},
		`{"$file":"sha256:` + a + `"}`:          {{sum(a), false}},
		`{"$dir": "sha256:` + a + `"}`:          {{sum(a), false}},
		`{"$ref":"sha256:` + a + `"}`:           {{sum(a), true}},
		"\x01\x02sha256:" + a + "sha256:" + b:   {{sum(a), true}, {sum(b), true}},
		`["sha256:` + strings.ToUpper(a) + `"]`: {{sum(a), true}},
	} {
		require.Equal(t, want, FileRefs([]byte(text)), text)
	}
	require.Equal(t, digestPrefix+a, sum(a).Digest())
	require.Len(t, `"$file": "sha256:`+a, maxRef)
}
