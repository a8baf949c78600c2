package httpapi

import (
	"net/http"
	"time"

	"github.com/pelton-run/pelton/platform/kit/authn"
	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/httpx"
)

type retentionJSON struct {
	ServerMS  int64            `json:"server_ms"`
	ProjectMS int64            `json:"project_ms"`
	Workflows map[string]int64 `json:"workflows_ms"`
}

func (a *API) getRetention(w http.ResponseWriter, r *http.Request) error {
	k, err := a.UseCases.Retention(r.Context(), r.PathValue("project"))
	if err != nil {
		return err
	}
	out := retentionJSON{k.Server.Milliseconds(), k.Project.Milliseconds(), make(map[string]int64, len(k.Workflows))}
	for name, d := range k.Workflows {
		out.Workflows[name] = d.Milliseconds()
	}
	return httpx.WriteJSON(w, http.StatusOK, out)
}

// maxRetention is what a duration can hold with room to spare: a hundred years.
const maxRetention = 100 * 366 * 24 * time.Hour

func (a *API) putRetention(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		ProjectMS *int64 `json:"project_ms"`
	}
	if err := httpx.DecodeJSON(r, &in, 64<<10); err != nil {
		return err
	}
	switch {
	case in.ProjectMS == nil:
		return fault.InvalidField("project_ms", "is missing", "give milliseconds, or 0 for as long as the server keeps runs")
	case *in.ProjectMS > maxRetention.Milliseconds():
		return fault.InvalidField("project_ms", "is more than a hundred years", "give less, or 0 for as long as the server keeps runs")
	}
	if err := a.UseCases.PutRetention(r.Context(), r.PathValue("project"), time.Duration(*in.ProjectMS)*time.Millisecond); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a *API) deleteRun(w http.ResponseWriter, r *http.Request) error {
	rid, err := runID(r)
	if err != nil {
		return err
	}
	if err := a.UseCases.DeleteRun(r.Context(), r.PathValue("project"), rid); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// mayDelete tells whether the caller may order runs to be deleted: more than other orders, which leave
// the history as it is.
func mayDelete(r *http.Request) error {
	project := r.PathValue("project")
	if role := authn.From(r.Context()).Role(project); role < authn.Admin {
		return fault.New(fault.Forbidden, "deleting runs needs the role %s in project %s, and you are %s: ask an admin of the project", authn.Admin, project, role)
	}
	return nil
}
