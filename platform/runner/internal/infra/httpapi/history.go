package httpapi

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/httpx"
	"github.com/pelton-run/pelton/platform/kit/id"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// searchNames are the query parameters of a search for runs.
var searchNames = []string{"workflow", "state", "from", "to", "error", "kind", "group", "trigger", "input", "retry_of"}

const stateNames = "give queued, running, waiting, paused, cancelling, undoing, completed, failed or cancelled"

// search reads a search for runs; every wrong parameter is told at once. state may name several,
// with commas between them.
func search(project string, q url.Values) (app.RunQuery, error) {
	out := app.RunQuery{Project: project, Workflow: q.Get("workflow"), Error: q.Get("error"), Kind: q.Get("kind"), Group: q.Get("group"),
		Trigger: q.Get("trigger"), Inputs: q["input"], RetryOf: q.Get("retry_of")}
	var bad []fault.Field
	for _, s := range strings.Split(q.Get("state"), ",") {
		switch {
		case s == "":
		case !states[s]:
			bad = append(bad, fault.Field{Path: "state", Message: "is " + s, Remedy: stateNames})
		default:
			out.States = append(out.States, domain.RunState(s))
		}
	}
	if len(out.States) == 1 { // the fast way
		out.State, out.States = out.States[0], nil
	}
	for name, at := range map[string]*time.Time{"from": &out.From, "to": &out.To} {
		if err := moment(q.Get(name), at); err != nil {
			bad = append(bad, fault.Field{Path: name, Message: err.Error(), Remedy: "give a time such as 2026-12-01T09:00:00Z, or a time back from now such as 2h or 7d"})
		}
	}
	for _, in := range out.Inputs {
		if !strings.Contains(in, "=") {
			bad = append(bad, fault.Field{Path: "input", Message: fmt.Sprintf("is %q", in), Remedy: "give name=value"})
		}
	}
	if out.RetryOf != "" && !id.Valid(out.RetryOf) {
		bad = append(bad, fault.Field{Path: "retry_of", Message: "is " + out.RetryOf, Remedy: "give the id of a run"})
	}
	if bad != nil {
		return out, fault.InvalidFields(bad...)
	}
	return out, nil
}

// moment reads an RFC 3339 time.
func moment(text string, at *time.Time) error {
	if text == "" {
		return nil
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return fmt.Errorf("is %q", text)
	}
	*at = t
	return nil
}

func (a *API) runAgain(w http.ResponseWriter, r *http.Request) error {
	rid, err := runID(r)
	if err != nil {
		return err
	}
	var in struct {
		Inputs         domain.Values `json:"inputs"`
		SameRevision   bool          `json:"same_revision"`
		IdempotencyKey string        `json:"idempotency_key"`
	}
	if r.ContentLength != 0 {
		if err := httpx.DecodeJSON(r, &in, 8<<20); err != nil {
			return err
		}
	}
	started, err := a.UseCases.Again(r.Context(), app.RunAgain{Project: r.PathValue("project"), Run: rid, Inputs: in.Inputs, Same: in.SameRevision, Key: in.IdempotencyKey})
	if err != nil {
		return err
	}
	return a.answerStarted(w, r, started)
}

// answerStarted tells of a run that was started, or was there already under its key.
func (a *API) answerStarted(w http.ResponseWriter, r *http.Request, started app.StartedRun) error {
	d, err := a.UseCases.GetRun(r.Context(), r.PathValue("project"), started.ID)
	if err != nil {
		return err
	}
	status := http.StatusCreated
	if !started.Created {
		status = http.StatusOK
	}
	w.Header().Set("Location", "/runner/v1/projects/"+r.PathValue("project")+"/runs/"+started.ID)
	return httpx.WriteJSON(w, status, summary(d.RunSummary))
}

type failureJSON struct {
	Group    string    `json:"group"`
	Workflow string    `json:"workflow"`
	Step     string    `json:"step,omitempty"`
	Kind     string    `json:"kind"`
	Message  string    `json:"message"`
	Count    int       `json:"count"`
	First    time.Time `json:"first_at"`
	Last     time.Time `json:"last_at"`
	Newest   string    `json:"newest_run"`
}

// defaultWindow is how far back aggregates look unless told otherwise.
const defaultWindow = 30 * 24 * time.Hour

func (a *API) failures(w http.ResponseWriter, r *http.Request) error {
	page, err := httpx.PageOf(r, "workflow", "from")
	if err != nil {
		return err
	}
	q, err := search(r.PathValue("project"), url.Values{"workflow": r.URL.Query()["workflow"], "from": r.URL.Query()["from"]})
	if err != nil {
		return err
	}
	if q.From.IsZero() {
		q.From = a.Now().Add(-defaultWindow)
	}
	list, err := a.UseCases.Failures(r.Context(), q.Project, q.Workflow, q.From, page.Limit)
	if err != nil {
		return err
	}
	out := make([]failureJSON, len(list))
	for i, g := range list {
		out[i] = failureJSON{g.Fingerprint, g.Workflow, g.Step, g.Kind, g.Message, g.Count, utc(g.First), utc(g.Last), g.Newest}
	}
	return httpx.WriteJSON(w, http.StatusOK, httpx.NewList(out, ""))
}

type costJSON struct {
	Workflow   string  `json:"workflow"`
	Day        string  `json:"day,omitempty"`
	Runs       int     `json:"runs"`
	CPUSeconds float64 `json:"cpu_seconds"`
	GiBSeconds float64 `json:"gib_seconds"`
}

func (a *API) cost(w http.ResponseWriter, r *http.Request) error {
	if _, err := httpx.PageOf(r, "workflow", "from", "to", "by"); err != nil {
		return err
	}
	v := r.URL.Query()
	q, err := search(r.PathValue("project"), url.Values{"workflow": v["workflow"], "from": v["from"], "to": v["to"]})
	if err != nil {
		return err
	}
	if by := v.Get("by"); by != "" && by != "day" {
		return fault.InvalidField("by", "is "+by, "give day, or leave it out")
	}
	if q.From.IsZero() {
		q.From = a.Now().Add(-defaultWindow)
	}
	list, err := a.UseCases.Cost(r.Context(), q.Project, q.Workflow, q.From, q.To, v.Get("by") == "day")
	if err != nil {
		return err
	}
	out := make([]costJSON, len(list))
	for i, c := range list {
		out[i] = costJSON{Workflow: c.Workflow, Runs: c.Runs, CPUSeconds: c.CPUSeconds, GiBSeconds: c.GiBSeconds}
		if !c.Day.IsZero() {
			out[i].Day = c.Day.Format(time.DateOnly)
		}
	}
	return httpx.WriteJSON(w, http.StatusOK, httpx.NewList(out, ""))
}

type bulkJSON struct {
	ID        string     `json:"id,omitempty"`
	Kind      string     `json:"kind"`
	State     string     `json:"state"`
	Runs      int        `json:"runs"` // of an order: how many it finds; of a list: how many it has come through
	Failed    int        `json:"failed"`
	Problem   string     `json:"problem,omitempty"`
	CreatedAt *time.Time `json:"created_at,omitempty"`
	EndedAt   *time.Time `json:"ended_at,omitempty"`

	Filter   map[string][]string `json:"filter,omitempty"` // which runs it is about
	Backfill *backfillJSON       `json:"backfill,omitempty"`
}

// backfillJSON is the range of a schedule that an order is about.
type backfillJSON struct {
	Workflow string    `json:"workflow"`
	Trigger  string    `json:"trigger"`
	From     time.Time `json:"from"`
	To       time.Time `json:"to"`
}

// filterOf is a search as it was asked for: search read backwards.
func filterOf(q app.RunQuery) map[string][]string {
	out := map[string][]string{}
	states := make([]string, len(q.States))
	for i, s := range q.States {
		states[i] = string(s)
	}
	for name, text := range map[string]string{"workflow": q.Workflow, "state": strings.Join(states, ","), "error": q.Error, "kind": q.Kind, "group": q.Group,
		"trigger": q.Trigger, "retry_of": q.RetryOf} {
		if text != "" {
			out[name] = []string{text}
		}
	}
	for name, at := range map[string]time.Time{"from": q.From, "to": q.To} {
		if !at.IsZero() {
			out[name] = []string{utc(at).Format(time.RFC3339Nano)}
		}
	}
	if len(q.Inputs) > 0 {
		out["input"] = q.Inputs
	}
	return out
}

func (a *API) orderBulk(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Kind   string              `json:"kind"`
		Filter map[string][]string `json:"filter"`
		Plan   bool                `json:"plan"`
	}
	if err := httpx.DecodeJSON(r, &in, 1<<20); err != nil {
		return err
	}
	for name := range in.Filter {
		if near := fault.Nearest(name, searchNames); !known(name) {
			remedy := "the filters are " + strings.Join(searchNames, ", ")
			if near != "" {
				remedy = "did you mean " + near + "?"
			}
			return fault.InvalidField("filter."+name, "is no filter", remedy)
		}
	}
	q, err := search(r.PathValue("project"), in.Filter)
	if err != nil {
		return err
	}
	if q.State != "" {
		q.States, q.State = append(q.States, q.State), ""
	}
	if in.Kind == app.BulkDelete {
		if err := mayDelete(r); err != nil {
			return err
		}
	}
	b, n, err := a.UseCases.BulkOrder(r.Context(), in.Kind, q, in.Plan)
	if err != nil {
		return err
	}
	if in.Plan {
		return httpx.WriteJSON(w, http.StatusOK, bulkJSON{Kind: in.Kind, State: "planned", Runs: n})
	}
	return httpx.WriteJSON(w, http.StatusAccepted, bulkJSON{ID: b.ID, Kind: b.Kind, State: b.State, Runs: n, CreatedAt: when(b.CreatedAt)})
}

func (a *API) backfill(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Workflow    string    `json:"workflow"`
		Trigger     string    `json:"trigger"`
		From        time.Time `json:"from"`
		To          time.Time `json:"to"`
		Concurrency int       `json:"concurrency"`
		Plan        bool      `json:"plan"`
	}
	if err := httpx.DecodeJSON(r, &in, 1<<20); err != nil {
		return err
	}
	b, n, err := a.UseCases.BackfillOrder(r.Context(), r.PathValue("project"),
		app.Backfill{Workflow: in.Workflow, Trigger: in.Trigger, From: in.From, To: in.To, Concurrency: in.Concurrency}, in.Plan)
	if err != nil {
		return err
	}
	if in.Plan {
		return httpx.WriteJSON(w, http.StatusOK, bulkJSON{Kind: app.BulkBackfill, State: "planned", Runs: n})
	}
	return httpx.WriteJSON(w, http.StatusAccepted, bulkJSON{ID: b.ID, Kind: b.Kind, State: b.State, Runs: n, CreatedAt: when(b.CreatedAt)})
}

func known(name string) bool {
	for _, n := range searchNames {
		if n == name {
			return true
		}
	}
	return false
}

func (a *API) listBulk(w http.ResponseWriter, r *http.Request) error {
	page, err := httpx.PageOf(r)
	if err != nil {
		return err
	}
	list, err := a.UseCases.Bulks(r.Context(), r.PathValue("project"), page.Limit)
	if err != nil {
		return err
	}
	out := make([]bulkJSON, len(list))
	for i, b := range list {
		out[i] = bulkJSON{ID: b.ID, Kind: b.Kind, State: b.State, Runs: b.Done, Failed: b.Failed, Problem: b.Problem, CreatedAt: when(b.CreatedAt), EndedAt: when(b.EndedAt)}
		if f := b.Backfill; f != nil {
			out[i].Backfill = &backfillJSON{f.Workflow, f.Trigger, utc(f.From), utc(f.To)}
		} else {
			out[i].Filter = filterOf(b.Query)
		}
	}
	return httpx.WriteJSON(w, http.StatusOK, httpx.NewList(out, ""))
}

func (a *API) stopBulk(w http.ResponseWriter, r *http.Request) error {
	if err := a.UseCases.StopBulk(r.Context(), r.PathValue("project"), r.PathValue("id")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

type capsJSON struct {
	Server    int            `json:"server,omitempty"`
	Project   int            `json:"project"`
	Workflows map[string]int `json:"workflows"`
	Actions   map[string]int `json:"actions"`
}

func (a *API) getCaps(w http.ResponseWriter, r *http.Request) error {
	c, err := a.UseCases.Caps(r.Context(), r.PathValue("project"))
	if err != nil {
		return err
	}
	out := capsJSON{c.Server, c.Project, c.Workflows, c.Actions}
	if out.Workflows == nil {
		out.Workflows = map[string]int{}
	}
	if out.Actions == nil {
		out.Actions = map[string]int{}
	}
	return httpx.WriteJSON(w, http.StatusOK, out)
}

func (a *API) putCaps(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Project   int            `json:"project"`
		Workflows map[string]int `json:"workflows"`
		Actions   map[string]int `json:"actions"`
	}
	if err := httpx.DecodeJSON(r, &in, 1<<20); err != nil {
		return err
	}
	if err := a.UseCases.PutCaps(r.Context(), r.PathValue("project"), app.Caps{Project: in.Project, Workflows: in.Workflows, Actions: in.Actions}); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a *API) pauseWorkflow(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Reason string `json:"reason"`
	}
	if r.ContentLength != 0 {
		if err := httpx.DecodeJSON(r, &in, 64<<10); err != nil {
			return err
		}
	}
	if err := a.UseCases.PauseWorkflow(r.Context(), r.PathValue("project"), r.PathValue("workflow"), in.Reason); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a *API) resumeWorkflow(w http.ResponseWriter, r *http.Request) error {
	if err := a.UseCases.ResumeWorkflow(r.Context(), r.PathValue("project"), r.PathValue("workflow")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// deployment tells of a deployment, and whether its workflow is paused.
func (a *API) deployment(d app.Deployment) deploymentJSON {
	j := deployment(d)
	if p, ok := a.UseCases.Paused(d.Project, d.Definition.Workflow); ok && d.State == app.DeploymentLive {
		j.Paused = &pausedJSON{p.Reason, utc(p.Since)}
	}
	return j
}
