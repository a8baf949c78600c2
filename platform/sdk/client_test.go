package sdk_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/sdk"
)

// TestPatience: what a service that is just starting has not looked at is sent again, with its body; other answers are
// told at once, and after a while this one is, too.
func TestPatience(t *testing.T) {
	asked, code, starts := 0, "not_serving", 2
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		body, err := io.ReadAll(r.Body)
		if err != nil || string(body) != `{"n":1}` {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		if asked <= starts {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, `{"detail":"the runner is starting","code":"`+code+`"}`)
			return
		}
		_, _ = w.Write(body)
	}))
	t.Cleanup(s.Close)
	post := func(patience time.Duration) error {
		asked = 0
		c := &sdk.Client{URL: s.URL, Patience: patience}
		_, err := c.JSON(t.Context(), http.MethodPost, "/x", map[string]int{"n": 1}, nil)
		return err
	}
	require.NoError(t, post(time.Minute))
	require.Equal(t, 3, asked)
	require.EqualError(t, post(0), "the runner is starting")
	require.Equal(t, 1, asked)
	starts = 1000
	require.EqualError(t, post(300*time.Millisecond), "the runner is starting")
	require.Less(t, asked, 5)
	code = "workflow_paused"
	require.EqualError(t, post(time.Minute), "the runner is starting")
	require.Equal(t, 1, asked)
}
