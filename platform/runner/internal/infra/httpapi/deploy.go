package httpapi

import (
	"net/http"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/httpx"
	"github.com/pelton-run/pelton/platform/kit/id"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
)

// maxDefinition bounds the body of a deployment.
const maxDefinition = 16 << 20

// deploy makes a definition live that somebody brings, with no studio between: the same as a message of
// the studio does. A call with the id of an earlier one changes nothing.
func (a *API) deploy(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		ID         string `json:"id"`
		Definition []byte `json:"definition"` // studio.v1.Definition
	}
	if err := httpx.DecodeJSON(r, &in, maxDefinition); err != nil {
		return err
	}
	if len(in.Definition) == 0 {
		return fault.InvalidField("definition", "is missing", "give what the studio answers as a revision's definition")
	}
	d, err := a.Definition(in.Definition)
	if err != nil || d.Workflow == "" {
		return fault.InvalidField("definition", "is no definition", "give what the studio answers as a revision's definition")
	}
	if d.Revision == 0 {
		d.Revision = 1 // it was compiled and never saved
	}
	if in.ID == "" {
		in.ID = id.New()
	}
	if !validID(in.ID) {
		return fault.InvalidField("id", "is no id of a deployment", "give a UUIDv7, or leave it out")
	}
	project := r.PathValue("project")
	if err := a.UseCases.Deploy(r.Context(), app.DeployWorkflow{ID: in.ID, Project: project, Definition: d, At: a.Now().UTC()}); err != nil {
		return err
	}
	made, err := a.UseCases.Deployment(r.Context(), project, in.ID)
	if err != nil {
		return err
	}
	return httpx.WriteJSON(w, http.StatusCreated, a.deployment(made))
}

// undeploy lets a deployment start no more runs; those under way go on.
func (a *API) undeploy(w http.ResponseWriter, r *http.Request) error {
	rid, err := runID(r)
	if err != nil {
		return err
	}
	if _, err := a.UseCases.Deployment(r.Context(), r.PathValue("project"), rid); err != nil {
		return err
	}
	if err := a.UseCases.Undeploy(r.Context(), r.PathValue("project"), rid); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
