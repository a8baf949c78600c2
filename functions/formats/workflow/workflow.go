// Package workflow reads kind: Workflow, with the position of everything, and checks it against
// the metadata of the actions that it uses. It tells every problem at once, and runs nothing.
package workflow

import (
	"encoding/json"
	"regexp"
	"strings"
	"time"

	"github.com/pelton-run/pelton/functions/formats/action"
	"github.com/pelton-run/pelton/functions/formats/doc"
	"github.com/pelton-run/pelton/functions/formats/problem"
)

// Workflow is a definition as written.
type Workflow struct {
	Name           string
	Title          string
	Inputs         []action.Item
	Triggers       []Trigger
	Steps          []Step
	Result         []Value
	Timeout        time.Duration
	Priority       int    // -100..100, higher starts first
	IdempotencyKey *Value // nil = none
	Concurrency    *Limit // of runs
	RateLimit      *Rate  // of starts of runs
	OnFailure      string // the workflow that is started for a failed run
	Durability     string // strict | none, "" = strict

	// Retention is how long ended runs are kept. Defaults to as long as their project says.
	Retention time.Duration

	durability *doc.Node
}

// Value is a named value as written, expressions as text.
type Value struct {
	Name string
	JSON json.RawMessage
	node *doc.Node
}

var (
	namePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
	idPattern   = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)
	kindPattern = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)
	reserved    = []string{"inputs", "trigger", "steps", "run", "vars", "secrets", "event", "pass", "error"}
)

const (
	nameAllowed = "give 1 to 63 of a-z, 0-9 and -"
	idAllowed   = "give a-z, 0-9 and _, a letter first"
)

// Parse reads a workflow. The problems hold what can be told without the actions' metadata.
func Parse(file string, data []byte) (Workflow, problem.List) {
	r := &doc.Reader{File: file}
	root := doc.Parse(r, data)
	if root == nil {
		return Workflow{}, r.Problems
	}
	var w Workflow
	root.Need("apiVersion", "add apiVersion: pelton.dev/v1").OneOf("pelton.dev/v1")
	root.Need("kind", "add kind: Workflow").OneOf("Workflow")
	if m := root.Need("metadata", "add metadata: {name: …}"); m.Mapping() {
		w.Name = nameIn(m)
		w.Title = m.Get("title").Text()
		m.Get("labels")
		m.Only()
	}
	spec := root.Need("spec", "add spec: with steps")
	root.Only()
	if !spec.Mapping() {
		return w, r.Problems
	}
	w.Inputs = action.Items(spec.Get("inputs"))
	w.triggers(spec.Get("triggers"))
	w.steps(spec.Need("steps", "add at least one step"))
	w.streamed()
	w.result(spec.Get("result"))
	w.settings(spec)
	spec.Only()
	w.check()
	return w, r.Problems
}

func nameIn(metadata *doc.Node) string {
	return metadata.Need("name", "name the workflow").Names(namePattern, nameAllowed)
}

// NameOf is the name of a workflow, "" if it has none that is allowed. Nothing else of it is looked at.
func NameOf(file string, data []byte) string {
	root := doc.Parse(&doc.Reader{File: file}, data)
	if root == nil {
		return ""
	}
	if m := root.Get("metadata"); m.Mapping() {
		return nameIn(m)
	}
	return ""
}

// settings reads what holds for runs as a whole.
func (w *Workflow) settings(spec *doc.Node) {
	w.Timeout = duration(spec.Get("timeout"))
	w.Priority = spec.Get("priority").Int(-100, 100)
	if k := spec.Get("idempotencyKey"); k != nil {
		if w.IdempotencyKey = value(k); !strings.Contains(string(w.IdempotencyKey.JSON), "${") {
			k.Wrong(`read something that tells runs apart: "${inputs.order}"`, "a key that is always the same starts one run for ever")
		}
	}
	w.Concurrency = limit(spec.Get("concurrency"), true)
	w.RateLimit = rate(spec.Get("rateLimit"))
	if n := spec.Get("onFailure"); n != nil {
		w.OnFailure = workflowName(n)
		if w.OnFailure == w.Name && w.Name != "" {
			n.Wrong("name another workflow", "a workflow cannot deal with its own failures: it might fail for ever")
		}
	}
	if w.durability = spec.Get("durability"); w.durability != nil {
		w.Durability = w.durability.OneOf("strict", "none")
	}
	w.Retention = duration(spec.Get("retention"))
}

// workflowName reads the name of a workflow of the project.
func workflowName(n *doc.Node) string { return n.Names(namePattern, nameAllowed) }

// duration reads a duration, 0 where there is none.
func duration(n *doc.Node) time.Duration {
	if n == nil {
		return 0
	}
	return n.Duration()
}

// value reads a value whose texts may hold expressions, nil where there is none.
func value(n *doc.Node) *Value {
	if n == nil {
		return nil
	}
	return &Value{JSON: n.JSON(), node: n}
}

// values reads named values.
func values(n *doc.Node) []Value {
	if n == nil || !n.Mapping() {
		return nil
	}
	var out []Value
	names, nodes := n.Keys()
	for i, name := range names {
		out = append(out, Value{Name: name, JSON: nodes[i].JSON(), node: nodes[i]})
	}
	return out
}

func (w *Workflow) result(n *doc.Node) {
	if n == nil {
		return
	}
	if n.Scalar() {
		n.Wrong("give names: result: {report: \"${steps.x.y}\"}", "is no mapping")
		return
	}
	w.Result = values(n)
}
