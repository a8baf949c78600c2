package domain_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/runner/internal/domain"
	"github.com/pelton-run/pelton/platform/runner/internal/domain/domaintest"
)

type oneSecret struct{}

func (oneSecret) Secret(name string) (string, bool)           { return "hidden-" + name, true }
func (oneSecret) Unseal(v domain.Value) (domain.Value, error) { return v, nil }

// TestGivenTo: what an attempt was started with, by item and attempt; secrets only where they are given.
func TestGivenTo(t *testing.T) {
	d := domain.Definition{Workflow: "w", Builds: []domain.Build{{Digest: "b", Action: "b@1"}}, Steps: []domain.StepSpec{{
		ID: "a", Uses: "b", Build: "b", ForEach: &domain.ForEachSpec{In: "[7,8]", As: "item"}, Retry: &domain.RetrySpec{Attempts: 2},
		With: map[string]json.RawMessage{"n": json.RawMessage(`"${item}"`), "text": json.RawMessage(`"no ${item}"`), "token": json.RawMessage(`"${secrets.t}"`)},
	}}}
	plan, problems := domain.Compile(d, domaintest.Compiler{})
	require.Empty(t, problems)
	s := domain.NewState(domain.Run{ID: "r"}, plan)
	now := time.Unix(1, 0)
	_, err := s.Handle(domain.EventStarted{}, now, 0)
	require.NoError(t, err)
	_, err = s.Handle(domain.EventAttempt{Path: []int32{1}, Attempt: 1, Outcome: domain.OutcomeFailed, Err: &domain.StepError{Kind: "user_error"}}, now, 0)
	require.NoError(t, err)

	g, found, err := s.GivenTo(0, []int32{1}, 0, nil)
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, "r:a:1:2", g.Execution, "the newest")
	require.Equal(t, []string{"token"}, g.Secret)
	require.Equal(t, domain.Values{"n": domain.Value("8"), "text": domain.Value(`"no 8"`), "token": domain.Masked}, g.Inputs)

	g, _, err = s.GivenTo(0, []int32{1}, 1, oneSecret{})
	require.NoError(t, err)
	require.Equal(t, "r:a:1:1", g.Execution)
	require.JSONEq(t, `"hidden-t"`, string(g.Inputs["token"]))

	for _, c := range []struct {
		path    []int32
		attempt int32
	}{{nil, 0}, {[]int32{2}, 0}, {[]int32{0}, 2}} {
		_, found, err = s.GivenTo(0, c.path, c.attempt, nil)
		require.NoError(t, err)
		require.False(t, found, "%v", c)
	}
}
