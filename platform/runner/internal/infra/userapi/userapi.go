// Package userapi serves the HTTP triggers of deployed workflows under /user-api/<project>/.
//
// A run starts with the trigger's own method alone. HEAD is answered for links (results, files) and
// refused for triggers, since it must not change anything; OPTIONS tells the methods of a path and
// grants nothing to pages of other origins.
package userapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pelton-run/pelton/functions/formats/doc"
	"github.com/pelton-run/pelton/platform/kit/authn"
	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/httpx"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// Config of the API.
type Config struct {
	UseCases  app.UseCases
	Files     app.Files
	Verify    *authn.Verifier
	Now       func() time.Time
	PublicURL func() string
}

// API serves HTTP triggers.
type API struct {
	Config
	draining atomic.Bool

	mu     sync.Mutex
	routes map[string][]*route // by project
	stale  <-chan struct{}
}

// New makes the API.
func New(cfg Config) *API { return &API{Config: cfg} }

// Drain refuses new runs; those under way are answered.
func (a *API) Drain() { a.draining.Store(true) }

// settings are a trigger's `with`.
type settings struct {
	Method   string          `json:"method"`
	Path     string          `json:"path"`
	Body     string          `json:"body"`
	Query    mapping         `json:"query"`
	Header   mapping         `json:"header"`
	Cookie   mapping         `json:"cookie"`
	Mode     string          `json:"mode"`
	Stream   string          `json:"stream"` // mode stream: the step whose outputs are sent, "" = every step's
	Timeout  span            `json:"timeout"`
	Auth     string          `json:"auth"`
	Secret   string          `json:"secret"` // auth signature: the project's secret that requests are signed with
	Scheme   string          `json:"scheme"` // auth signature: standard or github
	MaxBytes size            `json:"maxBytes"`
	Response json.RawMessage `json:"response"`
}

// mapping says which workflow input takes which parameter: a list of names, or input: name.
type mapping map[string]string

// UnmarshalJSON reads a list, a mapping or one name.
func (m *mapping) UnmarshalJSON(data []byte) error {
	*m = mapping{}
	var one string
	var list []string
	var pairs map[string]string
	switch {
	case json.Unmarshal(data, &one) == nil:
		(*m)[one] = one
	case json.Unmarshal(data, &list) == nil:
		for _, n := range list {
			(*m)[n] = n
		}
	default:
		if err := json.Unmarshal(data, &pairs); err != nil {
			return err
		}
		for k, v := range pairs {
			(*m)[k] = v
		}
	}
	return nil
}

// span is a duration as a workflow writes it: 30s, 1d, or a number of seconds.
type span time.Duration

// UnmarshalJSON reads a text or a number.
func (s *span) UnmarshalJSON(data []byte) error {
	d, ok := doc.ParseDuration(strings.Trim(string(data), `"`))
	if !ok {
		return fmt.Errorf("timeout: %s is no duration", data)
	}
	*s = span(d)
	return nil
}

// size is a number of bytes as a workflow writes it: 512M, 2G, or the number.
type size int64

// UnmarshalJSON reads a text or a number.
func (s *size) UnmarshalJSON(data []byte) error {
	n, ok := doc.ParseBytes(strings.Trim(string(data), `"`))
	if !ok {
		return fmt.Errorf("maxBytes: %s is no size", data)
	}
	*s = size(n)
	return nil
}

// route is one trigger that listens.
type route struct {
	deployment app.Deployment
	trigger    domain.TriggerSpec
	with       settings
	timeout    time.Duration
	parts      []string // of the path; {name} takes any
}

func newRoute(d app.Deployment, t domain.TriggerSpec) (*route, error) {
	r := &route{deployment: d, trigger: t, timeout: 30 * time.Second}
	if len(t.With) > 0 {
		if err := json.Unmarshal(t.With, &r.with); err != nil {
			return nil, err
		}
	}
	if r.with.Method == "" {
		r.with.Method = http.MethodPost
	}
	if r.with.Path == "" {
		r.with.Path = "/" + d.Definition.Workflow
	}
	if r.with.Auth == "" {
		r.with.Auth = "key"
	}
	if r.with.MaxBytes == 0 {
		r.with.MaxBytes = 16 << 30
	}
	if r.with.Timeout != 0 {
		r.timeout = time.Duration(r.with.Timeout)
	}
	r.parts = strings.Split(strings.Trim(r.with.Path, "/"), "/")
	return r, nil
}

// answering is the trigger as the revision of a run has it, which says how the run is answered: it may be another than the
// one that listens, since that shares its runs, or since a repeated request has found its earlier run.
func (a *API) answering(ctx context.Context, listens *route, deployment string) *route {
	if deployment == listens.deployment.ID || deployment == "" {
		return listens
	}
	d := app.Deployment{ID: deployment, Project: listens.deployment.Project}
	if i := slices.IndexFunc(listens.deployment.Shares, func(sh app.Share) bool { return sh.Deployment == deployment }); i >= 0 {
		d.Definition = listens.deployment.Shares[i].Definition
	} else {
		var err error
		if d, err = a.UseCases.Deployment(ctx, d.Project, deployment); err != nil {
			return listens
		}
	}
	for _, t := range d.Definition.Triggers {
		if t.ID != listens.trigger.ID || t.Uses != listens.trigger.Uses {
			continue
		}
		if own, err := newRoute(d, t); err == nil {
			return own
		}
	}
	return listens
}

// match gives the path's parameters.
func (r *route) match(parts []string) (map[string]string, bool) {
	if len(parts) != len(r.parts) {
		return nil, false
	}
	params := map[string]string{}
	for i, p := range r.parts {
		if name, ok := strings.CutPrefix(p, "{"); ok {
			if parts[i] == "" {
				return nil, false
			}
			params[strings.TrimSuffix(name, "}")] = parts[i]
		} else if p != parts[i] {
			return nil, false
		}
	}
	return params, true
}

// table is the routes of a project, made anew when deployments have changed.
func (a *API) table(project string) []*route {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stale != nil {
		select {
		case <-a.stale:
		default:
			return a.routes[project]
		}
	}
	live, changed := a.UseCases.Live()
	a.routes, a.stale = map[string][]*route{}, changed
	for _, d := range live {
		for _, t := range d.Definition.Triggers {
			if t.Uses != "http" {
				continue
			}
			if r, err := newRoute(d, t); err == nil {
				a.routes[d.Project] = append(a.routes[d.Project], r)
			}
		}
	}
	return a.routes[project]
}

// Handler serves /user-api/.
func (a *API) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /user-api/{project}/-/runs/{id}/result", httpx.Handle(a.result))
	mux.Handle("GET /user-api/{project}/-/runs/{id}/files/{digest}", httpx.Handle(a.file))
	mux.Handle("GET /user-api/{project}/-/openapi.json", httpx.Handle(a.openapi))
	mux.Handle("/user-api/{project}/{path...}", httpx.Handle(a.call))
	return mux
}

// call starts a run for a request that a trigger listens to.
func (a *API) call(w http.ResponseWriter, r *http.Request) error {
	project := r.PathValue("project")
	parts := strings.Split(strings.Trim(r.PathValue("path"), "/"), "/")
	found, params, methods := a.find(project, parts, r.Method)
	if found == nil { // another replica may have made it live just now
		if err := a.UseCases.Refresh(r.Context()); err != nil {
			return err
		}
		found, params, methods = a.find(project, parts, r.Method)
	}
	if found == nil && len(methods) > 0 {
		return wrongMethod(w, r, methods)
	}
	if found == nil {
		return fault.New(fault.NotFound, "no deployed workflow of project %s listens to %s: `pelton workflow list` shows what is deployed", project, r.URL.Path)
	}
	key, err := a.allowed(w, r, project, found)
	if err != nil {
		return err
	}
	if own := r.Header.Get("Idempotency-Key"); own != "" {
		key = own
	}
	if a.draining.Load() {
		return fault.New(fault.Unavailable, "the platform is stopping: call again in a moment")
	}
	inputs, event, err := a.read(w, r, found, params)
	if err != nil {
		return err
	}
	async := func(t *route) bool {
		return t.with.Mode == "async" || strings.Contains(r.Header.Get("Prefer"), "respond-async")
	}
	// The request is complete: a caller who hangs up now has started the run all the same.
	started, err := a.UseCases.StartRun(context.WithoutCancel(r.Context()), app.StartRun{Project: project, DeploymentID: found.deployment.ID, Inputs: inputs, Event: event,
		Trigger: app.Trigger{Kind: "http", ID: found.trigger.ID}, IdempotencyKey: key, Traceparent: r.Header.Get("Traceparent"),
		Await: !async(found) && found.with.Mode != "stream"})
	if err != nil {
		return err
	}
	w.Header().Set("Pelton-Run", started.ID)
	found = a.answering(r.Context(), found, started.Deployment)
	wait := found.timeout
	if async(found) {
		return a.accepted(w, project, started.ID)
	}
	if found.with.Mode == "stream" {
		return a.streamRun(w, r, found, project, started.ID)
	}
	ctx, cancel := context.WithTimeout(r.Context(), wait)
	defer cancel()
	res, err := a.UseCases.Outcome(ctx, project, started)
	if err != nil {
		if r.Context().Err() != nil {
			return r.Context().Err() // the caller has gone; the run goes on
		}
		if !started.Begun() {
			w.Header().Del("Pelton-Run")
			return err
		}
		if ctx.Err() != nil {
			return a.accepted(w, project, started.ID)
		}
		return err
	}
	return a.answer(w, r, found, project, res)
}

// find is the trigger that listens to the path and method, else the methods that the path has.
func (a *API) find(project string, parts []string, method string) (found *route, params map[string]string, methods []string) {
	for _, c := range a.table(project) {
		p, ok := c.match(parts)
		if !ok {
			continue
		}
		if !c.takes(method) {
			methods = append(methods, c.methods()...)
			continue
		}
		// A path without parameters is nearer than one with.
		if found == nil || len(p) < len(params) {
			found, params = c, p
		}
	}
	slices.Sort(methods)
	return found, params, slices.Compact(methods)
}

// anyMethod are the methods of a trigger that takes ANY.
var anyMethod = []string{http.MethodDelete, http.MethodGet, http.MethodPatch, http.MethodPost, http.MethodPut}

func (r *route) methods() []string {
	if r.with.Method == "ANY" {
		return anyMethod
	}
	return []string{r.with.Method}
}

func (r *route) takes(method string) bool { return slices.Contains(r.methods(), method) }

func wrongMethod(w http.ResponseWriter, r *http.Request, methods []string) error {
	w.Header().Set("Allow", strings.Join(append(methods, http.MethodOptions), ", "))
	if r.Method == http.MethodOptions {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	httpx.WriteProblem(w, httpx.Problem{Type: "https://pelton.dev/problems/method-not-allowed", Title: "The method is not allowed", Status: http.StatusMethodNotAllowed, Detail: "call it with " + strings.Join(methods, " or ")})
	return nil
}

// allowed checks the credential that the trigger wants. A signed request may have a key under which its
// run is to be the only one.
func (a *API) allowed(w http.ResponseWriter, r *http.Request, project string, t *route) (key string, err error) {
	switch t.with.Auth {
	case "none":
		return "", nil
	case "signature":
		return a.signed(w, r, project, t)
	}
	p, err := a.Verify.Authenticate(r)
	if err != nil {
		return "", err
	}
	if t.with.Auth == "token" && p.Key {
		return "", fault.New(fault.Forbidden, "this trigger wants a person's token, not an API key")
	}
	if p.Role(project) < authn.Operator {
		return "", fault.New(fault.Forbidden, "starting runs needs the role operator in project %s: ask an admin of the project", project)
	}
	return "", nil
}

func (a *API) accepted(w http.ResponseWriter, project, run string) error {
	link := a.resultLink(project, run)
	w.Header().Set("Location", link)
	w.Header().Set("Retry-After", "1")
	return httpx.WriteJSON(w, http.StatusAccepted, map[string]string{"run": run, "result": link})
}

func (a *API) resultLink(project, run string) string {
	return a.PublicURL() + "/user-api/" + project + "/-/runs/" + run + "/result"
}
