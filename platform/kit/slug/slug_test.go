package slug

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestOf: these names are those of namespaces that are there; they must never change.
func TestOf(t *testing.T) {
	for project, want := range map[string]string{"default": "default", "a": "a", "team-7": "team-7", "": "p-e3b0c442"} {
		require.Equal(t, want, Of(project))
	}
	for _, project := range []string{"My Team", "builds", "system", "x-0123abcd", "Ä", "-", strings.Repeat("a", 60)} {
		got := Of(project)
		require.Regexp(t, `^[a-z0-9][a-z0-9-]{0,30}-[0-9a-f]{8}$`, got)
		require.NotEqual(t, got, Of(got), "a project cannot be named so that it gets another's")
	}
	require.NotEqual(t, Of(strings.Repeat("a", 50)+"b"), Of(strings.Repeat("a", 50)+"c"))
	require.Equal(t, "pelton-default", Namespace("pelton-{project}", "default"))
}
