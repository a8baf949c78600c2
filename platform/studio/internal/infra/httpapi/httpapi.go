// Package httpapi is the studio's HTTP interface; openapi.yaml describes it.
package httpapi

import (
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/pelton-run/pelton/functions/formats/action"
	"github.com/pelton-run/pelton/functions/formats/workflow"
	"github.com/pelton-run/pelton/platform/kit/authn"
	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/httpx"
	"github.com/pelton-run/pelton/platform/kit/openapi"
	"github.com/pelton-run/pelton/platform/studio/internal/app"
	"github.com/pelton-run/pelton/platform/studio/internal/domain"
)

// API serves the interface.
type API struct {
	Service *app.Service
	Hub     *httpx.Hub[app.Event]
	Verify  *authn.Verifier
}

const prefix = "/studio/v1/projects/{project}"

// Handler is the mux of the service's routes.
func (a API) Handler() *openapi.Mux {
	mux := &openapi.Mux{}
	route := func(pattern string, role authn.Role, f httpx.HandlerFunc) {
		mux.Handle(pattern, a.Verify.Require(role, httpx.Handle(f)))
	}
	route("GET "+prefix+"/actions", authn.Viewer, a.actions)
	route("GET "+prefix+"/actions/{id}", authn.Viewer, a.action)
	route("GET "+prefix+"/workflows", authn.Viewer, a.workflows)
	route("POST "+prefix+"/workflows/check", authn.Viewer, a.check)
	route("POST "+prefix+"/workflows/compile", authn.Viewer, a.compile)
	route("GET "+prefix+"/workflows/{name}", authn.Viewer, a.workflow)
	route("PUT "+prefix+"/workflows/{name}", authn.Developer, a.save)
	route("GET "+prefix+"/workflows/{name}/revisions", authn.Viewer, a.revisions)
	route("GET "+prefix+"/workflows/{name}/revisions/{number}", authn.Viewer, a.revision)
	route("POST "+prefix+"/workflows/{name}/deploy", authn.Operator, a.deploy)
	route("PUT "+prefix+"/workflows/{name}/traffic", authn.Operator, a.setTraffic)
	route("POST "+prefix+"/workflows/{name}/undeploy", authn.Operator, a.undeploy)
	route("POST "+prefix+"/workflows/{name}/rollback", authn.Operator, a.rollback)
	route("GET "+prefix+"/events", authn.Viewer, a.events)
	return mux
}

func utc(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

type buildJSON struct {
	Build      string    `json:"build"`
	Version    string    `json:"version"`
	Repository string    `json:"repository"`
	Commit     string    `json:"commit"`
	Path       string    `json:"path"`
	OfferedAt  time.Time `json:"offered_at"`
}

func buildOf(b domain.Build) buildJSON {
	return buildJSON{b.Build, b.Version, b.Repository, b.Commit, b.Path, utc(b.OfferedAt)}
}

// actionJSON is an action of the library: its newest build, and the others where one is shown.
type actionJSON struct {
	action.Action
	Build      string      `json:"build"`
	Repository string      `json:"repository"`
	Commit     string      `json:"commit"`
	Path       string      `json:"path"`
	OfferedAt  time.Time   `json:"offered_at"`
	Versions   []buildJSON `json:"versions,omitempty"`
}

func actionOf(b domain.Build) (actionJSON, error) {
	j := actionJSON{Build: b.Build, Repository: b.Repository, Commit: b.Commit, Path: b.Path, OfferedAt: utc(b.OfferedAt)}
	err := json.Unmarshal([]byte(b.ActionJSON), &j.Action)
	if j.Inputs == nil {
		j.Inputs = []action.Item{}
	}
	if j.Outputs == nil {
		j.Outputs = []action.Item{}
	}
	return j, err
}

func (a API) actions(w http.ResponseWriter, r *http.Request) error {
	if _, err := httpx.PageOf(r); err != nil {
		return err
	}
	found, err := a.Service.Store.NewestBuilds(r.Context(), r.PathValue("project"))
	if err != nil {
		return err
	}
	var items []actionJSON
	for _, b := range found {
		j, err := actionOf(b)
		if err != nil {
			return err
		}
		if n := len(items); n > 0 && items[n-1].ID == b.Action {
			if j.OfferedAt.After(items[n-1].OfferedAt) {
				items[n-1] = j
			}
			continue
		}
		items = append(items, j)
	}
	return httpx.WriteJSON(w, http.StatusOK, httpx.NewList(items, ""))
}

func (a API) action(w http.ResponseWriter, r *http.Request) error {
	found, err := a.Service.Store.Builds(r.Context(), r.PathValue("project"), r.PathValue("id"))
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return fault.New(fault.NotFound, "there is no action %q in the library", r.PathValue("id"))
	}
	out, err := actionOf(found[0])
	if err != nil {
		return err
	}
	for _, b := range found[:min(len(found), 100)] {
		out.Versions = append(out.Versions, buildOf(b))
	}
	return httpx.WriteJSON(w, http.StatusOK, out)
}

type deploymentJSON struct {
	ID        string            `json:"id"`
	Revision  int               `json:"revision"`
	State     string            `json:"state"`
	Reason    string            `json:"reason,omitempty"`
	Endpoints []domain.Endpoint `json:"endpoints"`
	Traffic   domain.Traffic    `json:"traffic,omitempty"`
	CreatedAt time.Time         `json:"created_at"`
}

func deploymentOf(d domain.Deployment) *deploymentJSON {
	if d.Endpoints == nil {
		d.Endpoints = []domain.Endpoint{}
	}
	return &deploymentJSON{d.ID, d.Number, d.State, d.Reason, d.Endpoints, d.Traffic, utc(d.CreatedAt)}
}

type workflowJSON struct {
	Name       string           `json:"name"`
	Path       string           `json:"path,omitempty"`
	AutoDeploy bool             `json:"auto_deploy"`
	Problems   []domain.Problem `json:"problems"`
	Deployment *deploymentJSON  `json:"deployment,omitempty"`
	CreatedAt  time.Time        `json:"created_at"`
	Revision   int              `json:"revision"` // the newest, 0 = none yet
	UpdatedAt  *time.Time       `json:"updated_at,omitempty"`
	YAML       string           `json:"yaml,omitempty"`
	Definition *definitionJSON  `json:"definition,omitempty"`
}

type revisionJSON struct {
	ID         string          `json:"id"`
	Number     int             `json:"revision"`
	CreatedAt  time.Time       `json:"created_at"`
	YAML       string          `json:"yaml,omitempty"`
	Definition *definitionJSON `json:"definition,omitempty"`
}

func (a API) workflows(w http.ResponseWriter, r *http.Request) error {
	if _, err := httpx.PageOf(r); err != nil {
		return err
	}
	project := r.PathValue("project")
	found, err := a.Service.Store.Workflows(r.Context(), project)
	if err != nil {
		return err
	}
	newest, err := a.Service.Store.NewestDeployments(r.Context(), project)
	if err != nil {
		return err
	}
	var items []workflowJSON
	for _, x := range found {
		j := workflowOf(x)
		if d, ok := newest[x.Name]; ok {
			j.Deployment = deploymentOf(d)
		}
		if err := a.newest(r, project, &j, false); err != nil {
			return err
		}
		items = append(items, j)
	}
	return httpx.WriteJSON(w, http.StatusOK, httpx.NewList(items, ""))
}

func workflowOf(x domain.Workflow) workflowJSON {
	if x.Problems == nil {
		x.Problems = []domain.Problem{}
	}
	return workflowJSON{Name: x.Name, Path: x.Path, AutoDeploy: x.AutoDeploy, Problems: x.Problems, CreatedAt: utc(x.CreatedAt)}
}

func (a API) workflow(w http.ResponseWriter, r *http.Request) error {
	project, name := r.PathValue("project"), r.PathValue("name")
	x, err := a.Service.Store.Workflow(r.Context(), project, name)
	if err != nil {
		return err
	}
	j := workflowOf(x)
	list, err := a.Service.Store.Deployments(r.Context(), project, name, 1)
	if err != nil {
		return err
	}
	if len(list) > 0 {
		j.Deployment = deploymentOf(list[0])
	}
	if err := a.newest(r, project, &j, true); err != nil {
		return err
	}
	w.Header().Set("ETag", fmt.Sprintf(`"%d"`, j.Revision))
	return httpx.WriteJSON(w, http.StatusOK, j)
}

// newest adds a workflow's newest revision, whole or only its number.
func (a API) newest(r *http.Request, project string, j *workflowJSON, whole bool) error {
	revs, err := a.Service.Store.Revisions(r.Context(), project, j.Name, 0, 1)
	if err != nil || len(revs) == 0 {
		return err
	}
	at := utc(revs[0].CreatedAt)
	j.Revision, j.UpdatedAt = revs[0].Number, &at
	rev, err := revisionOf(revs[0], whole)
	j.YAML, j.Definition = rev.YAML, rev.Definition
	return err
}

func revisionOf(r domain.Revision, whole bool) (revisionJSON, error) {
	j := revisionJSON{ID: r.ID, Number: r.Number, CreatedAt: utc(r.CreatedAt)}
	if !whole {
		return j, nil
	}
	j.YAML = r.YAML
	w, _ := workflow.Parse("workflow.yaml", []byte(r.YAML))
	d, err := definitionOf(w)
	if err != nil {
		return j, err
	}
	j.Definition = d
	return j, nil
}

// text reads a workflow's YAML: as text, or as {"yaml": "…"}.
func text(r *http.Request) (string, error) {
	const limit = 1 << 20
	mt, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if mt == "application/json" {
		var in struct {
			YAML string `json:"yaml"`
		}
		err := httpx.DecodeJSON(r, &in, limit)
		return in.YAML, err
	}
	data, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	if err != nil {
		return "", fault.Wrap(err, fault.Invalid, "the body could not be read")
	}
	if len(data) > limit {
		return "", fault.New(fault.TooLarge, "a workflow has at most 1 MiB")
	}
	return string(data), nil
}

func (a API) check(w http.ResponseWriter, r *http.Request) error {
	yaml, err := text(r)
	if err != nil {
		return err
	}
	problems, err := a.Service.Check(r.Context(), r.PathValue("project"), yaml)
	if err != nil {
		return err
	}
	if problems == nil {
		problems = []domain.Problem{}
	}
	return httpx.WriteJSON(w, http.StatusOK, map[string]any{"problems": problems})
}

func (a API) save(w http.ResponseWriter, r *http.Request) error {
	project, name := r.PathValue("project"), r.PathValue("name")
	yaml, err := text(r)
	if err != nil {
		return err
	}
	if want := r.Header.Get("If-Match"); want != "" {
		revs, err := a.Service.Store.Revisions(r.Context(), project, name, 0, 1)
		if err != nil {
			return err
		}
		have := `"0"`
		if len(revs) > 0 {
			have = fmt.Sprintf(`"%d"`, revs[0].Number)
		}
		if want != have {
			return fault.New(fault.Conflict, "the workflow was changed in the meantime: it is at revision %s, you edited %s: load it again", strings.Trim(have, `"`), strings.Trim(want, `"`))
		}
	}
	rev, err := a.Service.Save(r.Context(), project, name, yaml)
	if err != nil {
		return err
	}
	j, err := revisionOf(rev, true)
	if err != nil {
		return err
	}
	w.Header().Set("ETag", fmt.Sprintf(`"%d"`, rev.Number))
	return httpx.WriteJSON(w, http.StatusOK, j)
}

func (a API) revisions(w http.ResponseWriter, r *http.Request) error {
	page, err := httpx.PageOf(r)
	if err != nil {
		return err
	}
	before := 0
	if page.Cursor != "" {
		if before, err = strconv.Atoi(page.Cursor); err != nil || before < 1 {
			return fault.InvalidField("cursor", "is not a cursor of this list", "pass next_cursor of the page before unchanged")
		}
	}
	found, err := a.Service.Store.Revisions(r.Context(), r.PathValue("project"), r.PathValue("name"), before, page.Limit)
	if err != nil {
		return err
	}
	var items []revisionJSON
	next := ""
	for _, x := range found {
		j, err := revisionOf(x, false)
		if err != nil {
			return err
		}
		items = append(items, j)
	}
	if len(found) == page.Limit {
		next = strconv.Itoa(found[len(found)-1].Number)
	}
	return httpx.WriteJSON(w, http.StatusOK, httpx.NewList(items, next))
}

func (a API) revision(w http.ResponseWriter, r *http.Request) error {
	text := r.PathValue("number")
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return fault.New(fault.NotFound, "there is no revision %q: revisions are numbered from 1", text)
	}
	found, err := a.Service.Store.Revisions(r.Context(), r.PathValue("project"), r.PathValue("name"), n+1, 1)
	if err != nil {
		return err
	}
	if len(found) == 0 || found[0].Number != n {
		return fault.New(fault.NotFound, "the workflow %q has no revision %d", r.PathValue("name"), n)
	}
	j, err := revisionOf(found[0], true)
	if err != nil {
		return err
	}
	return httpx.WriteJSON(w, http.StatusOK, j)
}

func (a API) events(w http.ResponseWriter, r *http.Request) error {
	events, stop := a.Hub.Subscribe(r.PathValue("project"))
	defer stop()
	return httpx.SendAll(w, r, events, func(app.Event) string { return "" })
}
