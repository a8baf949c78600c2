package domain_test

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"
	"sort"
	"strings"

	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// world is what actions do, fixed by a seed: the outcome of a try depends on nothing else.
type world struct{ seed uint64 }

func (w world) draw(parts ...any) uint64 {
	h := fnv.New64a()
	fmt.Fprint(h, w.seed)
	for _, p := range parts {
		fmt.Fprintf(h, "|%v", p)
	}
	x := h.Sum64()
	x ^= x >> 33 // fnv's low bits are weak
	x *= 0xff51afd7ed558ccd
	return x ^ x>>33
}

// try is what the n-th try (lost ones not counted) of a step run comes to.
func (w world) try(step string, path []int32, n int, inputs domain.Values) (outputs []domain.Values, list bool, failed bool) {
	if w.draw("fail", step, path, n)%100 < 22 {
		return nil, false, true
	}
	one := func(i int) domain.Values {
		in, _ := json.Marshal(inputs)
		elems := make([]string, w.draw("len", step, path, i)%4)
		for j := range elems {
			elems[j] = fmt.Sprint(w.draw("elem", step, path, i, j) % 10)
		}
		return domain.Values{
			"out":  domain.Value(fmt.Sprint(w.draw("out", step, path, i, string(in)) % 1000)),
			"flag": domain.Value(fmt.Sprint(w.draw("flag", step, path, i) % 2)),
			"list": domain.Value("[" + strings.Join(elems, ",") + "]"),
		}
	}
	if w.draw("kind", step)%5 == 0 { // a step whose handler returns lists
		for i := range int(w.draw("items", step, path) % 4) {
			outputs = append(outputs, one(i))
		}
		return outputs, true, false
	}
	return []domain.Values{one(0)}, false, false
}

// approves is what people decide, fixed as well.
func (w world) approves(step string, path []int32) bool { return w.draw("approve", step, path)%4 > 0 }

// reference carries out a workflow by plain recursion, one step after the other: no events,
// no order of arrival, no crashes.
type reference struct {
	w     world
	def   domain.Definition
	trees map[string]*tree
}

// tree is a step at one place: a leaf, or one child per item of opener's list.
type tree struct {
	state    domain.StepState
	outputs  []domain.Values
	list     bool // a list result
	loop     bool // a forEach
	caught   bool // failed, and that is caught
	passes   bool // a loop: children are its passes
	cases    string
	opener   string
	children []*tree
}

func (r *reference) spec(id string) domain.StepSpec {
	for _, s := range r.def.Steps {
		if s.ID == id {
			return s
		}
	}
	panic(id)
}

func (r *reference) run() {
	r.trees = map[string]*tree{}
	for _, s := range r.def.Steps { // a step needs earlier ones only
		r.trees[s.ID] = r.at(s, nil)
	}
}

// see gives what a reader at path sees of a step, and the depth at which that lies.
func (r *reference) see(id string, path []int32) (t *tree, depth int) {
	t = r.trees[id]
	for t.opener != "" && depth < len(path) {
		t = t.children[path[depth]]
		depth++
	}
	return t, depth
}

// opens tells whose list splits a reader at path, "" if none.
func (r *reference) opens(id string, path []int32) (opener string, n int) {
	t, depth := r.see(id, path)
	if t.opener != "" {
		return t.opener, len(t.children)
	}
	if t.list && depth == len(path) {
		return id, len(t.outputs)
	}
	return "", 0
}

func (r *reference) at(s domain.StepSpec, path []int32) *tree {
	opener, n := "", 0
	for _, need := range s.Needs {
		o, c := r.opens(need, path)
		if need == s.Collect {
			continue
		}
		if o == "" || o == opener {
			continue
		}
		if opener != "" {
			return r.fail(s) // ambiguous
		}
		opener, n = o, c
	}
	if opener == "" {
		return r.leaf(s, path)
	}
	t := &tree{opener: opener}
	for i := range n {
		t.children = append(t.children, r.at(s, append(append([]int32{}, path...), int32(i))))
	}
	return t
}

func (r *reference) value(id, name string, path []int32) domain.Value {
	t, depth := r.see(id, path)
	switch {
	case t.state != domain.StepCompleted || t.loop:
		return nil
	case t.list && depth < len(path):
		return t.outputs[path[depth]][name]
	case t.list:
		return nil
	}
	return t.outputs[0][name]
}

// fail is a failure, or what catch makes of it.
func (r *reference) fail(s domain.StepSpec) *tree {
	t := &tree{state: domain.StepFailed}
	if len(s.Catch) > 0 {
		t.caught = true
		if s.Catch[0].Outputs != nil {
			t.state = domain.StepCompleted
			t.outputs = []domain.Values{{"out": domain.Value("5"), "flag": domain.Value("1"), "list": domain.Value("[1]")}}
		}
	}
	return t
}

// broken tells that a passage of a split step failed and nothing caught that.
func (t *tree) broken() bool {
	if t.opener == "" {
		return t.state == domain.StepFailed && !t.caught
	}
	for _, c := range t.children {
		if c.broken() {
			return true
		}
	}
	return false
}

// chosen tells whether the switch that lists a step lets it run.
func (r *reference) chosen(s domain.StepSpec, path []int32) bool {
	for _, sw := range r.def.Steps {
		for c, ids := range sw.Cases {
			if slices.Contains(ids, s.ID) {
				t, _ := r.see(sw.ID, path)
				return t.state != domain.StepCompleted || t.cases == c
			}
		}
		if slices.Contains(sw.Default, s.ID) {
			t, _ := r.see(sw.ID, path)
			return t.state != domain.StepCompleted || t.cases != "0" && t.cases != "1"
		}
	}
	return true
}

func (r *reference) leaf(s domain.StepSpec, path []int32) *tree {
	if !r.chosen(s, path) {
		return &tree{state: domain.StepSkipped}
	}
	completed := 0
	for _, need := range s.Needs {
		t, _ := r.see(need, path)
		switch {
		case need == s.Collect && t.opener != "":
			if !t.broken() {
				completed++
			}
		case t.state == domain.StepCompleted || t.caught:
			completed++
		}
	}
	tolerant := strings.Contains(s.If, "()") || strings.Contains(s.If, "skipped")
	if !tolerant && (s.Join == "any" && len(s.Needs) > 0 && completed == 0 || s.Join == "" && completed < len(s.Needs)) {
		return &tree{state: domain.StepSkipped}
	}
	if s.If != "" && !r.condition(s, path) {
		return &tree{state: domain.StepSkipped}
	}
	switch {
	case s.Kind == "wait" && s.Wait.Approval != nil && !r.w.approves(s.ID, path):
		return r.fail(s)
	case s.Kind == "wait" || s.Kind == "collect":
		return &tree{state: domain.StepCompleted, outputs: []domain.Values{{}}}
	case s.Kind == "switch":
		return &tree{state: domain.StepCompleted, cases: orNull(r.value(s.Needs[0], "flag", path)), outputs: []domain.Values{{}}}
	case s.Loop != nil:
		return r.passes(s, path)
	case s.ForEach == nil:
		return r.attempts(s, path, path, nil)
	}
	list := domain.Value(s.ForEach.In)
	if id, name, ok := strings.Cut(strings.TrimPrefix(s.ForEach.In, "steps."), "."); ok {
		list = r.value(id, name, path)
	}
	var items []json.RawMessage
	if json.Unmarshal(list, &items) != nil || list == nil {
		t := r.fail(s)
		t.loop = t.state == domain.StepFailed
		return t
	}
	t := &tree{state: domain.StepCompleted, loop: true}
	for i, it := range items {
		c := r.attempts(s, append(append([]int32{}, path...), int32(i)), path, it)
		if c.broken() && s.ForEach.OnError != "skip" && s.ForEach.OnError != "collect" {
			t.state = domain.StepFailed
		}
		t.children = append(t.children, c)
	}
	return t
}

// passes repeats a step until it says so, or too often.
func (r *reference) passes(s domain.StepSpec, path []int32) *tree {
	t := &tree{passes: true}
	for i := range s.Loop.Max {
		c := r.attempts(s, append(append([]int32{}, path...), int32(i)), path, nil)
		t.children = append(t.children, c)
		if c.broken() {
			t.state = domain.StepFailed
			return t
		}
		if len(c.outputs) > 0 && string(c.outputs[0]["flag"]) == "1" {
			t.state, t.outputs, t.list = domain.StepCompleted, c.outputs, c.list
			return t
		}
	}
	f := r.fail(s)
	f.passes, f.children = true, t.children
	if f.state == domain.StepCompleted { // a loop's outputs are its last pass's, whatever catch gives
		last := t.children[len(t.children)-1]
		f.outputs, f.list = last.outputs, last.list
	}
	return f
}

func (r *reference) condition(s domain.StepSpec, path []int32) bool {
	switch {
	case s.If == "always()":
		return true
	case s.If == "failed()":
		for id := range r.ancestors(s.ID) {
			if t, _ := r.see(id, path); t.state == domain.StepFailed {
				return true
			}
		}
		return false
	case strings.HasPrefix(s.If, "skipped("):
		t, _ := r.see(strings.Trim(s.If[8:len(s.If)-1], `"`), path)
		return t.state == domain.StepSkipped
	}
	id, _, _ := strings.Cut(strings.TrimPrefix(s.If, "steps."), ".")
	return string(r.value(id, "flag", path)) == "1"
}

func (r *reference) ancestors(id string) map[string]bool {
	out := map[string]bool{}
	for _, n := range r.spec(id).Needs {
		out[n] = true
		for a := range r.ancestors(n) {
			out[a] = true
		}
	}
	return out
}

func (r *reference) attempts(s domain.StepSpec, path, passage []int32, item domain.Value) *tree {
	in := domain.Values{}
	for _, need := range s.Needs {
		if v := r.value(need, "out", passage); v != nil {
			in["in_"+need] = v
		}
	}
	if item != nil {
		in["item"] = item
	}
	limit := 1
	if s.Retry != nil {
		limit = s.Retry.Attempts
	}
	if s.Approval != nil && (s.Loop == nil || path[len(path)-1] == 0) && !r.w.approves(s.ID, path) {
		return r.fail(s)
	}
	for n := 1; n <= limit; n++ {
		if out, list, failed := r.w.try(s.ID, path, n, in); !failed {
			return &tree{state: domain.StepCompleted, outputs: out, list: list}
		}
	}
	return r.fail(s)
}

// states gives the state of every step run by "step path"; the items of a failed forEach are
// left out: which of them ran depends on the order of arrival.
func (r *reference) states() map[string]string {
	out := map[string]string{}
	var walk func(id string, path []int32, t *tree)
	walk = func(id string, path []int32, t *tree) {
		if t.opener == "" || len(t.children) == 0 {
			st := t.state
			if t.opener != "" {
				st = domain.StepSkipped
			}
			out[fmt.Sprint(id, path)] = string(st) + " " + outputsText(t.outputs)
		}
		if t.loop && t.state == domain.StepFailed {
			return
		}
		for i, c := range t.children {
			walk(id, append(append([]int32{}, path...), int32(i)), c)
		}
	}
	for id, t := range r.trees {
		walk(id, []int32{}, t)
	}
	return out
}

func outputsText(outputs []domain.Values) string {
	var parts []string
	for _, o := range outputs {
		b, _ := json.Marshal(o)
		parts = append(parts, string(b))
	}
	return strings.Join(parts, ",")
}

// result gives the run's state and, when it completed, its result entries.
func (r *reference) result() (domain.RunState, map[string]string) {
	failed := false
	var walk func(t *tree)
	walk = func(t *tree) {
		failed = failed || t.state == domain.StepFailed && !t.caught
		if t.loop || t.passes { // its children count through it
			return
		}
		for _, c := range t.children {
			walk(c)
		}
	}
	for _, t := range r.trees {
		walk(t)
	}
	if failed {
		return domain.RunFailed, nil
	}
	out := map[string]string{}
	for name, text := range r.def.Result {
		id, _, _ := strings.Cut(strings.TrimPrefix(text, "${steps."), ".")
		out[name] = r.entry(id, nil)
	}
	return domain.RunCompleted, out
}

func (r *reference) entry(id string, path []int32) string {
	if o, _ := r.opens(id, path); o == "" {
		return orNull(r.value(id, "out", path))
	}
	return "[" + strings.Join(r.flat(id, path), ",") + "]"
}

func (r *reference) flat(id string, path []int32) []string {
	o, n := r.opens(id, path)
	if o == "" {
		return []string{orNull(r.value(id, "out", path))}
	}
	var out []string
	for i := range n {
		out = append(out, r.flat(id, append(append([]int32{}, path...), int32(i)))...)
	}
	return out
}

func orNull(v domain.Value) string {
	if v == nil {
		return "null"
	}
	return string(v)
}

func sortedText(m map[string]string) string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	var b strings.Builder
	for _, k := range keys {
		fmt.Fprintf(&b, "%s = %s\n", k, m[k])
	}
	return b.String()
}
