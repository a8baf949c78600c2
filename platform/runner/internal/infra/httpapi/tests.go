package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"path"

	"github.com/pelton-run/pelton/functions/formats/wftest"
	"github.com/pelton-run/pelton/platform/kit/authn"
	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/httpx"
	"github.com/pelton-run/pelton/platform/runner/internal/app/simulation"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// Simulator carries out tests of workflows; *simulation.Simulator is its implementation.
type Simulator interface {
	Run(ctx context.Context, o simulation.Order) (simulation.Report, error)
}

// maxTest bounds the body of a test, which may hold the definitions of workflows.
const maxTest = 32 << 20

type testRequest struct {
	Workflow    string                  `json:"workflow"`
	Deployment  string                  `json:"deployment"`
	Definitions [][]byte                `json:"definitions"` // studio.v1.Definition
	Test        string                  `json:"test"`        // the document, YAML or JSON
	File        string                  `json:"file"`        // its name
	Files       map[string]domain.Value `json:"files"`
}

type testReport struct {
	State     string        `json:"state"`
	Passed    bool          `json:"passed"`
	Name      string        `json:"name"`
	Workflow  string        `json:"workflow"`
	Failures  []testFailure `json:"failures"`
	Run       runJSON       `json:"run"`
	Logs      []logJSON     `json:"logs"`
	VirtualMS int64         `json:"virtual_ms"`
	RealMS    int64         `json:"real_ms"`
}

type testFailure struct {
	What     string `json:"what"`
	Message  string `json:"message,omitempty"`
	Expected string `json:"expected,omitempty"`
	Got      string `json:"got,omitempty"`
	Line     int    `json:"line,omitempty"`
	Column   int    `json:"column,omitempty"`
}

// runTest carries out a test of a workflow and answers with its report.
func (a *API) runTest(w http.ResponseWriter, r *http.Request) error {
	var in testRequest
	if err := httpx.DecodeJSON(r, &in, maxTest); err != nil {
		return err
	}
	if in.File == "" {
		in.File = "test.yaml"
	}
	test, problems := wftest.Parse(path.Base(in.File), []byte(in.Test))
	if problems.Errors() {
		var fields []fault.Field
		for _, p := range problems {
			fields = append(fields, fault.Field{Path: p.Path, Message: p.Message, Remedy: p.Remedy, Line: p.Line, Column: p.Column})
		}
		return fault.InvalidFields(fields...)
	}
	defs, err := a.tested(r, in, test.Workflow.Text)
	if err != nil {
		return err
	}
	rep, err := a.Simulator.Run(r.Context(), simulation.Order{Project: r.PathValue("project"), Definitions: defs, Test: test, Files: in.Files})
	if err != nil {
		return err
	}
	out := testReport{State: rep.State, Passed: rep.State == simulation.Passed, Name: test.Name, Workflow: test.Workflow.Text, Failures: []testFailure{},
		Run: detail(rep.Run), Logs: []logJSON{}, VirtualMS: rep.Virtual.Milliseconds(), RealMS: rep.Real.Milliseconds()}
	out.Run.Deployment = in.Deployment
	for _, f := range rep.Failures {
		out.Failures = append(out.Failures, testFailure(f))
	}
	for _, l := range rep.Logs {
		out.Logs = append(out.Logs, logOf(l))
	}
	return httpx.WriteJSON(w, http.StatusOK, out)
}

// tested finds the definition that a test is for, and those that were sent with it.
func (a *API) tested(r *http.Request, in testRequest, name string) ([]domain.Definition, error) {
	project := r.PathValue("project")
	if in.Workflow != "" && in.Workflow != name {
		return nil, fault.InvalidField("workflow", "is "+in.Workflow+" and the test is for "+name, "make them equal, or leave it out")
	}
	var first *domain.Definition
	var others []domain.Definition
	for i, raw := range in.Definitions {
		d, err := a.Definition(raw)
		if err != nil {
			return nil, fault.InvalidField(fmt.Sprintf("definitions[%d]", i), "is no definition", "give what the studio answers to getDefinition")
		}
		if d.Workflow == name && first == nil {
			first = &d
			continue
		}
		others = append(others, d)
	}
	if in.Deployment != "" {
		d, err := a.UseCases.Deployment(r.Context(), project, in.Deployment)
		if err != nil {
			return nil, err
		}
		if d.Definition.Workflow != name {
			return nil, fault.InvalidField("deployment", "is of "+d.Definition.Workflow+" and the test is for "+name, "name a deployment of "+name)
		}
		first = &d.Definition
	}
	if first == nil {
		live, _ := a.UseCases.Live()
		for _, d := range live {
			if d.Project == project && d.Definition.Workflow == name {
				first = &d.Definition
			}
		}
	}
	if first == nil {
		return nil, fault.New(fault.NotFound, "workflow %q is not deployed in project %s: deploy it, or send its definition with the test", name, project)
	}
	return append([]domain.Definition{*first}, others...), nil
}

// testRoutes adds what people who write workflows use.
func (a *API) testRoutes(route func(pattern string, role authn.Role, f httpx.HandlerFunc)) {
	route("POST "+prefix+"/tests", authn.Developer, a.runTest)
	route("GET "+prefix+"/runs/{id}/steps/{step}/inputs", authn.Developer, a.stepInputs)
}
