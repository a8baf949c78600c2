package simulation

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pelton-run/pelton/functions/formats/doc"
	"github.com/pelton-run/pelton/functions/formats/wftest"
	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// key is how stubs name a step of this run.
func (r *run) key(step string) string {
	if r.s.Plan.Workflow == r.w.order.Definitions[0].Workflow {
		return step
	}
	return r.s.Plan.Workflow + "/" + step
}

// of gives the answers of one sort for a step run: those for its place, else those for all.
func (w *world) of(key string, path []int32, sort func(wftest.Answer) bool) []wftest.Answer {
	var own, all []wftest.Answer
	for _, a := range w.stubs[key] {
		switch {
		case !sort(a):
		case a.Item == nil:
			all = append(all, a)
		case slices.EqualFunc(a.Item, path, func(i int, p int32) bool { return i == int(p) }):
			own = append(own, a)
		}
	}
	if own != nil {
		return own
	}
	return all
}

func ofAttempt(a wftest.Answer) bool  { return a.Outputs != nil || a.Error != nil }
func ofSignal(a wftest.Answer) bool   { return a.Signal != nil }
func ofDecision(a wftest.Answer) bool { return a.Decision != nil }

// nth is the answer number n from 0; the last repeats.
func nth(list []wftest.Answer, n int) (wftest.Answer, bool) {
	if len(list) == 0 {
		return wftest.Answer{}, false
	}
	return list[min(n, len(list)-1)], true
}

// answer is what a stub says to an attempt.
func (r *run) answer(key string, path []int32, number int32) (wftest.Answer, bool) {
	return nth(r.w.of(key, path, ofAttempt), int(number)-1)
}

// stub lets an answer end the attempt when its delay is over.
func (a attempt) stub(answer wftest.Answer) {
	w := a.run.w
	var e *entry
	over := a.stand(func() {
		if w.agenda.remove(e) {
			delete(w.stands, a.d.Execution)
			a.end(app.Ended{Outcome: app.Cancelled, Instance: "stub"}, nil, false, nil)
		}
	})
	e = w.agenda.add(w.clock().Add(answer.Delay), func() {
		over()
		end, outputs, list := w.says(answer, a.d.Build)
		a.end(end, outputs, list, nil)
	})
}

// says is how an attempt ends by an answer.
func (w *world) says(answer wftest.Answer, b *domain.Build) (e app.Ended, outputs []domain.Values, list bool) {
	e.Instance = "stub"
	if x := answer.Error; x != nil {
		e.Outcome = app.Failed
		switch x.Kind {
		case "lost":
			e.Outcome = app.Lost
		case "cancelled":
			e.Outcome = app.Cancelled
		}
		e.Error = &domain.StepError{Kind: x.Kind, Message: x.Message, Code: x.Code, Field: x.Field, Details: x.Details}
		if x.Message == "" {
			e.Error.Message = "the stub of the test says so"
		}
		return e, nil, false
	}
	e.Outcome = app.Completed
	outputs, list = listOf(answer.Outputs)
	for i := range outputs {
		if b == nil {
			continue
		}
		for name, v := range outputs[i] {
			outputs[i][name] = w.file(b.Outputs, name, v)
		}
		outputs[i] = sealOutputs(b, outputs[i])
	}
	return e, outputs, list
}

// listOf reads the outputs of a stub; the reader of the format has checked their shape.
func listOf(raw json.RawMessage) (outputs []domain.Values, list bool) {
	var one domain.Values
	if json.Unmarshal(raw, &one) == nil {
		return []domain.Values{one}, false
	}
	outputs = []domain.Values{}
	_ = json.Unmarshal(raw, &outputs)
	return outputs, true
}

// file puts the file that a path stands for in its place, where the item's type wants one.
func (w *world) file(items []domain.Item, name string, v domain.Value) domain.Value {
	i := slices.IndexFunc(items, func(it domain.Item) bool { return it.Name == name })
	var text string
	if i < 0 || items[i].Type != "file" && items[i].Type != "directory" || json.Unmarshal(v, &text) != nil {
		return v
	}
	if f, ok := w.order.Files[text]; ok {
		return f
	}
	return v
}

// inputs are those of the tested run.
func (w *world) inputs() domain.Values {
	in := domain.Values{}
	for _, v := range w.order.Test.Inputs {
		in[v.Name] = w.file(w.order.Definitions[0].Inputs, v.Name, v.JSON)
	}
	return in
}

// placeInput adds where the test gives an input to a problem with it.
func (w *world) placeInput(depth int, name string, f *fault.Field) {
	if depth > 0 {
		return
	}
	for _, v := range w.order.Test.Inputs {
		var text string
		if v.Name != name {
			continue
		}
		f.Line, f.Column = v.Line, v.Column
		if json.Unmarshal(v.JSON, &text) == nil && wftest.IsPath(text) {
			f.Message, f.Remedy = "there is no file or folder "+strconv.Quote(text)+" beside the test, or the input is not for one: "+f.Message, "give a path from the test's folder"
		}
	}
}

// waits lets a stub answer what a step run waits for from somebody outside.
func (r *run) waits(x domain.WaitChange) {
	w, p := r.w, &r.s.Plan.Nodes[x.Step]
	key := r.key(p.Spec.ID)
	sort, hint := ofDecision, "decision: {approved: true}"
	if x.Wait == domain.WaitSignal {
		sort, hint = ofSignal, "signal: {payload: …}"
	}
	place := domain.IdempotencyKey(r.s.ID, p.Spec.ID, x.Path)
	answer, ok := nth(w.of(key, x.Path, sort), w.used[place])
	if !ok {
		if answers, known := w.stubs[key]; x.Due == 0 && (!known || len(answers) > 0) {
			w.fail("stubs."+key, 0, 0, fmt.Sprintf("step %s waits for %s without a time limit, and nobody answers: add stubs: {%s: [{%s}]}, or an empty list if nobody ever does",
				key, waitText(x), quoteKey(key), hint))
		}
		return
	}
	w.used[place]++
	var ev domain.Event
	if x.Wait == domain.WaitSignal {
		if why := w.payload(p.Spec.Wait.Schema, answer.Signal); why != "" {
			w.fail("stubs."+key, answer.Line, answer.Column, "the payload of the signal "+x.Text+" "+why)
			return
		}
		ev = domain.EventSignal{Name: x.Text, Payload: answer.Signal}
	} else {
		d, why := decides(answer, p, x)
		if why != "" {
			w.fail("stubs."+key, answer.Line, answer.Column, why)
			return
		}
		ev = d
	}
	w.agenda.add(w.clock().Add(answer.Delay), func() { r.handle(ev) })
}

func waitText(x domain.WaitChange) string {
	if x.Wait == domain.WaitSignal {
		return "the signal " + x.Text
	}
	return "a decision (" + x.Text + ")"
}

func (w *world) payload(schema []byte, v json.RawMessage) string {
	switch {
	case !domain.Payload(v):
		return "is more than 64 KiB"
	case len(schema) == 0:
		return ""
	}
	if why := w.deps.Schemas.Check(schema, v); why != "" {
		return "does not fit the schema of the step: " + why
	}
	return ""
}

// decides makes the decision that an answer stands for, with the form checked.
func decides(a wftest.Answer, p *domain.PlanStep, x domain.WaitChange) (ev domain.EventDecision, why string) {
	d := a.Decision
	ev = domain.EventDecision{Step: x.Step, Path: x.Path, Approved: d.Approved, By: d.By, Comment: d.Comment, Values: domain.Values{}}
	if d.Values != nil {
		if err := json.Unmarshal(d.Values, &ev.Values); err != nil {
			return ev, "values is no mapping"
		}
	}
	asks := p.Spec.Asks(x.Wait)
	decision := app.Decision{Approved: d.Approved, By: d.By, Values: ev.Values, Roles: []string{"operator"}}
	if asks != nil {
		for _, a := range asks.Approvers {
			if role, ok := strings.CutPrefix(a, "role:"); ok {
				decision.Roles = append(decision.Roles, role) // whoever it is may have it
			} else if decision.By == "" {
				decision.By = a
			}
		}
	}
	if decision.By == "" {
		decision.By = "tester"
	}
	if err := decision.Check(asks, x.Wait == domain.WaitApproval); err != nil {
		return ev, words(err)
	}
	ev.By, ev.Values = decision.By, decision.Values
	return ev, ""
}

// quoteKey makes a stub's key fit for YAML.
func quoteKey(key string) string {
	if strings.ContainsAny(key, "/.") {
		return strconv.Quote(key)
	}
	return key
}

func someOutputs(b *domain.Build) string {
	var names []string
	for _, o := range b.Outputs {
		names = append(names, o.Name+": …")
	}
	return strings.Join(names, ", ")
}

// check tells what of the test cannot be meant for the workflow.
func (w *world) check() []fault.Field {
	var bad []fault.Field
	add := func(at wftest.Place, path, remedy, format string, args ...any) {
		bad = append(bad, fault.Field{Path: path, Message: fmt.Sprintf(format, args...), Remedy: remedy, Line: at.Line, Column: at.Column})
	}
	main := w.order.Definitions[0].Workflow
	t := &w.order.Test
	for _, s := range t.Stubs {
		name, id, sub := strings.Cut(s.Step, "/")
		if !sub {
			name, id = main, s.Step
		}
		plan, err := w.plan(name)
		if err != nil {
			add(s.Place, "stubs."+s.Step, "", "%s", words(err))
			continue
		}
		i, ok := stepOf(plan, id)
		if !ok {
			add(s.Place, "stubs."+s.Step, nearStep(plan, id), "the workflow %s has no step %q", name, id)
			continue
		}
		w.checkAnswers(s, &plan.Nodes[i], add)
	}
	for _, s := range t.Expect.Steps {
		if _, ok := stepOf(w.plans[main], s.ID); !ok {
			add(s.Place, "expect.steps."+s.ID, nearStep(w.plans[main], s.ID), "the workflow %s has no step %q", main, s.ID)
		}
	}
	for _, v := range t.Expect.Result {
		if _, ok := w.order.Definitions[0].Result[v.Name]; !ok {
			add(v.Place, "expect.result."+v.Name, near(v.Name, slices.Sorted(maps.Keys(w.order.Definitions[0].Result))), "the result of %s has no %q", main, v.Name)
		}
	}
	for i, c := range t.Checks {
		e, err := w.deps.Compiler.Text(c.Text, domain.Env{Steps: stepNames(w.plans[main])})
		switch {
		case err != nil:
			add(c.Place, fmt.Sprintf("check[%d]", i), "", "%s", err)
		case e.Tainted():
			add(c.Place, fmt.Sprintf("check[%d]", i), "check what the steps made of it", "secrets cannot be read here")
		}
		for _, id := range stepsOf(e, err) {
			if _, ok := stepOf(w.plans[main], id); !ok {
				add(c.Place, fmt.Sprintf("check[%d]", i), nearStep(w.plans[main], id), "the workflow %s has no step %q", main, id)
			}
		}
	}
	return bad
}

func stepsOf(e domain.Expression, err error) []string {
	if err != nil {
		return nil
	}
	return e.Steps()
}

// checkAnswers tells answers that the step cannot get.
func (w *world) checkAnswers(s wftest.Stub, p *domain.PlanStep, add func(at wftest.Place, path, remedy, format string, args ...any)) {
	wait := p.Spec.Kind == "wait"
	signal := wait && p.Spec.Wait != nil && p.Spec.Wait.Signal != ""
	person := wait && p.Spec.Wait != nil && p.Spec.Wait.Approval != nil || p.Consent != nil || p.Effect == "irreversible"
	works := p.Build != nil || p.Spec.Kind == "workflow"
	path := "stubs." + s.Step
	if !signal && !person && !works {
		add(s.Place, path, "leave it out: it is carried out as it is, and its waits are skipped over", "nobody answers a step of this kind (%s)", p.Spec.Kind)
		return
	}
	if len(s.Answers) == 0 && !signal && !person {
		add(s.Place, path, "give at least one answer", "is empty")
	}
	for i, a := range s.Answers {
		at := fmt.Sprintf("%s[%d]", path, i)
		switch {
		case ofSignal(a) && !signal:
			add(a.Place, at, "answer with outputs or error", "the step does not wait for a signal")
		case ofDecision(a) && !person:
			add(a.Place, at, "", "the step asks nobody")
		case ofAttempt(a) && !works:
			add(a.Place, at, "answer with "+map[bool]string{true: "signal", false: "decision"}[signal], "the step runs no action")
		case a.Outputs != nil && p.Build != nil:
			outputs, _ := listOf(a.Outputs)
			for _, o := range outputs {
				w.checkOutputs(a, at, p.Build, o, add)
			}
		}
	}
}

// checkOutputs holds what a stub gives to the action's outputs. Some may be left out.
func (w *world) checkOutputs(a wftest.Answer, at string, b *domain.Build, o domain.Values, add func(at wftest.Place, path, remedy, format string, args ...any)) {
	for _, name := range slices.Sorted(maps.Keys(o)) {
		i := slices.IndexFunc(b.Outputs, func(it domain.Item) bool { return it.Name == name })
		if i < 0 {
			var names []string
			for _, it := range b.Outputs {
				names = append(names, it.Name)
			}
			add(a.Place, at+".outputs."+name, near(name, names), "%s has no output %q", b.Action, name)
			continue
		}
		if bad := domain.CheckInputs(b.Outputs[i:i+1], domain.Values{name: w.file(b.Outputs, name, o[name])}); len(bad) > 0 {
			add(a.Place, at+".outputs."+name, "", "%s", bad[0].Message)
		}
	}
}

func stepOf(p *domain.Plan, id string) (int32, bool) {
	for i := range p.Nodes {
		if p.Nodes[i].Spec.ID == id {
			return int32(i), true
		}
	}
	return 0, false
}

func stepNames(p *domain.Plan) []string {
	var names []string
	for i := range p.Nodes {
		names = append(names, p.Nodes[i].Spec.ID)
	}
	return names
}

func nearStep(p *domain.Plan, id string) string { return near(id, stepNames(p)) }

func near(name string, names []string) string {
	if n := doc.Nearest(name, names); n != "" {
		return "did you mean " + n + "?"
	}
	return "there are " + strings.Join(names, ", ")
}

// virtual is how long the run took in the time of the test.
func (r *run) virtual() time.Duration {
	if r.s.Finished == 0 {
		return r.w.clock().Sub(r.w.began)
	}
	return time.UnixMicro(r.s.Finished).Sub(r.w.began)
}
