// Package httpapi is the runner's HTTP interface; openapi.yaml describes it.
package httpapi

import (
	"net/http"
	"strconv"
	"time"

	"github.com/pelton-run/pelton/platform/kit/authn"
	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/httpx"
	"github.com/pelton-run/pelton/platform/kit/id"
	"github.com/pelton-run/pelton/platform/kit/openapi"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// Config of the interface.
type Config struct {
	UseCases  app.UseCases
	Files     app.Files
	Verify    *authn.Verifier
	Now       func() time.Time
	PublicURL func() string
	Simulator Simulator
	// Definition decodes a definition that the studio made.
	Definition func(raw []byte) (domain.Definition, error)
}

// API serves the interface.
type API struct{ Config }

// New makes the interface.
func New(cfg Config) *API { return &API{cfg} }

const prefix = "/runner/v1/projects/{project}"

// Handler is the mux of the service's routes.
func (a *API) Handler() *openapi.Mux {
	mux := &openapi.Mux{}
	route := func(pattern string, role authn.Role, f httpx.HandlerFunc) {
		mux.Handle(pattern, a.Verify.Require(role, httpx.Handle(f)))
	}
	route("POST "+prefix+"/runs", authn.Operator, a.startRun)
	route("GET "+prefix+"/runs", authn.Viewer, a.listRuns)
	route("GET "+prefix+"/runs/{id}", authn.Viewer, a.getRun)
	route("DELETE "+prefix+"/runs/{id}", authn.Admin, a.deleteRun)
	route("GET "+prefix+"/retention", authn.Viewer, a.getRetention)
	route("PUT "+prefix+"/retention", authn.Admin, a.putRetention)
	route("POST "+prefix+"/runs/{id}/cancel", authn.Operator, a.cancelRun)
	route("POST "+prefix+"/runs/{id}/signals/{name}", authn.Operator, a.signalRun)
	route("POST "+prefix+"/runs/{id}/decisions", authn.Viewer, a.decideRun)
	route("POST "+prefix+"/runs/{id}/pause", authn.Operator, a.pauseRun)
	route("POST "+prefix+"/runs/{id}/resume", authn.Operator, a.resumeRun)
	route("POST "+prefix+"/runs/{id}/retry", authn.Operator, a.retryRun)
	route("GET "+prefix+"/waits", authn.Viewer, a.listWaits)
	route("GET "+prefix+"/runs/{id}/events", authn.Viewer, a.runEvents)
	route("GET "+prefix+"/runs/{id}/logs", authn.Viewer, a.runLogs)
	route("GET "+prefix+"/runs/{id}/result", authn.Viewer, a.runResult)
	route("POST "+prefix+"/runs/{id}/again", authn.Operator, a.runAgain)
	route("GET "+prefix+"/failures", authn.Viewer, a.failures)
	route("GET "+prefix+"/cost", authn.Viewer, a.cost)
	route("POST "+prefix+"/bulk", authn.Operator, a.orderBulk)
	route("POST "+prefix+"/backfill", authn.Operator, a.backfill)
	route("GET "+prefix+"/schedules", authn.Viewer, a.listSchedules)
	route("GET "+prefix+"/bulk", authn.Viewer, a.listBulk)
	route("DELETE "+prefix+"/bulk/{id}", authn.Operator, a.stopBulk)
	route("GET "+prefix+"/caps", authn.Viewer, a.getCaps)
	route("PUT "+prefix+"/caps", authn.Admin, a.putCaps)
	route("GET "+prefix+"/events", authn.Viewer, a.projectEvents)
	route("POST "+prefix+"/cloudevents", authn.Operator, a.receiveEvent)
	route("POST "+prefix+"/workflows/{workflow}/pause", authn.Operator, a.pauseWorkflow)
	route("POST "+prefix+"/workflows/{workflow}/resume", authn.Operator, a.resumeWorkflow)
	route("GET "+prefix+"/deployments", authn.Viewer, a.listDeployments)
	route("POST "+prefix+"/deployments", authn.Developer, a.deploy)
	route("GET "+prefix+"/deployments/{id}", authn.Viewer, a.getDeployment)
	route("DELETE "+prefix+"/deployments/{id}", authn.Developer, a.undeploy)
	route("POST "+prefix+"/files", authn.Operator, a.putFile)
	route("GET "+prefix+"/files/{digest}", authn.Viewer, a.getFile)
	route("GET "+prefix+"/secrets", authn.Viewer, a.listSecrets)
	route("PUT "+prefix+"/secrets/{name}", authn.Developer, a.putSecret)
	route("DELETE "+prefix+"/secrets/{name}", authn.Developer, a.deleteSecret)
	route("GET "+prefix+"/variables", authn.Viewer, a.listVariables)
	route("PUT "+prefix+"/variables/{name}", authn.Developer, a.putVariable)
	route("DELETE "+prefix+"/variables/{name}", authn.Developer, a.deleteVariable)
	a.testRoutes(route)
	return mux
}

func validID(text string) bool { return id.Valid(text) }

func runID(r *http.Request) (string, error) {
	v := r.PathValue("id")
	if !validID(v) {
		return "", fault.New(fault.NotFound, "there is no run %q: ids look like 0190b5c0-7c3e-7000-8000-000000000000", v)
	}
	return v, nil
}

func (a *API) startRun(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Workflow       string        `json:"workflow"`
		Inputs         domain.Values `json:"inputs"`
		IdempotencyKey string        `json:"idempotency_key"`
	}
	if err := httpx.DecodeJSON(r, &in, 8<<20); err != nil {
		return err
	}
	if in.Workflow == "" {
		return fault.InvalidField("workflow", "is missing", "name a deployed workflow")
	}
	if in.Inputs == nil {
		in.Inputs = domain.Values{}
	}
	started, err := a.UseCases.StartRun(r.Context(), app.StartRun{Project: r.PathValue("project"), Workflow: in.Workflow, Inputs: in.Inputs,
		IdempotencyKey: in.IdempotencyKey, Trigger: app.Trigger{Kind: "manual"}, Traceparent: r.Header.Get("Traceparent")})
	if err != nil {
		return err
	}
	status := http.StatusCreated
	if !started.Created {
		status = http.StatusOK
	}
	w.Header().Set("Location", "/runner/v1/projects/"+r.PathValue("project")+"/runs/"+started.ID)
	return httpx.WriteJSON(w, status, runJSON{ID: started.ID, Workflow: in.Workflow, State: started.State, Deployment: started.Deployment, CreatedAt: utc(started.CreatedAt), Trigger: triggerJSON{Kind: "manual"}})
}

var states = map[string]bool{"": true, "queued": true, "running": true, "waiting": true, "paused": true, "cancelling": true, "undoing": true, "completed": true, "failed": true, "cancelled": true}

func (a *API) listRuns(w http.ResponseWriter, r *http.Request) error {
	page, err := httpx.PageOf(r, searchNames...)
	if err != nil {
		return err
	}
	q, err := search(r.PathValue("project"), r.URL.Query())
	if err != nil {
		return err
	}
	q.Limit, q.Cursor = page.Limit, page.Cursor
	items, next, err := a.UseCases.Runs(r.Context(), q)
	if err != nil {
		return err
	}
	var out []runJSON
	for _, s := range items {
		out = append(out, summary(s))
	}
	return httpx.WriteJSON(w, http.StatusOK, httpx.NewList(out, next))
}

func (a *API) getRun(w http.ResponseWriter, r *http.Request) error {
	rid, err := runID(r)
	if err != nil {
		return err
	}
	d, err := a.UseCases.GetRun(r.Context(), r.PathValue("project"), rid)
	if err != nil {
		return err
	}
	return httpx.WriteJSON(w, http.StatusOK, detail(d))
}

func (a *API) cancelRun(w http.ResponseWriter, r *http.Request) error {
	rid, err := runID(r)
	if err != nil {
		return err
	}
	var in struct {
		Reason    string `json:"reason"`
		CommandID string `json:"command_id"`
	}
	if err := order(r, &in, &in.CommandID); err != nil {
		return err
	}
	if in.Reason == "" {
		in.Reason = "cancelled by " + authn.From(r.Context()).Name
	}
	if err := a.UseCases.Cancel(r.Context(), r.PathValue("project"), rid, in.CommandID, in.Reason); err != nil {
		return err
	}
	return a.ordered(w, r, rid)
}

// runEvents streams what happens to a run; the first event is the run as it is now.
func (a *API) runEvents(w http.ResponseWriter, r *http.Request) error {
	rid, err := runID(r)
	if err != nil {
		return err
	}
	project := r.PathValue("project")
	events, err := a.UseCases.Watch(r.Context(), project, rid)
	if err != nil {
		return err
	}
	d, err := a.UseCases.GetRun(r.Context(), project, rid)
	if err != nil {
		return err
	}
	stream := httpx.NewStream(w)
	if stream.Send("", "", eventJSON{Type: "snapshot", Run: ptr(detail(d))}, false) != nil {
		return nil
	}
	beat := time.NewTicker(15 * time.Second)
	defer beat.Stop()
	for {
		select {
		case <-r.Context().Done():
			return nil
		case <-beat.C:
			if stream.Beat() != nil {
				return nil
			}
		case e, ok := <-events:
			if !ok {
				if d, err := a.UseCases.GetRun(r.Context(), project, rid); err == nil {
					_ = stream.Send("", "", eventJSON{Type: "end", Run: ptr(detail(d))}, false)
				}
				return nil
			}
			if stream.Send("", "", event(e), len(events) > 0) != nil {
				return nil
			}
		}
	}
}

func ptr[T any](v T) *T { return &v }

func number(r *http.Request, name string, limit int64) (int64, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > limit {
		return 0, fault.InvalidField(name, "is "+strconv.Quote(text), "give a whole number of at least 0")
	}
	return n, nil
}

func (a *API) runLogs(w http.ResponseWriter, r *http.Request) error {
	rid, err := runID(r)
	if err != nil {
		return err
	}
	after, err := number(r, "after", 1<<62)
	if err != nil {
		return err
	}
	limit, err := number(r, "limit", 10000)
	if err != nil {
		return err
	}
	attempt, err := number(r, "attempt", 1<<31-1)
	if err != nil {
		return err
	}
	page, err := a.UseCases.Logs(r.Context(), app.LogQuery{Project: r.PathValue("project"), Run: rid, Step: r.URL.Query().Get("step"), Attempt: int32(attempt), After: after, Limit: int(limit)})
	if err != nil {
		return err
	}
	out := logsJSON{Items: []logJSON{}, Next: page.Next, More: page.More, Ended: page.Ended}
	for _, l := range page.Records {
		out.Items = append(out.Items, logOf(l))
	}
	return httpx.WriteJSON(w, http.StatusOK, out)
}

func (a *API) runResult(w http.ResponseWriter, r *http.Request) error {
	rid, err := runID(r)
	if err != nil {
		return err
	}
	res, err := a.UseCases.Result(r.Context(), r.PathValue("project"), rid)
	if err != nil {
		return err
	}
	w.Header().Set("Pelton-Run", rid)
	switch {
	case !res.State.Ended():
		w.Header().Set("Retry-After", "1")
		return httpx.WriteJSON(w, http.StatusAccepted, map[string]any{"run": rid, "state": res.State})
	case res.State == domain.RunCompleted:
		if res.Result == nil {
			res.Result = domain.Values{}
		}
		return httpx.WriteJSON(w, http.StatusOK, res.Result)
	}
	p := httpx.ProblemOf(fault.New(fault.Unprocessable, "the run %s", res.State))
	p.Run = rid
	if res.Error != nil {
		p.Detail, p.Code = res.Error.Message, res.Error.Kind
	}
	httpx.WriteProblem(w, p)
	return nil
}

func (a *API) listDeployments(w http.ResponseWriter, r *http.Request) error {
	if _, err := httpx.PageOf(r, "all"); err != nil {
		return err
	}
	list, err := a.UseCases.Deployments(r.Context(), r.PathValue("project"), r.URL.Query().Get("all") == "true")
	if err != nil {
		return err
	}
	var out []deploymentJSON
	for _, d := range list {
		out = append(out, a.deployment(d))
	}
	return httpx.WriteJSON(w, http.StatusOK, httpx.NewList(out, ""))
}

func (a *API) getDeployment(w http.ResponseWriter, r *http.Request) error {
	rid, err := runID(r)
	if err != nil {
		return err
	}
	d, err := a.UseCases.Deployment(r.Context(), r.PathValue("project"), rid)
	if err != nil {
		return err
	}
	return httpx.WriteJSON(w, http.StatusOK, a.deployment(d))
}

func (a *API) listSecrets(w http.ResponseWriter, r *http.Request) error {
	list, err := a.UseCases.SecretNames(r.Context(), r.PathValue("project"))
	if err != nil {
		return err
	}
	type item struct {
		Name      string    `json:"name"`
		UpdatedAt time.Time `json:"updated_at"`
	}
	var out []item
	for _, s := range list {
		out = append(out, item{s.Name, utc(s.UpdatedAt)})
	}
	return httpx.WriteJSON(w, http.StatusOK, httpx.NewList(out, ""))
}

func (a *API) putSecret(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Value *string `json:"value"`
	}
	if err := httpx.DecodeJSON(r, &in, 1<<20); err != nil {
		return err
	}
	if in.Value == nil {
		return fault.InvalidField("value", "is missing", "give the secret as a string")
	}
	if err := a.UseCases.PutSecret(r.Context(), r.PathValue("project"), r.PathValue("name"), *in.Value); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a *API) deleteSecret(w http.ResponseWriter, r *http.Request) error {
	if err := a.UseCases.DeleteSecret(r.Context(), r.PathValue("project"), r.PathValue("name")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a *API) listVariables(w http.ResponseWriter, r *http.Request) error {
	list, err := a.UseCases.Variables(r.Context(), r.PathValue("project"))
	if err != nil {
		return err
	}
	type item struct {
		Name      string       `json:"name"`
		Value     domain.Value `json:"value"`
		UpdatedAt time.Time    `json:"updated_at"`
	}
	var out []item
	for _, v := range list {
		out = append(out, item{v.Name, v.Value, utc(v.UpdatedAt)})
	}
	return httpx.WriteJSON(w, http.StatusOK, httpx.NewList(out, ""))
}

func (a *API) putVariable(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Value domain.Value `json:"value"`
	}
	if err := httpx.DecodeJSON(r, &in, 1<<20); err != nil {
		return err
	}
	if in.Value == nil {
		return fault.InvalidField("value", "is missing", "give any JSON value")
	}
	if err := a.UseCases.PutVariable(r.Context(), r.PathValue("project"), r.PathValue("name"), in.Value); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a *API) deleteVariable(w http.ResponseWriter, r *http.Request) error {
	if err := a.UseCases.DeleteVariable(r.Context(), r.PathValue("project"), r.PathValue("name")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
