package app

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/studio/internal/domain"
)

// TestStanding: a workflow stands as long as its text and the builds of the folders in it do.
func TestStanding(t *testing.T) {
	var s standing
	w := domain.Workflow{Project: "p", Name: "w", Path: "workflows/w.yaml", WantedYAML: "text", Builds: map[string]string{"a": "1", "b": "2"}}
	uses := map[string]domain.Build{"./a/": {Build: "1"}}
	_, ok := s.of(&w)
	require.False(t, ok)
	s.note(&w, uses, false, 7)
	for name, x := range map[string]struct {
		change func(w *domain.Workflow)
		stands bool
	}{
		"the same":                   {func(*domain.Workflow) {}, true},
		"a folder that it uses not":  {func(w *domain.Workflow) { w.Builds = map[string]string{"a": "1", "b": "3"} }, true},
		"a folder that it uses":      {func(w *domain.Workflow) { w.Builds = map[string]string{"a": "3", "b": "2"} }, false},
		"the folder is gone":         {func(w *domain.Workflow) { w.Builds = nil }, false},
		"the folder is broken":       {func(w *domain.Workflow) { w.Broken = map[string]string{"a": "why"} }, false},
		"another text":               {func(w *domain.Workflow) { w.WantedYAML = "other" }, false},
		"another place":              {func(w *domain.Workflow) { w.Path = "w.yaml" }, false},
		"another project's workflow": {func(w *domain.Workflow) { w.Project = "q" }, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := w
			x.change(&w)
			number, ok := s.of(&w)
			require.Equal(t, x.stands, ok)
			if ok {
				require.Equal(t, 7, number)
			}
		})
	}
	for name, change := range map[string]func(uses map[string]domain.Build) (calls bool){
		"it calls another workflow":        func(map[string]domain.Build) bool { return true },
		"it uses an action of the library": func(uses map[string]domain.Build) bool { uses["greet"] = domain.Build{}; return false },
	} {
		s.note(&w, uses, false, 7)
		more := map[string]domain.Build{"./a": {Build: "1"}}
		s.note(&w, more, change(more), 8)
		_, ok := s.of(&w)
		require.False(t, ok, name)
	}
}
