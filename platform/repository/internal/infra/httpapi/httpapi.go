// Package httpapi is the repository service's HTTP interface; openapi.yaml describes it.
package httpapi

import (
	"fmt"
	"net/http"
	"time"

	"github.com/pelton-run/pelton/platform/kit/authn"
	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/httpx"
	"github.com/pelton-run/pelton/platform/kit/id"
	"github.com/pelton-run/pelton/platform/kit/openapi"
	"github.com/pelton-run/pelton/platform/repository/internal/app"
	"github.com/pelton-run/pelton/platform/repository/internal/domain"
)

// API serves the interface.
type API struct {
	Service *app.Service
	Store   app.Store
	Hub     *httpx.Hub[app.Event]
	Verify  *authn.Verifier
	Now     func() time.Time
}

const prefix = "/repository/v1/projects/{project}"

// Handler is the mux of the service's routes.
func (a API) Handler() *openapi.Mux {
	mux := &openapi.Mux{}
	route := func(pattern string, role authn.Role, f httpx.HandlerFunc) {
		mux.Handle(pattern, a.Verify.Require(role, httpx.Handle(f)))
	}
	route("GET "+prefix+"/repositories", authn.Viewer, a.listRepositories)
	route("POST "+prefix+"/repositories", authn.Developer, a.addRepository)
	route("GET "+prefix+"/repositories/{id}", authn.Viewer, a.getRepository)
	route("DELETE "+prefix+"/repositories/{id}", authn.Developer, a.removeRepository)
	route("POST "+prefix+"/repositories/{id}/scans", authn.Developer, a.scan)
	route("GET "+prefix+"/repositories/{id}/scans", authn.Viewer, a.listScans)
	route("GET "+prefix+"/scans/{id}", authn.Viewer, a.getScan)
	route("GET "+prefix+"/builds", authn.Viewer, a.listBuilds)
	route("POST "+prefix+"/builds", authn.Developer, a.addBuild)
	route("GET "+prefix+"/builds/{id}", authn.Viewer, a.getBuild)
	route("GET "+prefix+"/builds/{id}/log", authn.Viewer, a.buildLog)
	route("POST "+prefix+"/builds/{id}/cancel", authn.Developer, a.cancelBuild)
	route("GET "+prefix+"/events", authn.Viewer, a.events)
	return mux
}

func pathID(r *http.Request) (string, error) {
	v := r.PathValue("id")
	if !id.Valid(v) {
		return "", fault.New(fault.NotFound, "%q is no id: ids look like %s", v, "0190b5c0-7c3e-7000-8000-000000000000")
	}
	return v, nil
}

// newestFirst reads ?limit&cursor of a list whose cursor is the last id of the page before.
func newestFirst(r *http.Request, known ...string) (httpx.Page, error) {
	page, err := httpx.PageOf(r, known...)
	if err == nil && page.Cursor != "" && !id.Valid(page.Cursor) {
		err = fault.InvalidField("cursor", "is not a cursor of this list", "pass next_cursor of the page before unchanged")
	}
	return page, err
}

type repositoryJSON struct {
	ID         string    `json:"id"`
	Name       string    `json:"name"`
	URL        string    `json:"url,omitempty"`
	Branch     string    `json:"branch,omitempty"`
	Path       string    `json:"path,omitempty"`
	Watch      bool      `json:"watch"`
	AutoDeploy bool      `json:"auto_deploy"`
	CreatedAt  time.Time `json:"created_at"`
}

func repositoryOf(r domain.Repository) repositoryJSON {
	return repositoryJSON{r.ID, r.Name, r.URL, r.Branch, r.Path, r.Watch, r.AutoDeploy, utc(r.CreatedAt)}
}

func utc(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

func (a API) listRepositories(w http.ResponseWriter, r *http.Request) error {
	if _, err := httpx.PageOf(r); err != nil {
		return err
	}
	found, err := a.Store.Repositories(r.Context(), r.PathValue("project"))
	if err != nil {
		return err
	}
	var items []repositoryJSON
	for _, x := range found {
		items = append(items, repositoryOf(x))
	}
	return httpx.WriteJSON(w, http.StatusOK, httpx.NewList(items, ""))
}

func (a API) addRepository(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Name       string `json:"name"`
		URL        string `json:"url"`
		Branch     string `json:"branch"`
		Path       string `json:"path"`
		Watch      bool   `json:"watch"`
		AutoDeploy bool   `json:"auto_deploy"`
	}
	if err := httpx.DecodeJSON(r, &in, 1<<20); err != nil {
		return err
	}
	if in.Path != "" && !authn.From(r.Context()).Admin {
		return fault.New(fault.Forbidden, "only the platform's admin may add folders of the server: give url")
	}
	added, err := a.Service.Add(r.Context(), domain.Repository{Project: r.PathValue("project"), Name: in.Name, URL: in.URL, Branch: in.Branch, Path: in.Path, Watch: in.Watch, AutoDeploy: in.AutoDeploy})
	if err != nil {
		return err
	}
	return httpx.WriteJSON(w, http.StatusCreated, repositoryOf(added))
}

func (a API) getRepository(w http.ResponseWriter, r *http.Request) error {
	rid, err := pathID(r)
	if err != nil {
		return err
	}
	found, err := a.Store.Repository(r.Context(), r.PathValue("project"), rid)
	if err != nil {
		return err
	}
	return httpx.WriteJSON(w, http.StatusOK, repositoryOf(found))
}

func (a API) removeRepository(w http.ResponseWriter, r *http.Request) error {
	rid, err := pathID(r)
	if err != nil {
		return err
	}
	if err := a.Service.Remove(r.Context(), r.PathValue("project"), rid); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

type scanJSON struct {
	ID           string         `json:"id"`
	RepositoryID string         `json:"repository_id"`
	Commit       string         `json:"commit"`
	State        string         `json:"state"`
	Error        string         `json:"error,omitempty"`
	Actions      []domain.Entry `json:"actions"`
	Workflows    []domain.Entry `json:"workflows"`
	StartedAt    time.Time      `json:"started_at"`
	FinishedAt   time.Time      `json:"finished_at"`
}

func scanOf(s domain.Scan) scanJSON {
	j := scanJSON{s.ID, s.RepositoryID, s.Commit, s.State, s.Error, s.Actions, s.Workflows, utc(s.StartedAt), utc(s.FinishedAt)}
	if j.Actions == nil {
		j.Actions = []domain.Entry{}
	}
	if j.Workflows == nil {
		j.Workflows = []domain.Entry{}
	}
	return j
}

func (a API) scan(w http.ResponseWriter, r *http.Request) error {
	rid, err := pathID(r)
	if err != nil {
		return err
	}
	s, err := a.Service.Scan(r.Context(), r.PathValue("project"), rid)
	if err != nil {
		return err
	}
	return httpx.WriteJSON(w, http.StatusCreated, scanOf(s))
}

func (a API) listScans(w http.ResponseWriter, r *http.Request) error {
	rid, err := pathID(r)
	if err != nil {
		return err
	}
	page, err := newestFirst(r)
	if err != nil {
		return err
	}
	found, err := a.Store.Scans(r.Context(), r.PathValue("project"), rid, page.Limit, page.Cursor)
	if err != nil {
		return err
	}
	items, next := []scanJSON{}, ""
	for _, s := range found {
		items = append(items, scanOf(s))
	}
	if len(found) == page.Limit {
		next = found[len(found)-1].ID
	}
	return httpx.WriteJSON(w, http.StatusOK, httpx.NewList(items, next))
}

func (a API) getScan(w http.ResponseWriter, r *http.Request) error {
	sid, err := pathID(r)
	if err != nil {
		return err
	}
	s, err := a.Store.Scan(r.Context(), r.PathValue("project"), sid)
	if err != nil {
		return err
	}
	return httpx.WriteJSON(w, http.StatusOK, scanOf(s))
}

type buildJSON struct {
	ID         string           `json:"id"`
	Build      string           `json:"build"`
	Repository string           `json:"repository"`
	Commit     string           `json:"commit"`
	Path       string           `json:"path"`
	Action     string           `json:"action"`
	State      string           `json:"state"`
	Kind       string           `json:"kind,omitempty"`
	Message    string           `json:"message,omitempty"`
	Host       string           `json:"host,omitempty"`
	Setting    string           `json:"setting,omitempty"`
	File       string           `json:"file,omitempty"`
	Line       int              `json:"line,omitempty"`
	PhasesMS   map[string]int64 `json:"phases_ms"`
	Notes      []string         `json:"notes"`
	CreatedAt  time.Time        `json:"created_at"`
	StartedAt  *time.Time       `json:"started_at,omitempty"`
	FinishedAt *time.Time       `json:"finished_at,omitempty"`
}

func buildOf(b domain.Build) buildJSON {
	j := buildJSON{ID: b.ID, Build: b.Build, Repository: b.Repository, Commit: b.Commit, Path: b.Path, Action: b.Action, State: b.State, Kind: b.Kind,
		Message: b.Message, Host: b.Host, Setting: b.Setting, File: b.File, Line: b.Line, PhasesMS: b.PhasesMS, Notes: b.Notes, CreatedAt: utc(b.CreatedAt),
		StartedAt: when(b.StartedAt), FinishedAt: when(b.FinishedAt)}
	if j.Notes == nil {
		j.Notes = []string{}
	}
	if j.PhasesMS == nil {
		j.PhasesMS = map[string]int64{}
	}
	return j
}

func when(t time.Time) *time.Time {
	if t.Unix() <= 0 {
		return nil
	}
	t = utc(t)
	return &t
}

func (a API) listBuilds(w http.ResponseWriter, r *http.Request) error {
	page, err := newestFirst(r, "state", "action")
	if err != nil {
		return err
	}
	q := r.URL.Query()
	switch q.Get("state") {
	case "", domain.Queued, domain.Building, domain.Succeeded, domain.Failed, domain.Cancelled:
	default:
		return fault.InvalidField("state", "is "+q.Get("state"), "give queued, building, succeeded, failed or cancelled")
	}
	found, err := a.Store.Builds(r.Context(), r.PathValue("project"), q.Get("state"), q.Get("action"), page.Limit, page.Cursor)
	if err != nil {
		return err
	}
	items, next := []buildJSON{}, ""
	for _, b := range found {
		items = append(items, buildOf(b))
	}
	if len(found) == page.Limit {
		next = found[len(found)-1].ID
	}
	return httpx.WriteJSON(w, http.StatusOK, httpx.NewList(items, next))
}

// addBuild orders a build: 201, or 200 with the build that makes another one unnecessary.
func (a API) addBuild(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Repository string `json:"repository"`
		Action     string `json:"action"`
		Path       string `json:"path"`
		Force      bool   `json:"force"`
	}
	if err := httpx.DecodeJSON(r, &in, 1<<20); err != nil {
		return err
	}
	b, ordered, err := a.Service.Build(r.Context(), app.BuildRequest{Project: r.PathValue("project"), Repository: in.Repository, Action: in.Action, Path: in.Path, Force: in.Force})
	if err != nil {
		return err
	}
	status := http.StatusOK
	if ordered {
		status = http.StatusCreated
		w.Header().Set("Location", "/repository/v1/projects/"+b.Project+"/builds/"+b.ID)
	}
	return httpx.WriteJSON(w, status, buildOf(b))
}

func (a API) getBuild(w http.ResponseWriter, r *http.Request) error {
	bid, err := pathID(r)
	if err != nil {
		return err
	}
	b, err := a.Store.Build(r.Context(), r.PathValue("project"), bid)
	if err != nil {
		return err
	}
	return httpx.WriteJSON(w, http.StatusOK, buildOf(b))
}

func (a API) cancelBuild(w http.ResponseWriter, r *http.Request) error {
	bid, err := pathID(r)
	if err != nil {
		return err
	}
	b, err := a.Service.Cancel(r.Context(), r.PathValue("project"), bid)
	if err != nil {
		return err
	}
	return httpx.WriteJSON(w, http.StatusOK, buildOf(b))
}

// buildLog is plain text; with ?follow=true server-sent events until the build has ended.
func (a API) buildLog(w http.ResponseWriter, r *http.Request) error {
	bid, err := pathID(r)
	if err != nil {
		return err
	}
	project := r.PathValue("project")
	b, err := a.Store.Build(r.Context(), project, bid)
	if err != nil {
		return err
	}
	if r.URL.Query().Get("follow") != "true" {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		after := int64(-1)
		for {
			lines, next, err := a.Store.Log(r.Context(), bid, after)
			if err != nil || next == after {
				return nil //nolint:nilerr // the answer has begun
			}
			after = next
			for _, l := range lines {
				fmt.Fprintln(w, l)
			}
		}
	}
	events, stop := a.Hub.Subscribe(project)
	defer stop()
	stream := httpx.NewStream(w)
	after := int64(-1)
	for {
		for {
			lines, next, err := a.Store.Log(r.Context(), bid, after)
			if err != nil {
				return nil //nolint:nilerr // the answer has begun
			}
			if next == after {
				break
			}
			after = next
			if stream.Send(fmt.Sprint(after), "log", map[string]any{"lines": lines}, false) != nil {
				return nil
			}
		}
		if b, err = a.Store.Build(r.Context(), project, bid); err != nil || (b.State != domain.Queued && b.State != domain.Building) {
			_ = stream.Send("", "end", buildOf(b), false)
			return nil //nolint:nilerr // the answer has begun
		}
		select {
		case <-r.Context().Done():
			return nil
		case <-events:
		case <-time.After(10 * time.Second):
			if stream.Beat() != nil {
				return nil
			}
		}
	}
}

func (a API) events(w http.ResponseWriter, r *http.Request) error {
	events, stop := a.Hub.Subscribe(r.PathValue("project"))
	defer stop()
	return httpx.SendAll(w, r, events, func(e app.Event) string { return "" })
}
