package pg_test

import (
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/pg"
	"github.com/pelton-run/pelton/platform/kit/pgtest"
)

// TestOpen: why a database does not answer is told as far as its server tells.
func TestOpen(t *testing.T) {
	good, err := url.Parse(pgtest.Empty(t, "one"))
	require.NoError(t, err)
	missing, stranger, away := *good, *good, *good
	missing.Path = "/nowhere"
	stranger.User = url.UserPassword("nobody", "wrong")
	away.Host = "127.0.0.1:1"
	away.RawQuery = ""
	for text, u := range map[string]url.URL{
		"has no database nowhere":      missing,
		"does not let nobody in":       stranger,
		"the database does not answer": away,
	} {
		_, err := pg.Open(t.Context(), u.String(), pg.Options{})
		require.True(t, fault.Is(err, fault.Unavailable), "%v", err)
		require.ErrorContains(t, err, text)
	}
}
