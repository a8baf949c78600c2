// Package wftest reads kind: WorkflowTest, one run of a workflow with its inputs, what answers its
// steps, and what is to come of it, with the position of everything. It does not know the
// workflow: whether its steps exist is told by who runs the test.
package wftest

import (
	"encoding/json"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/pelton-run/pelton/functions/formats/doc"
	"github.com/pelton-run/pelton/functions/formats/expr"
	"github.com/pelton-run/pelton/functions/formats/problem"
)

// Kind of the documents.
const Kind = "WorkflowTest"

// Test is one test as written.
type Test struct {
	Name      string // of its file, without folder and ending
	Title     string
	Workflow  Text
	Now       time.Time // when the run starts, zero = at the time of the test
	Inputs    []Value
	Variables []Value
	Secrets   map[string]string
	Stubs     []Stub
	Expect    Expect
	Checks    []Text // CEL over the ended run
}

// Place is where something stands, from 1.
type Place struct{ Line, Column int }

// Text is a text with its place.
type Text struct {
	Place
	Text string
}

// Value is a named value: JSON, in which a path that begins with ./ or ../ stands for a file or a
// folder beside the test where the type is file or directory.
type Value struct {
	Place
	Name string
	JSON json.RawMessage
}

// Stub answers for one step.
type Stub struct {
	Place
	Step    string // "step", "step.undo", or "workflow/step" of a sub-workflow
	Answers []Answer
}

// Answer is what a stub says once. Exactly one of Outputs, Error, Signal and Decision is set.
type Answer struct {
	Place
	Item     []int         // only the item (or the pass of a loop) at this place, nil = every one
	Delay    time.Duration // of the test's time
	Outputs  json.RawMessage
	Error    *Error
	Signal   json.RawMessage // the payload, null for one without
	Decision *Decision
}

// Error that an attempt fails with.
type Error struct {
	Kind    string
	Message string
	Code    string
	Field   string
	Details json.RawMessage
}

// Decision of a person.
type Decision struct {
	Approved bool
	By       string
	Comment  string
	Values   json.RawMessage // object, nil = none
}

// Expect is what is to come of the run. What is not told is not looked at.
type Expect struct {
	Status Text    // completed, failed or cancelled; by default failed with Error, else completed
	Result []Value // see Match
	Error  []Value // kind, message, code, field, step
	Steps  []Step
}

// Step is what is to come of a step.
type Step struct {
	Place
	ID       string
	Status   Text
	Attempts *Number // of each of its runs
	Items    *Number
	Outputs  *Value
}

// Number with its place.
type Number struct {
	Place
	N int
}

var (
	workflowName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
	stepName     = regexp.MustCompile(`^([a-z0-9][a-z0-9-]{0,62}/)?[a-z][a-z0-9_]{0,62}(\.undo)?$`)
	ownStep      = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}(\.undo)?$`)
	name         = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]{0,127}$`)
	kindName     = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)
	runStates    = []string{"completed", "failed", "cancelled"}
	stepStates   = []string{"completed", "failed", "skipped", "cancelled"}
	errorFields  = []string{"kind", "message", "code", "field", "step"}
)

// Parse reads a test; every problem is told.
func Parse(file string, data []byte) (Test, problem.List) {
	r := &doc.Reader{File: file}
	root := doc.Parse(r, data)
	base := path.Base(file)
	t := Test{Name: strings.TrimSuffix(base, path.Ext(base)), Secrets: map[string]string{}}
	if root == nil {
		return t, r.Problems
	}
	root.Need("apiVersion", "add apiVersion: pelton.dev/v1").OneOf("pelton.dev/v1")
	root.Need("kind", "add kind: "+Kind).OneOf(Kind)
	t.Title = root.Get("title").Text()
	if w := root.Need("workflow", "name the workflow: workflow: NAME"); w != nil {
		t.Workflow = Text{at(w), w.Names(workflowName, "give the name of a workflow: 1 to 63 of a-z, 0-9 and -")}
	}
	if n := root.Get("now"); n != nil {
		t.Now = instant(n)
	}
	t.Inputs = values(root.Get("inputs"), nil)
	t.Variables = values(root.Get("variables"), name)
	t.secrets(root.Get("secrets"))
	t.stubs(root.Get("stubs"))
	t.expect(root.Get("expect"))
	for _, n := range root.Get("check").Items() {
		text := n.Text()
		if _, err := expr.Refs(text); err != nil {
			n.Wrong("give an expression without ${}, such as steps.a.n == 3", "the expression %q is not valid: %s", text, err)
		}
		t.Checks = append(t.Checks, Text{at(n), text})
	}
	if root.Get("expect") == nil && len(t.Checks) == 0 {
		root.Wrong("add expect: {status: completed}, or check:", "nothing is expected")
	}
	root.Only()
	return t, r.Problems
}

func at(n *doc.Node) Place { return Place{n.Line(), n.Column()} }

func instant(n *doc.Node) time.Time {
	text := n.Text()
	v, err := time.Parse(time.RFC3339Nano, strings.Replace(text, " ", "T", 1))
	if err != nil {
		n.Wrong("give a time with its zone, such as 2026-12-01T09:00:00Z", "is %q", text)
	}
	return v
}

func values(n *doc.Node, names *regexp.Regexp) []Value {
	if n == nil || !n.Mapping() {
		return nil
	}
	var out []Value
	keys, nodes := n.Keys()
	for i, k := range keys {
		if names != nil && !names.MatchString(k) {
			nodes[i].Wrong("use letters, digits and _, starting with a letter", "%q cannot be a name here", k)
		}
		out = append(out, Value{at(nodes[i]), k, nodes[i].JSON()})
		n.Get(k)
	}
	n.Only()
	return out
}

func (t *Test) secrets(n *doc.Node) {
	for _, v := range values(n, name) {
		var text string
		if json.Unmarshal(v.JSON, &text) != nil || text == "" {
			n.Get(v.Name).Wrong("give a made-up text in quotes: tests never see the project's secrets", "is no text")
		}
		t.Secrets[v.Name] = text
	}
}

func (t *Test) stubs(n *doc.Node) {
	if n == nil || !n.Mapping() {
		return
	}
	keys, nodes := n.Keys()
	for i, k := range keys {
		if !stepName.MatchString(k) {
			nodes[i].Wrong("give the id of a step, or WORKFLOW/STEP for a step of a sub-workflow", "%q names no step", k)
		}
		s := Stub{Place: at(nodes[i]), Step: k}
		for _, a := range nodes[i].Items() {
			s.Answers = append(s.Answers, answer(a))
		}
		t.Stubs = append(t.Stubs, s)
		n.Get(k)
	}
	n.Only()
}

func answer(n *doc.Node) Answer {
	a := Answer{Place: at(n)}
	if !n.Mapping() {
		return a
	}
	if d := n.Get("delay"); d != nil {
		a.Delay = d.Duration()
	}
	if i := n.Get("item"); i != nil {
		a.Item = item(i)
	}
	given := 0
	if o := n.Get("outputs"); o != nil {
		given++
		a.Outputs = o.JSON()
		if !objects(a.Outputs) {
			o.Wrong("give the outputs by name: outputs: {rows: 3}, or a list of such for a list result", "is no mapping")
		}
	}
	if e := n.Get("error"); e.Mapping() {
		given++
		a.Error = &Error{Kind: e.Need("kind", "say what kind of error: kind: user_error").Names(kindName, "give a kind such as timeout or user_error"),
			Message: e.Get("message").Text(), Code: e.Get("code").Text(), Field: e.Get("field").Text(), Details: e.Get("details").JSON()}
		e.Only()
	}
	if s := n.Get("signal"); s != nil {
		given++
		a.Signal = json.RawMessage("null")
		if s.Mapping() {
			if p := s.Get("payload"); p != nil {
				a.Signal = p.JSON()
			}
			s.Only()
		}
	}
	if d := n.Get("decision"); d.Mapping() {
		given++
		a.Decision = decision(d)
	}
	if given != 1 {
		n.Wrong("give exactly one of outputs, error, signal and decision", "has %d answers", given)
	}
	n.Only()
	return a
}

// item is one index, or the list of them for lists within lists.
func item(n *doc.Node) []int {
	if n.Scalar() {
		return []int{n.Int(0, 1<<31-1)}
	}
	out := []int{}
	for _, i := range n.Items() {
		out = append(out, i.Int(0, 1<<31-1))
	}
	return out
}

func objects(raw json.RawMessage) bool {
	var one map[string]json.RawMessage
	var list []map[string]json.RawMessage
	return json.Unmarshal(raw, &one) == nil && one != nil || json.Unmarshal(raw, &list) == nil && list != nil && !slices.ContainsFunc(list, func(m map[string]json.RawMessage) bool { return m == nil })
}

func decision(n *doc.Node) *Decision {
	d := &Decision{Approved: n.Need("approved", "say approved: true or false").Bool(), By: n.Get("by").Text(), Comment: n.Get("comment").Text()}
	if v := n.Get("values"); v.Mapping() {
		d.Values = v.JSON()
	}
	n.Only()
	return d
}

func (t *Test) expect(n *doc.Node) {
	if n == nil || !n.Mapping() {
		return
	}
	t.Expect.Status = status(n.Get("status"), runStates)
	t.Expect.Result = values(n.Get("result"), nil)
	for _, v := range t.Expect.Result {
		wanted(n.Get("result").Get(v.Name), v.JSON)
	}
	if e := n.Get("error"); e != nil && e.Mapping() {
		t.Expect.Error = values(e, nil)
		for _, v := range t.Expect.Error {
			if !slices.Contains(errorFields, v.Name) {
				e.Get(v.Name).Wrong("give "+strings.Join(errorFields, ", "), "an error has no %q", v.Name)
			}
			wanted(e.Get(v.Name), v.JSON)
		}
	}
	if s := n.Get("steps"); s != nil && s.Mapping() {
		t.steps(s)
	}
	n.Only()
}

func status(n *doc.Node, states []string) Text {
	if n == nil {
		return Text{}
	}
	return Text{at(n), n.OneOf(states...)}
}

func (t *Test) steps(n *doc.Node) {
	keys, nodes := n.Keys()
	for i, k := range keys {
		n.Get(k)
		x := nodes[i]
		if !ownStep.MatchString(k) {
			x.Wrong("give the id of a step of this workflow", "%q names no step", k)
		}
		if !x.Mapping() {
			continue
		}
		s := Step{Place: at(x), ID: k, Status: status(x.Get("status"), stepStates), Attempts: number(x.Get("attempts")), Items: number(x.Get("items"))}
		if o := x.Get("outputs"); o != nil {
			s.Outputs = &Value{at(o), "outputs", o.JSON()}
			wanted(o, s.Outputs.JSON)
		}
		x.Only()
		t.Expect.Steps = append(t.Expect.Steps, s)
	}
	n.Only()
}

func number(n *doc.Node) *Number {
	if n == nil {
		return nil
	}
	return &Number{at(n), n.Int(0, 1<<31-1)}
}

// wanted checks the regular expressions of an expectation.
func wanted(n *doc.Node, raw json.RawMessage) {
	if n == nil || raw == nil {
		return
	}
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return
	}
	walk(v, func(x any) {
		pattern, is := matches(x)
		if !is {
			return
		}
		if _, err := regexp.Compile(pattern); err != nil {
			n.Wrong("give a regular expression as Go and RE2 know them", "matches: %s", err)
		}
	})
}

func walk(v any, f func(any)) {
	f(v)
	switch x := v.(type) {
	case []any:
		for _, e := range x {
			walk(e, f)
		}
	case map[string]any:
		for _, e := range x {
			walk(e, f)
		}
	}
}

// Paths are the texts of a test that may stand for files beside it, each once, in their order.
func (t *Test) Paths() []string {
	var out []string
	add := func(raw json.RawMessage) {
		var v any
		if json.Unmarshal(raw, &v) != nil {
			return
		}
		var found []string
		walk(v, func(x any) {
			if s, ok := x.(string); ok && IsPath(s) && !slices.Contains(out, s) {
				found = append(found, s)
			}
		})
		slices.Sort(found)
		out = append(out, slices.Compact(found)...)
	}
	for _, v := range t.Inputs {
		add(v.JSON)
	}
	for _, s := range t.Stubs {
		for _, a := range s.Answers {
			add(a.Outputs)
		}
	}
	for _, v := range t.Expect.Result {
		add(v.JSON)
	}
	for _, s := range t.Expect.Steps {
		if s.Outputs != nil {
			add(s.Outputs.JSON)
		}
	}
	return out
}

// IsPath tells whether a text is written as the path of a file beside the test.
func IsPath(s string) bool {
	return (strings.HasPrefix(s, "./") || strings.HasPrefix(s, "../")) && len(s) <= 1024 && !strings.ContainsAny(s, "\n\x00")
}
