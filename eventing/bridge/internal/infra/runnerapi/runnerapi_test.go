package runnerapi

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/kit/fault"
)

// TestProblems: what the runner refuses is told in its words, also that it may work later; what is no answer of the
// runner's is told as that.
func TestProblems(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		kind   fault.Kind
		says   string
		code   string
	}{
		"refused":     {422, `{"detail":"it does not fit","code":"event_refused"}`, fault.Unprocessable, "it does not fit", "event_refused"},
		"fields":      {400, `{"detail":"the input is not valid","errors":[{"field":"event.id","message":"is missing","remedy":"give one"}]}`, fault.Invalid, "", ""},
		"paused":      {503, `{"detail":"workflow w is paused","code":"workflow_paused"}`, fault.Unavailable, "workflow w is paused", "workflow_paused"},
		"internal":    {500, `{"detail":"something went wrong"}`, fault.Unavailable, away, ""},
		"a proxy":     {502, `<html>`, fault.Unavailable, away, ""},
		"not JSON":    {400, `<html>`, fault.Unavailable, away, ""},
		"unavailable": {503, ``, fault.Unavailable, away, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				require.Equal(t, []string{"Bearer k", "/runner/v1/projects/p/cloudevents"}, []string{r.Header.Get("Authorization"), r.URL.Path})
				w.WriteHeader(c.status)
				_, _ = w.Write([]byte(c.body))
			}))
			defer s.Close()
			_, err := New(s.URL).Receive(t.Context(), "Bearer k", "p", []byte(`{}`), false)
			f := fault.As(err)
			require.NotNil(t, f, "%v", err)
			require.Equal(t, c.kind, f.Kind)
			require.Contains(t, f.Message, c.says)
			require.Equal(t, c.code, f.Code)
			if name == "fields" {
				require.Equal(t, []fault.Field{{Path: "event.id", Message: "is missing", Remedy: "give one"}}, f.Fields)
			}
		})
	}
	s := httptest.NewServer(nil)
	s.Close()
	_, err := New(s.URL).Receive(t.Context(), "Bearer k", "p", []byte(`{}`), false)
	require.True(t, fault.Is(err, fault.Unavailable))
}
