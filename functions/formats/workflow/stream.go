package workflow

import (
	"slices"

	"github.com/pelton-run/pelton/functions/formats/doc"
)

// streamed checks the steps whose outputs HTTP triggers stream.
func (w *Workflow) streamed() {
	for _, t := range w.Triggers {
		var with *doc.Node
		if t.Uses == "http" {
			with = t.node.Get("with")
		}
		if with == nil || !with.Mapping() {
			continue
		}
		name := with.Get("stream")
		if name != nil && !slices.ContainsFunc(w.Steps, func(s Step) bool { return s.ID == name.Text() }) {
			name.Wrong("name one of the workflow's steps", "there is no step %q", name.Text())
		}
	}
}
