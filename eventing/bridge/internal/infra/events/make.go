package events

import (
	"encoding/json"
	"net/url"
	"time"

	"github.com/pelton-run/pelton/eventing/bridge/internal/domain"
	builderv1 "github.com/pelton-run/pelton/eventing/bridge/internal/infra/contracts/builder/v1"
	repositoryv1 "github.com/pelton-run/pelton/eventing/bridge/internal/infra/contracts/repository/v1"
	runnerv1 "github.com/pelton-run/pelton/eventing/bridge/internal/infra/contracts/runner/v1"
	"github.com/pelton-run/pelton/eventing/bus"
	"github.com/pelton-run/pelton/platform/kit/fault"
)

// The data of events. eventing/bridge/schemas describes each; fields are only added.

type triggerData struct {
	Kind string `json:"kind"`
	ID   string `json:"id,omitempty"`
}

type runData struct {
	Run       string      `json:"run"`
	Workflow  string      `json:"workflow"`
	Revision  int         `json:"revision"`
	Trigger   triggerData `json:"trigger"`
	Parent    string      `json:"parent,omitempty"`
	RetryOf   string      `json:"retry_of,omitempty"`
	CreatedAt time.Time   `json:"created_at"`
}

type errorData struct {
	Kind    string `json:"kind"`
	Message string `json:"message"`
	Step    string `json:"step,omitempty"`
}

type endData struct {
	runData
	State         string          `json:"state"`
	FinishedAt    time.Time       `json:"finished_at"`
	DurationMS    int64           `json:"duration_ms"`
	Result        json.RawMessage `json:"result,omitempty"`
	ResultLeftOut bool            `json:"result_left_out,omitempty"`
	Error         *errorData      `json:"error,omitempty"`
}

type stepData struct {
	runData
	Step   string    `json:"step"`
	Item   []int32   `json:"item,omitempty"`
	Error  errorData `json:"error"`
	Caught bool      `json:"caught"`
}

type deploymentData struct {
	Deployment string         `json:"deployment"`
	Workflow   string         `json:"workflow"`
	State      string         `json:"state"`
	Reason     string         `json:"reason,omitempty"`
	Endpoints  []endpointData `json:"endpoints"`
}

type endpointData struct {
	Trigger string `json:"trigger"`
	Method  string `json:"method"`
	Path    string `json:"path"`
}

type actionData struct {
	Action     string `json:"action"`
	Version    string `json:"version"`
	Build      string `json:"build"`
	Repository string `json:"repository"`
	Commit     string `json:"commit,omitempty"`
	Path       string `json:"path"`
}

type buildData struct {
	Build   string `json:"build"`
	Order   string `json:"order"`
	Kind    string `json:"kind"`
	Message string `json:"message"`
	File    string `json:"file,omitempty"`
	Line    int32  `json:"line,omitempty"`
}

func source(project, noun, name string) string {
	s := "/projects/" + url.PathEscape(project) + "/" + noun
	if name != "" {
		s += "/" + url.PathEscape(name)
	}
	return s
}

func dataOf(r *runnerv1.Run) runData {
	return runData{Run: r.GetId(), Workflow: r.GetWorkflow(), Revision: int(r.GetRevision()), Trigger: triggerData{r.GetTriggerKind(), r.GetTriggerId()}, Parent: r.GetParent(),
		RetryOf: r.GetRetryOf(), CreatedAt: moment(r.GetCreatedUnixMs())}
}

// event is the envelope of an event of a run.
func event(m bus.Message, kind string, r *runnerv1.Run, at int64, data any) domain.Event {
	return domain.Event{ID: m.ID, Type: kind, Project: r.GetProject(), Source: source(r.GetProject(), "workflows", r.GetWorkflow()), Subject: r.GetId(),
		Workflow: r.GetWorkflow(), Time: moment(at), Traceparent: m.Headers["traceparent"], Data: data}
}

func runEvent(m bus.Message) (domain.Event, error) {
	switch m.Key {
	case "RunStarted":
		var e runnerv1.RunStarted
		if err := read(m, &e); err != nil {
			return domain.Event{}, err
		}
		return event(m, domain.RunStarted, e.Run, e.AtUnixMs, dataOf(e.Run)), nil
	case "StepFailed":
		var e runnerv1.StepFailed
		if err := read(m, &e); err != nil {
			return domain.Event{}, err
		}
		return event(m, domain.StepFailed, e.Run, e.AtUnixMs, stepData{dataOf(e.Run), e.Step, e.Item, errorData{Kind: e.ErrorKind, Message: e.Error}, e.Caught}), nil
	}
	var e runnerv1.RunEnded
	if err := read(m, &e); err != nil {
		return domain.Event{}, err
	}
	kind, ok := map[string]string{"completed": domain.RunCompleted, "failed": domain.RunFailed, "cancelled": domain.RunCancelled}[e.State]
	if !ok {
		return domain.Event{}, fault.New(fault.Invalid, "run %s ended as %q, which is no end", e.Run.GetId(), e.State)
	}
	d := endData{runData: dataOf(e.Run), State: e.State, FinishedAt: moment(e.AtUnixMs), DurationMS: max(0, e.AtUnixMs-e.Run.GetCreatedUnixMs()), Result: raw(e.ResultJson), ResultLeftOut: e.ResultLeftOut}
	if e.State != "completed" {
		d.Error = &errorData{Kind: e.ErrorKind, Message: e.Error, Step: e.Step}
	}
	return event(m, kind, e.Run, e.AtUnixMs, d), nil
}

func deploymentEvent(m bus.Message, d *runnerv1.DeploymentChanged) (domain.Event, bool) {
	kind, ok := map[string]string{"live": domain.WorkflowDeployed, "failed": domain.DeploymentFailed, "stopped": domain.WorkflowStopped}[d.State]
	data := deploymentData{d.DeploymentId, d.Workflow, d.State, d.Reason, []endpointData{}}
	for _, e := range d.Endpoints {
		data.Endpoints = append(data.Endpoints, endpointData{e.Trigger, e.Method, e.Path})
	}
	return domain.Event{ID: m.ID, Type: kind, Project: d.Project, Source: source(d.Project, "workflows", d.Workflow), Subject: d.DeploymentId, Workflow: d.Workflow,
		Time: moment(d.AtUnixMs), Traceparent: m.Headers["traceparent"], Data: data}, ok
}

func actionEvent(m bus.Message, a *repositoryv1.ActionOffered) domain.Event {
	var meta struct{ ID, Version string }
	_ = json.Unmarshal([]byte(a.ActionJson), &meta) // the repository made it
	return domain.Event{ID: m.ID, Type: domain.ActionBuilt, Project: a.Project, Source: source(a.Project, "actions", meta.ID), Subject: a.Build, Time: moment(a.AtUnixMs),
		Traceparent: m.Headers["traceparent"], Data: actionData{meta.ID, meta.Version, a.Build, a.Repository, a.Commit, a.Path}}
}

func buildEvent(m bus.Message, b *builderv1.BuildFailed) domain.Event {
	return domain.Event{ID: m.ID, Type: domain.BuildFailed, Project: b.Project, Source: source(b.Project, "builds", ""), Subject: b.Build, Time: moment(b.AtUnixMs),
		Traceparent: m.Headers["traceparent"], Data: buildData{b.Build, b.OrderId, b.Kind, b.Message, b.File, b.Line}}
}
