// Package workflow reads kind: Workflow, with the position of everything, and checks it against
// the metadata of the actions that it uses.
package workflow

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/pelton-run/pelton/functions/formats/action"
	"github.com/pelton-run/pelton/functions/formats/doc"
	"github.com/pelton-run/pelton/functions/formats/problem"
)

// Workflow is a definition as written.
type Workflow struct {
	Name     string
	Title    string
	Inputs   []action.Item
	Triggers []Trigger
	Steps    []Step
	Result   []Value
	Timeout  time.Duration

	Priority       int
	IdempotencyKey *Value
	Concurrency    *Limit
	RateLimit      *Rate
	OnFailure      string
	Durability     string // strict | none, "" = strict
}

// Value is a named value as written, expressions as text.
type Value struct {
	Name string
	JSON json.RawMessage
	node *doc.Node
}

// Trigger starts runs.
type Trigger struct {
	ID     string
	Uses   string
	With   json.RawMessage
	Inputs []Value
	node   *doc.Node
}

// Retry says how often a step is tried.
type Retry struct {
	Attempts int
	Backoff  time.Duration
	Factor   float64
	Cap      time.Duration
	Jitter   bool
	On       []string
}

var (
	namePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
	idPattern   = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)
	reserved    = []string{"inputs", "trigger", "steps", "run", "vars", "secrets", "event", "pass", "error"}
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
		w.Name = m.Need("name", "name the workflow").Names(namePattern, "give 1 to 63 of a-z, 0-9 and -")
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
	if t := spec.Get("timeout"); t != nil {
		w.Timeout = t.Duration()
	}
	w.policies(spec)
	spec.Only()
	w.check(r)
	return w, r.Problems
}

func (w *Workflow) triggers(n *doc.Node) {
	if n == nil {
		return
	}
	seen := map[string]bool{}
	for _, t := range n.Items() {
		if !t.Mapping() {
			continue
		}
		x := Trigger{node: t}
		x.ID = t.Need("id", "name the trigger").Names(idPattern, "give a-z, 0-9 and _, a letter first")
		if seen[x.ID] {
			t.Wrong("rename one of them", "the id %q is given twice", x.ID)
		}
		seen[x.ID] = true
		x.Uses = t.Need("uses", "give http, cron, or a source action").Text()
		x.With = t.Get("with").JSON()
		x.Inputs = values(t.Get("inputs"))
		t.Only()
		switch x.Uses {
		case "http":
			checkHTTP(t.Get("with"), w)
		case "cron":
			checkCron(t, t.Get("with"))
		}
		w.Triggers = append(w.Triggers, x)
	}
}

func values(n *doc.Node) []Value {
	if n == nil {
		return nil
	}
	if !n.Mapping() {
		return nil
	}
	var out []Value
	names, nodes := n.Keys()
	for i, name := range names {
		out = append(out, Value{Name: name, JSON: nodes[i].JSON(), node: nodes[i]})
	}
	return out
}

func checkHTTP(with *doc.Node, w *Workflow) {
	if with == nil || !with.Mapping() {
		return
	}
	if m := with.Get("method"); m != nil {
		m.OneOf("GET", "POST", "PUT", "PATCH", "DELETE", "ANY")
	}
	if p := with.Get("path"); p != nil && !strings.HasPrefix(p.Text(), "/") {
		p.Wrong("start it with /", "is %q", p.Text())
	}
	if m := with.Get("mode"); m != nil {
		m.OneOf("sync", "async", "stream")
	}
	streams := with.Get("mode").Text() == "stream"
	if s := with.Get("stream"); s != nil && !streams {
		s.Wrong("add mode: stream, or leave it out", "only a trigger of mode stream has it")
	}
	if r := with.Get("response"); r != nil && streams {
		r.Wrong("leave it out", "the answer of a trigger of mode stream is its events")
	}
	if a := with.Get("auth"); a != nil {
		if a.Text() == "signature" {
			a.Wrong("use key or token", "signature is not supported yet by this version")
		} else {
			a.OneOf("key", "token", "none")
		}
	}
	if t := with.Get("timeout"); t != nil {
		t.Duration()
	}
	if b := with.Get("body"); b != nil && b.Scalar() && !slices.ContainsFunc(w.Inputs, func(i action.Item) bool { return i.Name == b.Text() }) {
		b.Wrong("name one of the workflow's inputs", "there is no input %q", b.Text())
	}
	for _, name := range []string{"query", "header", "cookie", "response", "cors", "maxBytes"} {
		with.Get(name)
	}
	with.Only()
}

// MaxJitter is how much later than its due time a schedule may be asked to fire.
const MaxJitter = time.Hour

func checkCron(t, with *doc.Node) {
	if with == nil || !with.Mapping() {
		if with == nil {
			t.Wrong(`add with: {schedule: "0 6 * * *"}`, "a cron trigger wants its schedule")
		}
		return
	}
	if s := with.Need("schedule", `give five fields such as "0 6 * * *"`); s != nil {
		if n := len(strings.Fields(s.Text())); n != 5 && !strings.HasPrefix(s.Text(), "@") {
			s.Wrong(`give five fields such as "0 6 * * *"`, "is %q", s.Text())
		}
	}
	if z := with.Get("timezone"); z != nil {
		if _, err := time.LoadLocation(z.Text()); err != nil {
			z.Wrong("give a name such as Europe/Paris", "the time zone %q is not known", z.Text())
		}
	}
	if c := with.Get("catchUp"); c != nil {
		c.OneOf("none", "last", "all")
	}
	if o := with.Get("overlap"); o != nil {
		o.OneOf("allow", "skip", "cancel-previous")
	}
	if j := with.Get("jitter"); j != nil {
		if d, err := time.ParseDuration(j.Text()); err != nil || d <= 0 || d > MaxJitter {
			j.Wrong("give a duration such as 30s or 5m, at most 1h", "is %q", j.Text())
		}
	}
	with.Only()
}

func textsOf(n *doc.Node) []string {
	if n == nil {
		return nil
	}
	if n.Scalar() {
		return []string{n.Text()}
	}
	var out []string
	for _, x := range n.Items() {
		out = append(out, x.Text())
	}
	return out
}

// unwrap takes ${} from around an expression: `if: ${x}` means `if: x`.
func unwrap(s string) string {
	if t := strings.TrimSpace(s); strings.HasPrefix(t, "${") && strings.HasSuffix(t, "}") && strings.Count(t, "${") == 1 {
		return strings.TrimSpace(t[2 : len(t)-1])
	}
	return s
}

func retry(n *doc.Node) *Retry {
	if n == nil || !n.Mapping() {
		return nil
	}
	r := &Retry{Attempts: 1}
	if a := n.Need("attempts", "give how often the step is tried, the first time included"); a != nil {
		r.Attempts = a.Int(1, 1000)
	}
	if b := n.Get("backoff"); b != nil {
		r.Backoff = b.Duration()
	}
	if f := n.Get("factor"); f != nil {
		r.Factor = f.Float(1)
	}
	if c := n.Get("cap"); c != nil {
		r.Cap = c.Duration()
	}
	r.Jitter = n.Get("jitter").Bool()
	r.On = textsOf(n.Get("on"))
	n.Only()
	return r
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
