package workflow

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/pelton-run/pelton/functions/formats/action"
	"github.com/pelton-run/pelton/functions/formats/doc"
	"github.com/pelton-run/pelton/functions/formats/schema"
)

// The kinds of steps.
const (
	KindAction   = "action"
	KindWorkflow = "workflow"
	KindWait     = "wait"
	KindSwitch   = "switch"
	KindCollect  = "collect"
)

// Step is one step.
type Step struct {
	ID      string
	Title   string
	Kind    string
	Uses    string // kind action
	With    []Value
	Needs   []string // stated and implied
	If      string
	Join    string
	ForEach *ForEach
	Timeout time.Duration // of one attempt
	Retry   *Retry

	Workflow    string // kind workflow: its name
	Detach      bool
	Wait        *Wait
	Switch      string // kind switch: the expression
	Cases       map[string][]string
	Default     []string
	Collect     string // kind collect: the step whose passages are gathered
	Loop        *Loop
	Catch       []Catch
	StepTimeout time.Duration
	Undo        *Undo
	Effect      string
	Cache       *Cache
	Approval    *Approval
	Concurrency *Limit
	Priority    *int

	node   *doc.Node
	ifNode *doc.Node
	gate   string // the switch that lists it
}

// ForEach runs a step once per item.
type ForEach struct {
	In          string
	As          string
	Concurrency int
	OnError     string // fail | skip | collect
	node        *doc.Node
}

// Wait is what a step of kind wait waits for: one of For, Until, Signal, Approval.
type Wait struct {
	For      *Value
	Until    *Value
	Timezone string
	Signal   string
	Schema   json.RawMessage
	Approval *Approval
	Timeout  time.Duration
}

// Approval asks a person.
type Approval struct {
	Title     *Value
	Form      []action.Item
	Approvers []string
	Reminder  time.Duration
	Timeout   time.Duration
}

// Loop repeats a step.
type Loop struct {
	Until string
	Max   int
	Delay time.Duration
	node  *doc.Node
}

// Catch says what becomes of a failure; without Outputs it stays, and is caught.
type Catch struct {
	On      []string
	Outputs *Value
}

// Undo is the action that takes back what a step did.
type Undo struct {
	Uses    string
	With    []Value
	Retry   *Retry
	Timeout time.Duration
	node    *doc.Node
}

// Cache keeps a step's outputs for others with the same build and key.
type Cache struct {
	Key *Value
	TTL time.Duration
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
		x.ID = s.Need("id", "name the step").Names(idPattern, "give a-z, 0-9 and _, a letter first")
		if slices.Contains(reserved, x.ID) {
			s.Get("id").Wrong("choose another name", "%q is a word of expressions", x.ID)
		}
		if seen[x.ID] && x.ID != "" {
			s.Get("id").Wrong("rename one of them", "the id %q is given twice", x.ID)
		}
		seen[x.ID] = true
		x.Title = s.Get("title").Text()
		x.work(s)
		x.Needs = append(x.Needs, textsOf(s.Get("needs"))...)
		x.ifNode = s.Get("if")
		x.If = unwrap(x.ifNode.Text())
		if j := s.Get("join"); j != nil {
			if x.Join = j.Text(); x.Join != "all" && x.Join != "any" {
				j.Int(1, 1000)
			}
		}
		x.ForEach = forEach(s.Get("forEach"))
		x.stages(s)
		s.Only()
		w.Steps = append(w.Steps, x)
	}
}

// work reads what the step does: exactly one of uses, workflow, wait, switch and collect.
func (x *Step) work(s *doc.Node) {
	kinds := []struct{ field, kind string }{{"uses", KindAction}, {"workflow", KindWorkflow}, {"wait", KindWait}, {"switch", KindSwitch}, {"collect", KindCollect}}
	var given []string
	for _, k := range kinds {
		if s.Get(k.field) != nil {
			given = append(given, k.field)
			x.Kind = k.kind
		}
	}
	if len(given) != 1 {
		x.Kind = KindAction
		if len(given) == 0 {
			s.Need("uses", "give an action: ./actions/name, id or id@version; or one of workflow, wait, switch and collect")
		} else {
			s.Wrong("make a step of each and let one need the other", "a step does one thing, this has %s", strings.Join(given, " and "))
		}
	}
	x.Uses = s.Get("uses").Text()
	x.With = values(s.Get("with"))
	if n := s.Get("workflow"); n != nil {
		x.Workflow = n.Names(namePattern, "give the name of a workflow of this project")
	}
	if d := s.Get("detach"); d != nil {
		x.Detach = d.Bool()
		x.only(d, "detach", KindWorkflow)
	}
	if n := s.Get("wait"); n != nil {
		x.Wait = wait(n)
	}
	if n := s.Get("switch"); n != nil {
		x.Switch = unwrap(n.Text())
		if c := s.Need("cases", "add cases: {value: [step]}"); c.Mapping() {
			x.Cases = cases(c)
		}
	} else if c := s.Get("cases"); c != nil {
		x.only(c, "cases", KindSwitch)
	}
	if d := s.Get("default"); d != nil {
		x.only(d, "default", KindSwitch)
		x.Default = textsOf(d)
	}
	x.Collect = s.Get("collect").Text()
	if x.With != nil && x.Kind != KindAction && x.Kind != KindWorkflow {
		s.Get("with").Wrong("leave it out", "a step of the kind %s takes no inputs", x.Kind)
	}
}

// only tells that a field belongs to steps of other kinds.
func (x *Step) only(n *doc.Node, field string, kinds ...string) bool {
	if slices.Contains(kinds, x.Kind) {
		return true
	}
	n.Wrong("leave it out", "%s is for steps with %s", field, strings.Join(kindFields(kinds), " or "))
	return false
}

func kindFields(kinds []string) []string {
	out := make([]string, len(kinds))
	for i, k := range kinds {
		if out[i] = k; k == KindAction {
			out[i] = "uses"
		}
	}
	return out
}

func cases(n *doc.Node) map[string][]string {
	out := map[string][]string{}
	names, nodes := n.Keys()
	for i, name := range names {
		out[name] = textsOf(nodes[i])
		if out[name] == nil {
			out[name] = []string{}
		}
	}
	return out
}

// stages reads what comes around an attempt.
func (x *Step) stages(s *doc.Node) {
	runs := []string{KindAction, KindWorkflow}
	if t := s.Get("timeout"); t != nil && x.only(t, "timeout", runs...) {
		x.Timeout = t.Duration()
	}
	if t := s.Get("stepTimeout"); t != nil {
		x.StepTimeout = t.Duration()
	}
	if r := s.Get("retry"); r != nil && x.only(r, "retry", runs...) {
		x.Retry = retry(r)
	}
	if l := s.Get("loop"); l != nil && x.only(l, "loop", runs...) {
		x.Loop = loop(l)
		if x.ForEach != nil {
			l.Wrong("put one of them into a sub-workflow", "a step has either forEach or loop")
		}
	}
	if x.ForEach != nil && (x.Kind == KindSwitch || x.Kind == KindCollect) {
		x.ForEach.node.Wrong("leave it out", "forEach is for steps with uses, workflow or wait")
	}
	x.Catch = catches(s.Get("catch"))
	if s.Get("continueOnError").Bool() {
		x.Catch = append(x.Catch, Catch{})
	}
	if u := s.Get("undo"); u != nil && x.only(u, "undo", KindAction) {
		x.Undo = undo(u)
	}
	if e := s.Get("effect"); e != nil && x.only(e, "effect", KindAction) {
		x.Effect = e.OneOf("pure", "read", "write", "irreversible")
	}
	if c := s.Get("cache"); c != nil && x.only(c, "cache", KindAction) {
		x.Cache = cache(c)
	}
	if a := s.Get("approval"); a != nil && x.only(a, "approval", runs...) {
		x.Approval = approval(a, true)
	}
	if c := s.Get("concurrency"); c != nil && x.only(c, "concurrency", runs...) {
		x.Concurrency = limit(c, false)
	}
	if p := s.Get("priority"); p != nil && x.only(p, "priority", runs...) {
		v := p.Int(-100, 100)
		x.Priority = &v
	}
	if r := s.Get("resources"); r != nil {
		x.only(r, "resources", KindAction)
	}
	x.irreversible(s)
}

// irreversible refuses a retry that cannot do what it says.
func (x *Step) irreversible(s *doc.Node) {
	if x.Effect != "irreversible" || x.Retry == nil {
		return
	}
	for _, kind := range x.Retry.On {
		if slices.Contains([]string{"timeout", "crashed", "lost"}, kind) {
			s.Get("retry").Get("on").Wrong("name kinds that the action raises before its effect, such as user_error",
				"after %s nobody knows whether the irreversible effect took place, so it is never tried again by itself", kind)
		}
	}
}

func forEach(n *doc.Node) *ForEach {
	if n == nil || !n.Mapping() {
		return nil
	}
	f := &ForEach{node: n, As: "item", OnError: "fail"}
	f.In = n.Need("in", `give a list: "${steps.x.items}"`).Text()
	if a := n.Get("as"); a != nil {
		f.As = a.Names(idPattern, "give a-z, 0-9 and _, a letter first")
		if slices.Contains(reserved, f.As) {
			a.Wrong("choose another name", "%q is a word of expressions", f.As)
		}
	}
	if c := n.Get("concurrency"); c != nil {
		f.Concurrency = c.Int(1, 10000)
	}
	if o := n.Get("onError"); o != nil {
		f.OnError = o.OneOf("fail", "skip", "collect")
	}
	n.Only()
	return f
}

func loop(n *doc.Node) *Loop {
	if !n.Mapping() {
		return nil
	}
	l := &Loop{node: n, Until: unwrap(n.Need("until", "give the condition that ends it, such as pass.last.done").Text())}
	if m := n.Need("max", "give how often it runs at most"); m != nil {
		l.Max = m.Int(1, 10000)
	}
	if d := n.Get("delay"); d != nil {
		l.Delay = d.Duration()
	}
	n.Only()
	return l
}

func catches(n *doc.Node) []Catch {
	if n == nil {
		return nil
	}
	var out []Catch
	for _, c := range n.Items() {
		if !c.Mapping() {
			continue
		}
		x := Catch{On: textsOf(c.Get("on"))}
		if o := c.Get("outputs"); o != nil && o.Mapping() {
			x.Outputs = one("outputs", o)
		}
		c.Only()
		out = append(out, x)
	}
	return out
}

// one is a single value.
func one(name string, n *doc.Node) *Value { return &Value{Name: name, JSON: n.JSON(), node: n} }

func undo(n *doc.Node) *Undo {
	if !n.Mapping() {
		return nil
	}
	u := &Undo{node: n, Uses: n.Need("uses", "give the action that takes it back").Text(), With: values(n.Get("with")), Retry: retry(n.Get("retry"))}
	if t := n.Get("timeout"); t != nil {
		u.Timeout = t.Duration()
	}
	n.Only()
	return u
}

func cache(n *doc.Node) *Cache {
	if !n.Mapping() {
		return nil
	}
	c := &Cache{}
	if k := n.Need("key", `give what the outputs depend on: "${inputs.x}"`); k != nil {
		c.Key = one("key", k)
	}
	if t := n.Need("ttl", "give how long they are kept, such as 1h"); t != nil {
		if c.TTL = t.Duration(); c.TTL <= 0 {
			t.Wrong("give a time such as 1h", "nothing would be kept")
		}
	}
	n.Only()
	return c
}

func wait(n *doc.Node) *Wait {
	if !n.Mapping() {
		return nil
	}
	x := &Wait{}
	var given []string
	if f := n.Get("for"); f != nil {
		x.For = one("for", f)
		given = append(given, "for")
		if f.Scalar() && !strings.Contains(f.Text(), "${") {
			f.Duration()
		}
	}
	if u := n.Get("until"); u != nil {
		x.Until = one("until", u)
		given = append(given, "until")
	}
	if s := n.Get("signal"); s != nil {
		x.Signal = s.Names(namePattern, "give 1 to 63 of a-z, 0-9 and -")
		given = append(given, "signal")
	}
	if a := n.Get("approval"); a != nil {
		x.Approval = approval(a, false)
		given = append(given, "approval")
	}
	if len(given) != 1 {
		n.Wrong("give one of for, until, signal and approval", "it waits for one thing, this has %s", orNothing(given))
	}
	waitDetails(n, x)
	n.Only()
	return x
}

func orNothing(given []string) string {
	if len(given) == 0 {
		return "none"
	}
	return strings.Join(given, " and ")
}

func waitDetails(n *doc.Node, x *Wait) {
	if z := n.Get("timezone"); z != nil {
		x.Timezone = z.Text()
		if _, err := time.LoadLocation(x.Timezone); err != nil {
			z.Wrong("give a name such as Europe/Paris", "the time zone %q is not known", x.Timezone)
		}
		if x.Until == nil {
			z.Wrong("leave it out", "timezone belongs to until")
		}
	}
	if x.Until != nil && !strings.Contains(string(x.Until.JSON), "${") {
		if !instant(n.Get("until").Text()) {
			n.Get("until").Wrong("write 2026-12-01T09:00:00Z, or a local time together with timezone", "%q is no instant", n.Get("until").Text())
		}
	}
	if s := n.Get("schema"); s != nil {
		x.Schema = s.JSON()
		if x.Signal == "" {
			s.Wrong("leave it out", "schema belongs to signal")
		} else if _, err := schema.Compile(x.Schema); err != nil {
			s.Wrong("give a JSON Schema", "%s", err)
		}
	}
	if t := n.Get("timeout"); t != nil {
		x.Timeout = t.Duration()
		if x.Signal == "" && x.Approval == nil {
			t.Wrong("leave it out", "timeout belongs to signal and approval")
		}
	}
}

func instant(text string) bool {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02 15:04", "2006-01-02"} {
		if _, err := time.Parse(layout, text); err == nil {
			return true
		}
	}
	return false
}

// approval reads what a person is asked; consent is asked before a step and takes no form.
func approval(n *doc.Node, consent bool) *Approval {
	if !n.Mapping() {
		return nil
	}
	a := &Approval{Approvers: textsOf(n.Get("approvers"))}
	if t := n.Get("title"); t != nil {
		a.Title = one("title", t)
	}
	for i, who := range a.Approvers {
		role, isRole := strings.CutPrefix(who, "role:")
		if who == "" || isRole && !slices.Contains([]string{"operator", "developer", "admin"}, role) {
			n.Get("approvers").Wrong("give a user's name, or role:operator, role:developer or role:admin", "entry %d, %q, names nobody who may decide", i+1, who)
		}
	}
	if r := n.Get("reminder"); r != nil {
		a.Reminder = r.Duration()
	}
	if f := n.Get("form"); f != nil {
		if consent {
			f.Wrong("ask in a step of its own: wait: {approval: …}", "a form has no place here: nothing could read it")
		} else {
			a.Form = action.Items(f)
		}
	}
	if t := n.Get("timeout"); t != nil {
		if a.Timeout = t.Duration(); !consent {
			t.Wrong("write it beside approval, under wait", "timeout belongs to the wait")
		}
	}
	n.Only()
	return a
}
