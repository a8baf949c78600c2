package domain_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/studio/internal/domain"
)

// TestMayUse: a workflow that names a build's folder or its action may wait for it.
func TestMayUse(t *testing.T) {
	b := domain.Build{Build: "sha256:1", Action: "greet"}
	builds := map[string]string{"actions/greet": "sha256:1", "actions/greet-two": "sha256:2", "other/greet": "sha256:3", "x": "sha256:1", "actions/folder": "sha256:1"}
	for text, want := range map[string]bool{
		"steps: [{uses: ./actions/greet}]":            true,
		"steps: [{uses: ./actions/greet/}]":           true,
		"steps: [{uses: \"./x\"}]":                    true,
		"steps: [{uses: './actions/gr\\x65et'}]":      true,
		"steps: [{uses: greet}]":                      true,
		"steps: [{uses: greet@1.0}]":                  true,
		"steps: [{uses: greet@sha256:1}]":             true,
		"uses: folder":                                true,
		"uses: greet":                                 true,
		"steps: [{uses: ./actions/greet-two}]":        false,
		"steps: [{uses: ./other/greet}]":              false,
		"steps: [{uses: greet-two}, {uses: regreet}]": false,
		"steps: [{uses: ./xy}]":                       false,
		"":                                            false,
	} {
		w := domain.Workflow{WantedYAML: text, Builds: builds}
		require.Equal(t, want, w.MayUse(b), text)
	}
	require.False(t, (&domain.Workflow{WantedYAML: "uses: ./actions/greet"}).MayUse(b), "its folder has another build by now")
}
