// Package expr reads the expressions of workflows: CEL inside ${…}.
package expr

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/ext"
)

// Ref is something that an expression reads. errorOf("a"), failed("a") and skipped("a") read the
// step a without any of its outputs.
type Ref struct {
	Root     string // inputs trigger steps run vars secrets event pass error, or a forEach name
	Step     string // steps.<Step>
	Name     string // the output, input, variable or secret
	Sub      string // what is read of Name: steps.a.picture.<Sub>, pass.last.<Sub>
	Optional bool   // read with .?
}

// Texts are the expressions inside a value as written, without ${}. $${ stands for the characters.
func Texts(raw json.RawMessage) ([]string, error) {
	if len(raw) == 0 || !strings.Contains(string(raw), "${") {
		return nil, nil
	}
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		return nil, err
	}
	var out []string
	err := walk(v, func(s string) error {
		texts, err := split(s)
		out = append(out, texts...)
		return err
	})
	return out, err
}

func walk(v any, f func(string) error) error {
	switch x := v.(type) {
	case string:
		return f(x)
	case []any:
		for _, e := range x {
			if err := walk(e, f); err != nil {
				return err
			}
		}
	case map[string]any:
		for _, e := range x {
			if err := walk(e, f); err != nil {
				return err
			}
		}
	}
	return nil
}

// split finds ${…} in a text; braces inside count, quotes hide them.
func split(s string) ([]string, error) {
	var out []string
	for i := 0; i < len(s); i++ {
		if strings.HasPrefix(s[i:], "$${") {
			i += 2
			continue
		}
		if !strings.HasPrefix(s[i:], "${") {
			continue
		}
		end, err := closing(s, i+2)
		if err != nil {
			return nil, err
		}
		out = append(out, s[i+2:end])
		i = end
	}
	return out, nil
}

func closing(s string, from int) (int, error) {
	depth := 1
	var quote byte
	for i := from; i < len(s); i++ {
		c := s[i]
		switch {
		case quote != 0:
			if c == '\\' {
				i++
			} else if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '{':
			depth++
		case c == '}':
			if depth--; depth == 0 {
				return i, nil
			}
		}
	}
	return 0, errors.New("a ${ is not closed")
}

// Whole tells whether a value is exactly one plain reference, ${steps.a.b}.
func Whole(raw json.RawMessage) (Ref, bool) {
	var s string
	if json.Unmarshal(raw, &s) != nil || !strings.HasPrefix(s, "${") || !strings.HasSuffix(s, "}") {
		return Ref{}, false
	}
	parts := strings.Split(strings.TrimSpace(s[2:len(s)-1]), ".")
	for _, p := range parts {
		if p == "" || strings.ContainsAny(p, " ()[]{}+-*/?:<>=!&|\"'") {
			return Ref{}, false
		}
	}
	switch {
	case len(parts) == 3 && parts[0] == "steps":
		return Ref{Root: "steps", Step: parts[1], Name: parts[2]}, true
	case len(parts) == 2:
		return Ref{Root: parts[0], Name: parts[1]}, true
	}
	return Ref{}, false
}

var environment = sync.OnceValues(func() (*cel.Env, error) {
	return cel.NewEnv(cel.OptionalTypes(), ext.Strings(), ext.Math(), ext.Lists(), ext.Encoders(), ext.Sets())
})

// Refs parses an expression and tells what it reads. Names that a macro binds (map, filter, …) are left out.
func Refs(text string) ([]Ref, error) {
	if strings.TrimSpace(text) == "" {
		return nil, errors.New("it is empty")
	}
	env, err := environment()
	if err != nil {
		return nil, err
	}
	parsed, issues := env.Parse(text)
	if issues.Err() != nil {
		first := issues.Errors()[0]
		return nil, fmt.Errorf("%s at column %d", strings.TrimPrefix(first.Message, "Syntax error: "), first.Location.Column()+1)
	}
	var out []Ref
	collect(parsed.NativeRep().Expr(), map[string]bool{}, &out)
	for _, ref := range out {
		if ref.Root == "" {
			return nil, fmt.Errorf(`%s wants the id of a step in quotes, as in %s("x")`, ref.Name, ref.Name)
		}
	}
	return out, nil
}

// about is what a call asks of a step: errorOf("a"), failed("a"), skipped("a"). Its root is empty
// where the argument is no text that can be told beforehand.
func about(c ast.CallExpr) (Ref, bool) {
	if name := c.FunctionName(); c.IsMemberFunction() || len(c.Args()) != 1 || (name != "errorOf" && name != "failed" && name != "skipped") {
		return Ref{}, false
	}
	if a := c.Args()[0]; a.Kind() == ast.LiteralKind {
		if id, ok := a.AsLiteral().Value().(string); ok && id != "" {
			return Ref{Root: "steps", Step: id, Optional: true}, true
		}
	}
	return Ref{Name: c.FunctionName()}, true
}

func collect(e ast.Expr, bound map[string]bool, out *[]Ref) {
	if ref, ok := reference(e); ok {
		if !bound[ref.Root] {
			*out = append(*out, ref)
		}
		return
	}
	switch e.Kind() {
	case ast.SelectKind:
		collect(e.AsSelect().Operand(), bound, out)
	case ast.CallKind:
		c := e.AsCall()
		if ref, ok := about(c); ok {
			*out = append(*out, ref)
			return
		}
		if c.IsMemberFunction() {
			collect(c.Target(), bound, out)
		}
		for _, a := range c.Args() {
			collect(a, bound, out)
		}
	case ast.ListKind:
		for _, x := range e.AsList().Elements() {
			collect(x, bound, out)
		}
	case ast.MapKind:
		for _, x := range e.AsMap().Entries() {
			entry := x.AsMapEntry()
			collect(entry.Key(), bound, out)
			collect(entry.Value(), bound, out)
		}
	case ast.ComprehensionKind:
		c := e.AsComprehension()
		collect(c.IterRange(), bound, out)
		collect(c.AccuInit(), bound, out)
		inner := map[string]bool{c.IterVar(): true, c.AccuVar(): true}
		if c.HasIterVar2() {
			inner[c.IterVar2()] = true
		}
		for k := range bound {
			inner[k] = true
		}
		collect(c.LoopCondition(), inner, out)
		collect(c.LoopStep(), inner, out)
		collect(c.Result(), inner, out)
	}
}

// reference reads root.name, steps.step.name, with .?, ["…"] or has() on the way.
func reference(e ast.Expr) (Ref, bool) {
	root, path, optional, ok := chain(e)
	if !ok {
		return Ref{}, false
	}
	ref := Ref{Root: root, Optional: optional}
	if root == "steps" {
		if len(path) > 0 {
			ref.Step = path[0]
		}
		path = path[min(1, len(path)):]
	}
	if len(path) > 0 {
		ref.Name = path[0]
	}
	if len(path) > 1 {
		ref.Sub = path[1]
	}
	return ref, true
}

func chain(e ast.Expr) (root string, path []string, optional, ok bool) {
	switch e.Kind() {
	case ast.IdentKind:
		return strings.TrimPrefix(e.AsIdent(), "."), nil, false, true
	case ast.SelectKind:
		s := e.AsSelect()
		root, path, optional, ok = chain(s.Operand())
		return root, append(path, s.FieldName()), optional || s.IsTestOnly(), ok
	case ast.CallKind:
		c := e.AsCall()
		if (c.FunctionName() == "_[_]" || c.FunctionName() == "_?._" || c.FunctionName() == "_[?_]") && len(c.Args()) == 2 && c.Args()[1].Kind() == ast.LiteralKind {
			name, is := c.Args()[1].AsLiteral().Value().(string)
			if !is {
				return "", nil, false, false
			}
			root, path, optional, ok = chain(c.Args()[0])
			return root, append(path, name), optional || c.FunctionName() != "_[_]", ok
		}
	}
	return "", nil, false, false
}
