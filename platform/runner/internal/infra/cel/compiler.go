// Package cel compiles and evaluates the expressions of workflows: CEL with the strings,
// math, lists, sets, encoders and optional extensions and a cost limit. It refuses what does not
// parse or names something that is not there, with the column.
package cel

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/ext"

	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// costLimit bounds one evaluation, in CEL's cost units: about one per basic operation.
const costLimit = 5_000_000

// Names that conditions reach by functions that look at the graph; a macro turns
// failed() and skipped("x") into them. Users cannot write them.
const (
	failedName  = "@failed"
	skippedName = "@skipped"
	brokenName  = "@failed_step"
	errorName   = "@error_of"
)

// Compiler is domain.Compiler with CEL. Safe for concurrent use.
type Compiler struct {
	mu   sync.Mutex
	envs map[string]*cel.Env
}

var _ domain.Compiler = (*Compiler)(nil)

// New makes a compiler.
func New() *Compiler { return &Compiler{envs: map[string]*cel.Env{}} }

// env gives the environment for what may be named; they differ by the forEach name only.
func (c *Compiler) env(e domain.Env) (*cel.Env, error) {
	key := fmt.Sprint(e.Item, e.Loop, e.Error)
	if e.Event {
		key = "\x00event"
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if env := c.envs[key]; env != nil {
		return env, nil
	}
	dynMap := cel.MapType(cel.StringType, cel.DynType)
	opts := []cel.EnvOption{
		cel.OptionalTypes(), ext.Strings(), ext.Math(), ext.Lists(), ext.Encoders(), ext.Sets(), cel.DefaultUTCTimeZone(true),
		cel.Macros(append(cel.StandardMacros, graphMacros()...)...),
		cel.Variable("vars", dynMap), cel.Variable("trigger", cel.DynType),
		cel.Variable(failedName, cel.BoolType), cel.Variable(skippedName, dynMap), cel.Variable(brokenName, dynMap), cel.Variable(errorName, dynMap),
	}
	if e.Loop {
		opts = append(opts, cel.Variable("pass", dynMap))
	}
	if e.Error {
		opts = append(opts, cel.Variable("error", dynMap))
	}
	if e.Event {
		opts = append(opts, cel.Variable("event", cel.DynType), cel.Variable("secrets", dynMap))
	} else {
		for _, root := range []string{"inputs", "steps", "run", "secrets"} {
			opts = append(opts, cel.Variable(root, dynMap))
		}
	}
	if e.Item != "" {
		opts = append(opts, cel.Variable(e.Item, cel.DynType))
	}
	env, err := cel.NewEnv(opts...)
	if err != nil {
		return nil, err
	}
	c.envs[key] = env
	return env, nil
}

// graphMacros are always(), failed(), and of one step: failed("step"), skipped("step"), errorOf("step").
func graphMacros() []cel.Macro {
	of := func(function, name string) cel.Macro {
		return cel.GlobalMacro(function, 1, func(f cel.MacroExprFactory, _ ast.Expr, args []ast.Expr) (ast.Expr, *common.Error) {
			if args[0].Kind() != ast.LiteralKind || args[0].AsLiteral().Type() != types.StringType {
				return nil, f.NewError(args[0].ID(), function+` wants the id of a step in quotes, as in `+function+`("x")`)
			}
			return f.NewCall("_[_]", f.NewIdent(name), args[0]), nil
		})
	}
	return []cel.Macro{
		cel.GlobalMacro("always", 0, func(f cel.MacroExprFactory, _ ast.Expr, _ []ast.Expr) (ast.Expr, *common.Error) {
			return f.NewLiteral(types.True), nil
		}),
		cel.GlobalMacro("failed", 0, func(f cel.MacroExprFactory, _ ast.Expr, _ []ast.Expr) (ast.Expr, *common.Error) {
			return f.NewIdent(failedName), nil
		}),
		of("skipped", skippedName), of("failed", brokenName), of("errorOf", errorName),
	}
}

// Text compiles an expression as written, with or without ${} around it.
func (c *Compiler) Text(text string, env domain.Env) (domain.Expression, error) {
	inner := strings.TrimSpace(text)
	if parts, err := split(inner); err == nil && len(parts) == 1 && parts[0].hole {
		inner = parts[0].text
	}
	return c.compile(inner, env)
}

// Value compiles JSON whose strings may hold ${…}.
func (c *Compiler) Value(raw json.RawMessage, env domain.Env) (domain.Expression, error) {
	if !json.Valid(raw) {
		return nil, fmt.Errorf("%.60s is not JSON", raw)
	}
	t, err := c.template(raw, env)
	if err != nil {
		return nil, err
	}
	if t.single != nil {
		return t.single, nil
	}
	return t.finish(raw), nil
}

// compile checks one expression.
func (c *Compiler) compile(text string, e domain.Env) (*expression, error) {
	if strings.TrimSpace(text) == "" {
		return nil, errors.New("the expression is empty")
	}
	env, err := c.env(e)
	if err != nil {
		return nil, err
	}
	parsed, issues := env.Compile(text)
	if issues.Err() != nil {
		return nil, words(text, issues)
	}
	prog, err := env.Program(parsed, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(costLimit))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", text, err)
	}
	x := &expression{text: text, item: e.Item, prog: prog}
	x.inspect(parsed.NativeRep().Expr())
	return x, nil
}

// words makes one line of what is wrong with an expression.
func words(text string, issues *cel.Issues) error {
	var parts []string
	for _, e := range issues.Errors() {
		msg, _, _ := strings.Cut(e.Message, "\n")
		msg = strings.ReplaceAll(msg, " (in container '')", "")
		if strings.HasPrefix(msg, "undeclared reference to") {
			msg += "; expressions know inputs, steps, trigger, vars, run, secrets, the forEach name, and where they belong pass and error"
		}
		if strings.Contains(msg, "no matching overload") && strings.Contains(msg, "double") {
			msg += "; write double(x) to use an integer with a float"
		}
		parts = append(parts, fmt.Sprintf("column %d: %s", e.Location.Column()+1, msg))
	}
	return fmt.Errorf("%s: %s", text, strings.Join(parts, "; "))
}

// expression is one compiled CEL expression.
type expression struct {
	text     string
	item     string
	prog     cel.Program
	ref      domain.Ref
	isRef    bool
	steps    []string
	inputs   []string
	tainted  bool
	tolerant bool
}

func (x *expression) Text() string                  { return x.text }
func (x *expression) Literal() (domain.Value, bool) { return nil, false }
func (x *expression) Ref() (domain.Ref, bool)       { return x.ref, x.isRef }
func (x *expression) Steps() []string               { return x.steps }
func (x *expression) Inputs() []string              { return x.inputs }
func (x *expression) Tainted() bool                 { return x.tainted }
func (x *expression) Tolerant() bool                { return x.tolerant }

// Eval computes the value as JSON.
func (x *expression) Eval(sc *domain.Scope) (domain.Value, error) {
	out, _, err := x.prog.Eval(activation{sc: sc, item: x.item})
	if err == nil {
		var v domain.Value
		if v, err = toJSON(out); err == nil {
			return v, nil
		}
	}
	var need *domain.NeedRefsError
	if errors.As(err, &need) {
		return nil, need
	}
	var se *domain.StepError
	if errors.As(err, &se) {
		return nil, se
	}
	return nil, &domain.StepError{Kind: "expression_error", Message: x.text + ": " + explain(err)}
}

// explain adds what to do about the usual mistakes.
func explain(err error) string {
	msg := err.Error()
	switch {
	case strings.Contains(msg, "no such overload"):
		return msg + "; the types do not fit: an integer and a float do not mix, write double(x)"
	case strings.Contains(msg, "no such key"):
		return msg + "; a step that was skipped has no outputs: read them as steps.x.?out.orValue(…)"
	case strings.Contains(msg, "cost limit"):
		return "it takes too long: an expression is limited to " + fmt.Sprint(costLimit) + " operations; do this in an action"
	}
	return msg
}

// inspect notes what the expression reads.
func (x *expression) inspect(root ast.Expr) {
	x.ref, x.isRef = plainRef(root, x.item)
	local := map[string]int{}
	var walk func(e ast.Expr)
	mention := func(target ast.Expr, name string) {
		if target.Kind() != ast.IdentKind || local[target.AsIdent()] > 0 {
			return
		}
		switch target.AsIdent() {
		case "steps":
			x.steps = add(x.steps, name)
		case "inputs":
			x.inputs = add(x.inputs, name)
		case skippedName, brokenName:
			x.steps, x.tolerant = add(x.steps, name), true
		case errorName:
			x.steps = add(x.steps, name)
		}
	}
	walk = func(e ast.Expr) {
		switch e.Kind() {
		case ast.IdentKind:
			switch e.AsIdent() {
			case "secrets":
				x.tainted = x.tainted || local["secrets"] == 0
			case failedName:
				x.tolerant = true
			}
		case ast.SelectKind:
			mention(e.AsSelect().Operand(), e.AsSelect().FieldName())
			walk(e.AsSelect().Operand())
		case ast.CallKind:
			call := e.AsCall()
			if args := call.Args(); len(args) == 2 && slices.Contains([]string{"_[_]", "_?._", "_[?_]"}, call.FunctionName()) {
				if args[1].Kind() == ast.LiteralKind {
					if s, ok := args[1].AsLiteral().Value().(string); ok {
						mention(args[0], s)
					}
				}
			}
			if call.IsMemberFunction() {
				walk(call.Target())
			}
			for _, a := range call.Args() {
				walk(a)
			}
		case ast.ListKind:
			for _, a := range e.AsList().Elements() {
				walk(a)
			}
		case ast.MapKind:
			for _, en := range e.AsMap().Entries() {
				walk(en.AsMapEntry().Key())
				walk(en.AsMapEntry().Value())
			}
		case ast.ComprehensionKind:
			c := e.AsComprehension()
			walk(c.IterRange())
			walk(c.AccuInit())
			names := []string{c.IterVar(), c.AccuVar(), c.IterVar2()}
			for _, n := range names {
				local[n]++
			}
			walk(c.LoopCondition())
			walk(c.LoopStep())
			walk(c.Result())
			for _, n := range names {
				local[n]--
			}
		}
	}
	walk(root)
	// always() leaves no trace in the tree: it is true. It still makes a condition tolerant.
	x.tolerant = x.tolerant || strings.Contains(strings.ReplaceAll(x.text, " ", ""), "always()")
}

func add(list []string, s string) []string {
	if slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}

// plainRef recognises what can be passed on undecoded.
func plainRef(e ast.Expr, item string) (domain.Ref, bool) {
	var names []string
	for e.Kind() == ast.SelectKind && !e.AsSelect().IsTestOnly() {
		names = append(names, e.AsSelect().FieldName())
		e = e.AsSelect().Operand()
	}
	if e.Kind() != ast.IdentKind {
		// steps.a["my-name"]
		if c := indexed(e); c != nil && len(names) == 0 {
			r, ok := plainRef(c.Args()[0], item)
			if s, str := c.Args()[1].AsLiteral().Value().(string); ok && str && r.Name == "" {
				r.Name = s
				return r, r.Root == "steps" && r.Step != "" || r.Root == "inputs" || r.Root == "vars"
			}
		}
		return domain.Ref{}, false
	}
	root := e.AsIdent()
	slices.Reverse(names)
	switch {
	case root == item && len(names) == 0:
		return domain.Ref{Root: root}, true
	case root == "steps" && len(names) == 1:
		return domain.Ref{Root: root, Step: names[0]}, true
	case root == "steps" && len(names) == 2:
		return domain.Ref{Root: root, Step: names[0], Name: names[1]}, true
	case (root == "inputs" || root == "vars") && len(names) == 1:
		return domain.Ref{Root: root, Name: names[0]}, true
	case (root == "inputs" || root == "vars" || root == "trigger" || root == "event") && len(names) == 0:
		return domain.Ref{Root: root}, true
	}
	return domain.Ref{}, false
}

func indexed(e ast.Expr) ast.CallExpr {
	if e.Kind() != ast.CallKind || e.AsCall().FunctionName() != "_[_]" || e.AsCall().Args()[1].Kind() != ast.LiteralKind {
		return nil
	}
	return e.AsCall()
}
