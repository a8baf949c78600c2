// Package domaintest holds what tests of the state machine and of the engine share: a tiny
// expression language with the same properties as the real one.
//
// A value is JSON; a string that is exactly ${x} keeps its type, other strings that hold
// ${x} are text. x is a reference (inputs.a, steps.s.out, vars.v, secrets.s, trigger, event,
// the forEach name, pass.index, pass.last.x, error.kind), or one of: always() failed() failed("s") skipped("s") ref == json, ref != json,
// size(ref), error("text").
package domaintest

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// Compiler is the tiny language.
type Compiler struct{}

var hole = regexp.MustCompile(`\$\{([^}]*)\}`)

// Value compiles JSON whose strings may hold ${…}.
func (Compiler) Value(raw json.RawMessage, env domain.Env) (domain.Expression, error) {
	if !json.Valid(raw) {
		return nil, fmt.Errorf("%s is not JSON", raw)
	}
	x := &expression{text: string(raw), env: env}
	holes := hole.FindAllStringSubmatch(string(raw), -1)
	if len(holes) == 0 {
		x.literal = raw
		return x, nil
	}
	for _, h := range holes {
		if err := x.read(h[1]); err != nil {
			return nil, err
		}
	}
	if len(holes) == 1 && string(raw) == `"`+holes[0][0]+`"` {
		x.text = strings.ReplaceAll(holes[0][1], `\"`, `"`)
		x.single = true
		x.plain()
	}
	return x, nil
}

// Text compiles an expression with or without ${}.
func (c Compiler) Text(text string, env domain.Env) (domain.Expression, error) {
	text = strings.TrimSuffix(strings.TrimPrefix(text, "${"), "}")
	x := &expression{text: text, env: env, single: true}
	if json.Valid([]byte(text)) {
		x.literal = domain.Value(text)
		return x, nil
	}
	if err := x.read(text); err != nil {
		return nil, err
	}
	x.plain()
	return x, nil
}

type expression struct {
	text     string
	env      domain.Env
	single   bool
	literal  domain.Value
	ref      *domain.Ref
	steps    []string
	inputs   []string
	tainted  bool
	tolerant bool
}

var refRule = regexp.MustCompile(`^[a-z_]+(\.[A-Za-z0-9_]+)*$`)
var mention = regexp.MustCompile(`\b(steps|inputs|secrets)\.([A-Za-z0-9_]+)`)

func (x *expression) read(text string) error {
	for _, m := range mention.FindAllStringSubmatch(text, -1) {
		switch m[1] {
		case "steps":
			if !slices.Contains(x.steps, m[2]) {
				x.steps = append(x.steps, m[2])
			}
		case "inputs":
			if !slices.Contains(x.inputs, m[2]) {
				x.inputs = append(x.inputs, m[2])
			}
		case "secrets":
			x.tainted = true
		}
	}
	x.tolerant = x.tolerant || strings.Contains(text, "always()") || strings.Contains(text, "failed(") || strings.Contains(text, "skipped(")
	if strings.Contains(text, "nonsense") {
		return fmt.Errorf("nonsense is not defined")
	}
	return nil
}

// plain notes a plain reference.
func (x *expression) plain() {
	if !refRule.MatchString(x.text) {
		return
	}
	p := strings.Split(x.text, ".")
	r := domain.Ref{Root: p[0]}
	switch {
	case p[0] == "steps" && len(p) == 2:
		r.Step = p[1]
	case p[0] == "steps" && len(p) == 3:
		r.Step, r.Name = p[1], p[2]
	case len(p) == 2 && p[0] != x.env.Item:
		r.Name = p[1]
	case len(p) == 1:
	default:
		return
	}
	x.ref = &r
}

func (x *expression) Text() string                  { return x.text }
func (x *expression) Literal() (domain.Value, bool) { return x.literal, x.literal != nil }
func (x *expression) Steps() []string               { return x.steps }
func (x *expression) Inputs() []string              { return x.inputs }
func (x *expression) Tainted() bool                 { return x.tainted }
func (x *expression) Tolerant() bool                { return x.tolerant }
func (x *expression) Ref() (domain.Ref, bool) {
	if x.ref == nil {
		return domain.Ref{}, false
	}
	return *x.ref, true
}

// Eval computes the value.
func (x *expression) Eval(sc *domain.Scope) (domain.Value, error) {
	if x.literal != nil {
		return x.literal, nil
	}
	if x.single {
		return x.eval(x.text, sc)
	}
	var failed error
	out := hole.ReplaceAllStringFunc(x.text, func(h string) string {
		v, err := x.eval(h[2:len(h)-1], sc)
		if err != nil {
			failed = err
		}
		return strings.Trim(string(v), `"`)
	})
	return domain.Value(out), failed
}

func (x *expression) eval(text string, sc *domain.Scope) (domain.Value, error) {
	text = strings.TrimSpace(text)
	for _, op := range []string{"==", "!="} {
		if a, b, ok := strings.Cut(text, op); ok {
			v, err := x.eval(a, sc)
			if err != nil {
				return nil, err
			}
			return boolean((string(v) == strings.TrimSpace(b)) == (op == "==")), nil
		}
	}
	switch {
	case text == "always()":
		return domain.Value("true"), nil
	case text == "failed()":
		return boolean(sc.Failed()), nil
	case strings.HasPrefix(text, "failed("):
		return boolean(sc.FailedStep(strings.Trim(text[7:len(text)-1], `"`))), nil
	case strings.HasPrefix(text, "pass.last."):
		_, last, _ := sc.Loop()
		if v, ok := last[strings.TrimPrefix(text, "pass.last.")]; ok {
			return v, nil
		}
		return domain.Value("null"), nil
	case strings.HasPrefix(text, "skipped("):
		return boolean(sc.Skipped(strings.Trim(text[8:len(text)-1], `"`))), nil
	case strings.HasPrefix(text, "error("):
		return nil, &domain.StepError{Kind: "expression_error", Message: strings.Trim(text[6:len(text)-1], `"`)}
	case strings.HasPrefix(text, "size("):
		v, err := x.eval(text[5:len(text)-1], sc)
		if err != nil {
			return nil, err
		}
		var items []json.RawMessage
		if json.Unmarshal(v, &items) != nil || items == nil {
			return nil, &domain.StepError{Kind: "invalid_input", Message: "a list is wanted"}
		}
		return domain.Value(fmt.Sprint(len(items))), nil
	}
	if json.Valid([]byte(text)) {
		return domain.Value(text), nil
	}
	r := expression{text: text, env: x.env}
	r.plain()
	if r.ref == nil {
		return nil, fmt.Errorf("%q is not understood", text)
	}
	if r.ref.Root == "secrets" {
		s, ok := sc.Secret(r.ref.Name)
		if !ok {
			return nil, &domain.StepError{Kind: "invalid_input", Message: "the secret " + r.ref.Name + " is not set"}
		}
		return json.Marshal(s)
	}
	if (r.ref.Root == "event" || r.ref.Root == "trigger") && r.ref.Name != "" {
		var m map[string]json.RawMessage
		_ = json.Unmarshal(sc.Trigger(), &m)
		return m[r.ref.Name], nil
	}
	return sc.Read(*r.ref)
}

func boolean(b bool) domain.Value {
	if b {
		return domain.Value("true")
	}
	return domain.Value("false")
}
