package httpapi

import (
	"net/http"

	"github.com/pelton-run/pelton/platform/kit/httpx"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
)

// projectEvent is one event of a project's stream.
type projectEvent struct {
	Type     string   `json:"type"` // run_started | run_finished | log | resync
	Run      *runJSON `json:"run,omitempty"`
	RunID    string   `json:"run_id,omitempty"`
	Workflow string   `json:"workflow,omitempty"`
	Log      *logJSON `json:"log,omitempty"`
}

// projectEvents streams the starts, ends and log records of all runs of a project.
func (a *API) projectEvents(w http.ResponseWriter, r *http.Request) error {
	if _, err := httpx.PageOf(r, "logs"); err != nil {
		return err
	}
	logs := r.URL.Query().Get("logs") != "false"
	out := make(chan projectEvent)
	go func() {
		defer close(out)
		for e := range a.UseCases.WatchProject(r.Context(), r.PathValue("project")) {
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
	j := projectEvent{Type: e.Kind, RunID: e.ID, Workflow: e.Of}
	if e.Run != nil {
		j.Run, j.RunID, j.Workflow = ptr(summary(*e.Run)), e.Run.ID, e.Run.Workflow
	}
	if e.Log != nil {
		j.Log = ptr(logOf(*e.Log))
	}
	return j
}
