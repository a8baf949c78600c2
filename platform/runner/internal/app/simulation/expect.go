package simulation

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/pelton-run/pelton/functions/formats/expr"
	"github.com/pelton-run/pelton/functions/formats/wftest"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// compare holds the ended run to what the test expects.
func (w *world) compare(root *run) []Failure {
	c := comparison{w: w, r: root, detail: app.Detail(root.summary(), root.s), m: wftest.Matcher{Files: map[string]json.RawMessage{}, Read: w.read}}
	for path, v := range w.order.Files {
		c.m.Files[path] = v
	}
	c.status()
	for _, v := range w.order.Test.Expect.Result {
		c.match("result."+v.Name, v, root.s.Result[v.Name])
	}
	c.failure()
	for _, s := range w.order.Test.Expect.Steps {
		c.step(s)
	}
	for i, text := range w.order.Test.Checks {
		c.check(fmt.Sprintf("check[%d]", i), text)
	}
	return c.out
}

// comparison gathers what differs.
type comparison struct {
	w      *world
	r      *run
	detail app.RunDetail
	m      wftest.Matcher
	out    []Failure
}

func (c *comparison) add(at wftest.Place, f Failure) {
	f.Line, f.Column = at.Line, at.Column
	c.out = append(c.out, f)
}

// maxRead bounds the files that expectations look into.
const maxRead = 8 << 20

// read gives the content of a file value.
func (w *world) read(file map[string]any) ([]byte, error) {
	digest, _ := file["$file"].(string)
	r, size, err := w.deps.Files.Open(w.ctx, w.order.Project, digest)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	if size > maxRead {
		return nil, fmt.Errorf("the file has %d bytes; what is compared has at most %d", size, maxRead)
	}
	return io.ReadAll(r)
}

// value gives v itself, or what it refers to in the filestore.
func (w *world) value(v domain.Value) (domain.Value, error) {
	ref, ok := domain.AsBlobRef(v)
	if !ok {
		return v, nil
	}
	out, err := app.ReadBlob(w.ctx, w.deps.Files, w.order.Project, ref)
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (c *comparison) match(what string, want wftest.Value, got domain.Value) {
	got, err := c.w.value(got)
	if err != nil {
		c.add(want.Place, Failure{What: what, Message: err.Error()})
		return
	}
	for _, d := range c.m.Match(what, want.JSON, got) {
		c.add(want.Place, Failure{What: d.Path, Expected: d.Expected, Got: d.Got})
	}
}

func (c *comparison) status() {
	e := &c.w.order.Test.Expect
	want := e.Status
	if want.Text == "" {
		want.Text = string(domain.RunCompleted)
		if e.Error != nil {
			want.Text = string(domain.RunFailed)
		}
	}
	got := string(c.r.s.Status)
	if got == want.Text {
		return
	}
	if err := c.r.s.Err; err != nil {
		at := ""
		if c.detail.ErrorStep != "" {
			at = " at step " + c.detail.ErrorStep
		}
		got += fmt.Sprintf("%s: %s: %s", at, err.Kind, err.Message)
	}
	c.add(want.Place, Failure{What: "status", Expected: want.Text, Got: got})
}

func (c *comparison) failure() {
	err := c.r.s.Err
	if err == nil {
		return // told by status
	}
	fields := map[string]string{"kind": err.Kind, "message": err.Message, "code": err.Code, "field": err.Field, "step": c.detail.ErrorStep}
	for _, v := range c.w.order.Test.Expect.Error {
		got, _ := json.Marshal(fields[v.Name])
		c.match("error."+v.Name, v, got)
	}
}

// step compares all runs of a step.
func (c *comparison) step(want wftest.Step) {
	var own []app.StepRun // its runs, and before its items the forEach or loop itself
	for _, s := range c.detail.Steps {
		if s.Step == want.ID {
			own = append(own, s)
		}
	}
	what := "steps." + want.ID
	if len(own) == 0 {
		c.add(want.Place, Failure{What: what, Message: "the run did not come that far"})
		return
	}
	holds := func(s app.StepRun) bool { // s has items, which follow it
		return slices.ContainsFunc(own, func(x app.StepRun) bool {
			return len(x.ItemPath) == len(s.ItemPath)+1 && slices.Equal(x.ItemPath[:len(s.ItemPath)], s.ItemPath)
		})
	}
	for _, s := range own {
		parent := holds(s)
		inner := len(s.ItemPath) > 0 && slices.ContainsFunc(own, func(x app.StepRun) bool {
			return len(x.ItemPath) == len(s.ItemPath)-1 && slices.Equal(x.ItemPath, s.ItemPath[:len(x.ItemPath)])
		})
		at := what + item(s.ItemPath)
		if want.Status.Text != "" && !inner && string(s.State) != want.Status.Text {
			c.add(want.Status.Place, Failure{What: at + ".status", Expected: want.Status.Text, Got: stateOf(s)})
		}
		if want.Attempts != nil && !parent && len(s.Attempts) != want.Attempts.N {
			c.add(want.Attempts.Place, Failure{What: at + ".attempts", Expected: strconv.Itoa(want.Attempts.N), Got: attemptsOf(s)})
		}
	}
	c.items(what, want, own)
	if want.Outputs != nil {
		c.outputs(what, *want.Outputs, own)
	}
}

func item(path []int32) string {
	var b strings.Builder
	for _, i := range path {
		fmt.Fprintf(&b, "[%d]", i)
	}
	return b.String()
}

func stateOf(s app.StepRun) string {
	got := string(s.State)
	if s.Error != nil {
		got += ": " + s.Error.Kind + ": " + s.Error.Message
	} else if s.Reason != "" {
		got += ": " + s.Reason
	}
	return got
}

func attemptsOf(s app.StepRun) string {
	got := strconv.Itoa(len(s.Attempts))
	for i, a := range s.Attempts {
		sep := ", "
		if i == 0 {
			sep = ": "
		}
		got += sep + string(a.State)
		if a.Error != nil {
			got += " (" + a.Error.Kind + ")"
		}
	}
	return got
}

// items compares the number of items: of a forEach, the passes of a loop, a list result, or the
// passages that a list result before it made.
func (c *comparison) items(what string, want wftest.Step, own []app.StepRun) {
	if want.Items == nil {
		return
	}
	n := own[0].Items
	if n < 0 {
		if n = len(own); n == 1 && len(own[0].ItemPath) == 0 {
			c.add(want.Items.Place, Failure{What: what + ".items", Expected: strconv.Itoa(want.Items.N), Got: "it is no list"})
			return
		}
	}
	if n != want.Items.N {
		c.add(want.Items.Place, Failure{What: what + ".items", Expected: strconv.Itoa(want.Items.N), Got: strconv.Itoa(n)})
	}
}

func (c *comparison) outputs(what string, want wftest.Value, own []app.StepRun) {
	v, _ := c.r.s.FinalScope().Step(own[0].Step)
	var got any = domain.Values{}
	switch {
	case v.IsList:
		got = v.Outputs
	case len(v.Outputs) > 0:
		got = v.Outputs[0]
	case len(own[0].ItemPath) > 0: // passages
		list := []domain.Values{}
		for _, s := range own {
			list = append(list, s.Outputs...)
		}
		got = list
	}
	raw, err := json.Marshal(got)
	if err != nil {
		c.add(want.Place, Failure{What: what + ".outputs", Message: err.Error()})
		return
	}
	c.match(what+".outputs", want, raw)
}

// check evaluates an expression over the ended run. One that is not true tells what it read.
func (c *comparison) check(what string, text wftest.Text) {
	e, err := c.w.deps.Compiler.Text(text.Text, domain.Env{Steps: stepNames(c.r.s.Plan)})
	var v domain.Value
	if err == nil {
		v, err = c.eval(e)
	}
	if err != nil {
		c.add(text.Place, Failure{What: what, Message: fmt.Sprintf("%s cannot be evaluated: %s", text.Text, err)})
		return
	}
	if string(v) == "true" {
		return
	}
	f := Failure{What: what, Expected: text.Text, Got: string(v)}
	var read []string
	refs, _ := expr.Refs(text.Text) // the reader of the format has checked it
	for _, ref := range refs {
		name := ref.Root
		for _, part := range []string{ref.Step, ref.Name} {
			if part != "" {
				name += "." + part
			}
		}
		if ref.Root == "secrets" || slices.ContainsFunc(read, func(s string) bool { return strings.HasPrefix(s, name+" = ") }) {
			continue
		}
		if e, err := c.w.deps.Compiler.Text(name, domain.Env{Steps: stepNames(c.r.s.Plan)}); err == nil {
			if v, err := c.eval(e); err == nil && len(v) < 500 {
				read = append(read, name+" = "+string(v))
			}
		}
	}
	if read != nil {
		f.Got += ", with " + strings.Join(read, ", ")
	}
	c.add(text.Place, f)
}

// eval computes an expression over the ended run, loading values from the filestore.
func (c *comparison) eval(e domain.Expression) (domain.Value, error) {
	for range 200 {
		v, err := evalOnce(e, c.r.s.FinalScope())
		var need *domain.NeedRefsError
		if !errors.As(err, &need) {
			return v, err
		}
		for _, ref := range need.Refs {
			v, serr := app.ReadBlob(c.w.ctx, c.w.deps.Files, c.w.order.Project, ref)
			if _, err := c.r.s.Handle(domain.EventLoaded{Digest: ref.Digest, Value: v, Err: serr}, c.w.clock(), 0); err != nil {
				return nil, err
			}
		}
	}
	return nil, errors.New("it reads too many values that lie in the filestore")
}

func evalOnce(e domain.Expression, sc *domain.Scope) (domain.Value, error) {
	if v, ok := e.Literal(); ok {
		return v, nil
	}
	if r, ok := e.Ref(); ok {
		v, ok := sc.Resolve(r)
		if !ok {
			return domain.Value("null"), nil
		}
		return sc.Load(v)
	}
	return e.Eval(sc)
}
