package workflow

import (
	"slices"
	"strings"
	"time"

	"github.com/pelton-run/pelton/functions/formats/doc"
	"github.com/pelton-run/pelton/functions/formats/expr"
)

// The kinds of a step, each named by the field that makes it.
const (
	KindAction   = "action" // made by uses
	KindWorkflow = "workflow"
	KindWait     = "wait"
	KindSwitch   = "switch"
	KindCollect  = "collect"
)

// Step is one step. What does not belong to its kind is empty.
type Step struct {
	ID    string
	Kind  string // action | workflow | wait | switch | collect
	Title string
	Needs []string // stated and implied
	If    string
	Join  string

	Uses     string // an action
	Workflow string // the name of a workflow of the project
	Detach   bool   // the workflow's end is not waited for
	Wait     *Wait
	Switch   string // an expression
	Cases    []Case
	Default  []string // steps that are chosen where no case is
	Collect  string   // the step whose passages are gathered

	With            []Value
	ForEach         *ForEach
	Loop            *Loop
	Timeout         time.Duration // of one attempt
	StepTimeout     time.Duration // of all attempts and the pauses between them
	Retry           *Retry
	Catch           []Catch // continueOnError is the last of them
	ContinueOnError bool
	Undo            *Undo
	Effect          string // pure | read | write | irreversible, "" = the action's
	Cache           *Cache
	Approval        *Approval
	Concurrency     *Limit
	Priority        *int // nil = the workflow's

	node       *doc.Node
	switchedBy string // the switch that chooses whether it runs
}

// need adds a step that comes before.
func (x *Step) need(id string) {
	if !slices.Contains(x.Needs, id) {
		x.Needs = append(x.Needs, id)
	}
}

// kinds are the fields that make a step what it is.
var kinds = []struct{ field, kind string }{
	{"uses", KindAction}, {"workflow", KindWorkflow}, {"wait", KindWait}, {"switch", KindSwitch}, {"collect", KindCollect},
}

// runs are the kinds of steps that run something.
var runs = []string{KindAction, KindWorkflow}

// belongings say which kinds of steps a field is for, and what to do with it elsewhere.
var belongings = []struct {
	field   string
	kinds   []string
	instead map[string]string // by kind; other kinds are told to leave it out
}{
	{"with", runs, map[string]string{KindWait: "write it under wait:"}},
	{"forEach", []string{KindAction, KindWorkflow, KindWait}, nil},
	{"loop", runs, nil},
	{"retry", runs, nil},
	{"timeout", runs, map[string]string{KindWait: "write wait: {signal: …, timeout: …}"}},
	{"stepTimeout", runs, map[string]string{KindWait: "write wait: {signal: …, timeout: …}"}},
	{"catch", []string{KindAction, KindWorkflow, KindWait}, nil},
	{"continueOnError", []string{KindAction, KindWorkflow, KindWait}, nil},
	{"undo", []string{KindAction}, map[string]string{KindWorkflow: "let the steps of that workflow have undo:"}},
	{"effect", []string{KindAction}, map[string]string{KindWorkflow: "let the steps of that workflow say it"}},
	{"cache", []string{KindAction}, map[string]string{KindWorkflow: "let the steps of that workflow have cache:"}},
	{"resources", []string{KindAction}, map[string]string{KindWorkflow: "let the steps of that workflow say it"}},
	{"approval", runs, map[string]string{KindWait: "write wait: {approval: {title: …}}"}},
	{"concurrency", runs, nil},
	{"priority", runs, nil},
	{"detach", []string{KindWorkflow}, nil},
	{"cases", []string{KindSwitch}, nil},
	{"default", []string{KindSwitch}, nil},
}

func (w *Workflow) steps(n *doc.Node) {
	if n == nil {
		return
	}
	seen := map[string]bool{}
	all := n.Items()
	if len(all) == 0 {
		n.Wrong("add at least one step", "there are no steps")
	}
	for _, s := range all {
		if !s.Mapping() {
			continue
		}
		x := Step{node: s}
		x.ID = s.Need("id", "name the step").Names(idPattern, idAllowed)
		if slices.Contains(reserved, x.ID) {
			s.Get("id").Wrong("choose another name", "%q is a word of expressions", x.ID)
		}
		if seen[x.ID] && x.ID != "" {
			s.Get("id").Wrong("rename one of them", "the id %q is given twice", x.ID)
		}
		seen[x.ID] = true
		x.read(s)
		s.Only()
		w.Steps = append(w.Steps, x)
	}
}

// read reads a step's fields, those that its kind does not have only to tell so.
func (x *Step) read(s *doc.Node) {
	x.kind(s)
	has := belonging(s, x.Kind)
	x.Title = s.Get("title").Text()
	for _, id := range texts(s.Get("needs")) {
		x.need(id)
	}
	x.If = unwrap(s.Get("if").Text())
	if j := s.Get("join"); j != nil {
		if x.Join = j.Text(); x.Join != "all" && x.Join != "any" {
			j.Int(1, 1000)
		}
	}
	switch x.Kind {
	case KindAction:
		x.Uses = s.Get("uses").Text()
	case KindWorkflow:
		x.Workflow = workflowName(s.Get("workflow"))
	case KindWait:
		x.Wait = wait(s.Get("wait"))
	case KindSwitch:
		x.choice(s, has)
	case KindCollect:
		x.Collect = s.Get("collect").Text()
	}
	x.With = values(has("with"))
	x.Detach = has("detach").Bool()
	x.repetition(has)
	x.failures(has)
	x.limits(has)
	has("resources")
}

// kind finds out what a step is: exactly one of the fields that make kinds is wanted.
func (x *Step) kind(s *doc.Node) {
	made := ""
	for _, k := range kinds {
		n := s.Get(k.field)
		switch {
		case n == nil:
		case x.Kind == "":
			x.Kind, made = k.kind, k.field
		default:
			n.Wrong("make two steps of it", "a step is either %s or %s", made, k.field)
		}
	}
	if x.Kind == "" {
		s.Wrong("give an action: ./actions/name, id or id@version; or one of workflow, wait, switch and collect", "uses is missing")
	}
}

// belonging gives the fields that a kind of step has; what stands there besides is told.
func belonging(s *doc.Node, kind string) func(field string) *doc.Node {
	foreign := map[string]bool{}
	for _, b := range belongings {
		n := s.Get(b.field)
		if n == nil || kind == "" || slices.Contains(b.kinds, kind) {
			continue
		}
		foreign[b.field] = true
		remedy := b.instead[kind]
		if remedy == "" {
			remedy = "leave it out"
		}
		n.Wrong(remedy, "is for %s, and this is %s step", kindsInWords(b.kinds), expr.Article(kind))
	}
	return func(field string) *doc.Node {
		if foreign[field] {
			return nil
		}
		return s.Get(field)
	}
}

func kindsInWords(list []string) string {
	if len(list) == 1 {
		return list[0] + " steps"
	}
	last := len(list) - 1
	return strings.Join(list[:last], ", ") + " and " + list[last] + " steps"
}

// texts reads a text or a list of texts.
func texts(n *doc.Node) []string {
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
