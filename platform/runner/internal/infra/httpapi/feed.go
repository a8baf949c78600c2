package httpapi

import (
	"net/http"
	"strconv"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/httpx"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
)

// projectEvent is one event of a project's stream.
type projectEvent struct {
	Type     string   `json:"type"` // run_started | run_finished | waits_changed | decision_wanted | log | resync
	Run      *runJSON `json:"run,omitempty"`
	RunID    string   `json:"run_id,omitempty"`
	Workflow string   `json:"workflow,omitempty"`
	Step     string   `json:"step,omitempty"`     // decision_wanted: the step that asks
	Text     string   `json:"text,omitempty"`     // decision_wanted: what it asks
	Reminder bool     `json:"reminder,omitempty"` // decision_wanted: it was asked before
	Log      *logJSON `json:"log,omitempty"`
}

// projectEvents streams the starts, ends and log records of all runs of a project.
func (a *API) projectEvents(w http.ResponseWriter, r *http.Request) error {
	logs := true
	switch text := r.URL.Query().Get("logs"); text {
	case "", "true":
	case "false":
		logs = false
	default:
		return fault.InvalidField("logs", "is "+strconv.Quote(text), "give true or false")
	}
	// From before the answer begins: what happens after its first byte is told.
	events := a.UseCases.WatchProject(r.Context(), r.PathValue("project"))
	out := make(chan projectEvent)
	go func() {
		defer close(out)
		for e := range events {
			if e.Kind == "log" && !logs {
				continue
			}
			select {
			case out <- projectEventOf(e):
			case <-r.Context().Done():
			}
		}
	}()
	return httpx.SendAll(w, r, out, func(projectEvent) string { return "" })
}

func projectEventOf(e app.ProjectEvent) projectEvent {
	j := projectEvent{Type: e.Kind, RunID: e.ID, Workflow: e.Of, Step: e.Step, Text: e.Text, Reminder: e.Reminder}
	if e.Run != nil {
		j.Run, j.RunID, j.Workflow = ptr(summary(*e.Run)), e.Run.ID, e.Run.Workflow
	}
	if e.Log != nil {
		j.Log = ptr(logOf(*e.Log))
	}
	return j
}
