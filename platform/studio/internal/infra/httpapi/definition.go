package httpapi

import (
	"encoding/json"

	"github.com/pelton-run/pelton/functions/formats/workflow"
)

// definitionJSON is what the text of a revision says, for those who draw it.
type definitionJSON struct {
	Inputs   json.RawMessage `json:"inputs"`
	Triggers []triggerJSON   `json:"triggers"`
	Steps    []stepJSON      `json:"steps"`
	Result   []string        `json:"result"`
	Policies *policiesJSON   `json:"policies,omitempty"`
}

type triggerJSON struct {
	ID   string          `json:"id"`
	Uses string          `json:"uses"`
	With json.RawMessage `json:"with,omitempty"`
}

type stepJSON struct {
	ID       string                     `json:"id"`
	Title    string                     `json:"title,omitempty"`
	Kind     string                     `json:"kind"`
	Uses     string                     `json:"uses"`
	Needs    []string                   `json:"needs"`
	If       string                     `json:"if,omitempty"`
	Join     string                     `json:"join,omitempty"`
	ForEach  *forEachJSON               `json:"for_each,omitempty"`
	With     map[string]json.RawMessage `json:"with"`
	Workflow string                     `json:"workflow,omitempty"`
	Detach   bool                       `json:"detach,omitempty"`
	Wait     *waitJSON                  `json:"wait,omitempty"`
	Switch   string                     `json:"switch,omitempty"`
	Cases    []caseJSON                 `json:"cases,omitempty"`
	Default  []string                   `json:"default,omitempty"`
	Collect  string                     `json:"collect,omitempty"`
	Loop     *loopJSON                  `json:"loop,omitempty"`
	Catch    []catchJSON                `json:"catch,omitempty"`
	Undo     string                     `json:"undo,omitempty"`
	Effect   string                     `json:"effect,omitempty"`
	Approval *approvalJSON              `json:"approval,omitempty"`
	boundsJSON
}

type waitJSON struct {
	For       json.RawMessage `json:"for,omitempty"`
	Until     json.RawMessage `json:"until,omitempty"`
	Timezone  string          `json:"timezone,omitempty"`
	Signal    string          `json:"signal,omitempty"`
	Approval  *approvalJSON   `json:"approval,omitempty"`
	TimeoutMS int64           `json:"timeout_ms,omitempty"`
}

type approvalJSON struct {
	Title      json.RawMessage `json:"title,omitempty"`
	Approvers  []string        `json:"approvers"`
	ReminderMS int64           `json:"reminder_ms,omitempty"`
	TimeoutMS  int64           `json:"timeout_ms,omitempty"`
}

type forEachJSON struct {
	In          string `json:"in"`
	As          string `json:"as"`
	Concurrency int    `json:"concurrency,omitempty"`
	OnError     string `json:"on_error"`
}

type caseJSON struct {
	Value string   `json:"value"`
	Steps []string `json:"steps"`
}

type loopJSON struct {
	Until   string `json:"until"`
	Max     int    `json:"max"`
	DelayMS int64  `json:"delay_ms,omitempty"`
}

type catchJSON struct {
	On      []string        `json:"on"`
	Outputs json.RawMessage `json:"outputs,omitempty"`
}

func definitionOf(w workflow.Workflow) (*definitionJSON, error) {
	d := &definitionJSON{Inputs: json.RawMessage("[]"), Triggers: []triggerJSON{}, Steps: []stepJSON{}, Result: []string{}}
	if w.Inputs != nil {
		var err error
		if d.Inputs, err = json.Marshal(w.Inputs); err != nil {
			return nil, err
		}
	}
	for _, t := range w.Triggers {
		d.Triggers = append(d.Triggers, triggerJSON{t.ID, t.Uses, t.With})
	}
	for _, s := range w.Steps {
		d.Steps = append(d.Steps, stepOf(s))
	}
	for _, v := range w.Result {
		d.Result = append(d.Result, v.Name)
	}
	d.Policies = policiesOf(w)
	return d, nil
}

func stepOf(s workflow.Step) stepJSON {
	x := stepJSON{
		ID: s.ID, Title: s.Title, Kind: s.Kind, Uses: s.Uses, Needs: listOf(s.Needs), If: s.If, Join: s.Join, With: map[string]json.RawMessage{},
		Workflow: s.Workflow, Detach: s.Detach, Switch: s.Switch, Default: s.Default, Collect: s.Collect,
		Effect: s.Effect, Approval: approvalOf(s.Approval), boundsJSON: boundsOf(s),
	}
	for _, v := range s.With {
		x.With[v.Name] = v.JSON
	}
	if f := s.ForEach; f != nil {
		x.ForEach = &forEachJSON{f.In, f.As, f.Concurrency, f.OnError}
	}
	if l := s.Loop; l != nil {
		x.Loop = &loopJSON{l.Until, l.Max, l.Delay.Milliseconds()}
	}
	if s.Undo != nil {
		x.Undo = s.Undo.Uses
	}
	for _, c := range s.Cases {
		x.Cases = append(x.Cases, caseJSON{c.Value, listOf(c.Steps)})
	}
	for _, c := range s.Catch {
		x.Catch = append(x.Catch, catchJSON{listOf(c.On), c.JSON()})
	}
	if w := s.Wait; w != nil {
		x.Wait = &waitJSON{For: rawOf(w.For), Until: rawOf(w.Until), Timezone: w.Timezone, Signal: w.Signal, Approval: approvalOf(w.Approval), TimeoutMS: w.Timeout.Milliseconds()}
	}
	return x
}

func approvalOf(a *workflow.Approval) *approvalJSON {
	if a == nil {
		return nil
	}
	return &approvalJSON{Title: rawOf(a.Title), Approvers: listOf(a.Approvers), ReminderMS: a.Reminder.Milliseconds(), TimeoutMS: a.Timeout.Milliseconds()}
}

func rawOf(v *workflow.Value) json.RawMessage {
	if v == nil {
		return nil
	}
	return v.JSON
}

// listOf is a list that is [] in JSON where it is empty.
func listOf(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
