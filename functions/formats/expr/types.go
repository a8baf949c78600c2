package expr

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/types"

	"github.com/pelton-run/pelton/functions/formats/doc"
)

// Type is the type of an expression.
type Type = *types.Type

// Field is something of a name and a type that expressions read: an input or an output.
type Field struct {
	Name   string
	Type   Type    // left out where there are Fields
	Fields []Field // of an object
}

// fileType is what a file or a directory offers to expressions.
var fileType = types.NewObjectType("file")

// TypeOf is the type of values of an input's or output's type; unknown and json are anything.
func TypeOf(name string) Type {
	switch name {
	case "string", "longstring", "password", "enum", "bytes":
		return types.StringType
	case "integer":
		return types.IntType
	case "float":
		return types.DoubleType
	case "boolean":
		return types.BoolType
	case "list":
		return types.NewListType(types.DynType)
	case "file", "directory":
		return fileType
	}
	return types.DynType
}

// Word is a type in the words of metadata.
func Word(t Type) string {
	switch t.Kind() {
	case types.IntKind, types.UintKind:
		return "integer"
	case types.DoubleKind:
		return "float"
	case types.BoolKind:
		return "boolean"
	case types.BytesKind:
		return "bytes"
	case types.ListKind:
		return "list"
	case types.MapKind:
		return "object"
	case types.NullTypeKind:
		return "null"
	case types.StructKind:
		if t == fileType || t.TypeName() == "file" {
			return "file"
		}
		return "object"
	case types.OpaqueKind:
		if isOptional(t) {
			return "value that may be missing"
		}
	case types.TimestampKind, types.DurationKind:
		return strings.TrimPrefix(t.TypeName(), "google.protobuf.")
	}
	return t.String()
}

// Article puts a or an before a word.
func Article(word string) string {
	if word != "" && strings.Contains("aeiou", word[:1]) {
		return "an " + word
	}
	return "a " + word
}

// Scope is what the expressions of one place may read, with its types.
type Scope struct {
	objects map[string]map[string]Type
	vars    []cel.EnvOption
	env     *cel.Env
}

// Step is a step's outputs as others see them.
type Step struct {
	ID      string
	Outputs []Field
	List    bool // a forEach: others see the list of its passages
	Mixed   bool // a list whose elements may be errors instead of outputs
	Unknown bool // its action is not known
}

// NewScope makes the scope of a workflow. Loose is for results, where a step's output may be the
// list of its passages: the names of outputs are known there and their types are not.
func NewScope(inputs []Field, steps []Step, loose bool) *Scope {
	s := &Scope{objects: map[string]map[string]Type{
		"file": {"name": types.StringType, "size": types.IntType, "type": types.StringType, "digest": types.StringType},
	}}
	s.object("inputs", inputs, false)
	all := map[string]Type{}
	for _, step := range steps {
		t := s.object(outputsOf(step.ID), step.Outputs, loose)
		if step.Mixed {
			t = types.DynType
		}
		if step.List {
			t = types.NewListType(t)
		}
		if step.Unknown || (loose && step.List) {
			t = types.DynType
		}
		all[step.ID] = t
	}
	s.objects["steps"] = all
	for _, name := range []string{"inputs", "steps"} {
		s.vars = append(s.vars, cel.Variable(name, types.NewObjectType(name)))
	}
	for _, name := range []string{"trigger", "event", "vars", "run"} {
		s.vars = append(s.vars, cel.Variable(name, types.NewMapType(types.StringType, types.DynType)))
	}
	s.vars = append(s.vars, cel.Variable("secrets", types.NewMapType(types.StringType, types.StringType)))
	return s
}

// object makes the type of an object: loose, the types of its fields are not known.
func (s *Scope) object(name string, fields []Field, loose bool) Type {
	of := map[string]Type{}
	for _, f := range fields {
		switch {
		case loose:
			of[f.Name] = types.DynType
		case f.Fields != nil:
			of[f.Name] = s.object(name+" "+f.Name, f.Fields, false)
		default:
			of[f.Name] = f.Type
		}
	}
	s.objects[name] = of
	return types.NewObjectType(name)
}

func outputsOf(step string) string { return "step " + step }

// Outputs is the type of one passage's outputs of a step.
func Outputs(step string) Type { return types.NewObjectType(outputsOf(step)) }

// List is the type of lists of t.
func List(t Type) Type { return types.NewListType(t) }

// With is the scope with a name more, such as a forEach's.
func (s *Scope) With(item string, t Type) *Scope {
	c := *s
	c.env = nil
	c.vars = append(slices.Clip(c.vars), cel.Variable(item, t))
	return &c
}

// WithObject is the scope with a name more that has fields.
func (s *Scope) WithObject(name string, fields ...Field) *Scope {
	c := *s
	c.objects = maps.Clone(s.objects)
	return c.With(name, c.object(name, fields, false))
}

// provider tells the checker of the scope's object types.
type provider struct {
	types.Provider
	objects map[string]map[string]Type
}

func (p provider) FindStructType(name string) (Type, bool) {
	if _, ok := p.objects[name]; ok {
		return types.NewTypeTypeWithParam(types.NewObjectType(name)), true
	}
	return p.Provider.FindStructType(name)
}

func (p provider) FindStructFieldNames(name string) ([]string, bool) {
	if fields, ok := p.objects[name]; ok {
		return slices.Sorted(maps.Keys(fields)), true
	}
	return p.Provider.FindStructFieldNames(name)
}

func (p provider) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	if fields, ok := p.objects[name]; ok {
		t, ok := fields[field]
		return &types.FieldType{Type: t}, ok
	}
	return p.Provider.FindStructFieldType(name, field)
}

func (s *Scope) environment() (*cel.Env, error) {
	if s.env != nil {
		return s.env, nil
	}
	base, err := environment()
	if err != nil {
		return nil, err
	}
	registry, err := types.NewRegistry()
	if err != nil {
		return nil, err
	}
	opts := append([]cel.EnvOption{
		cel.CustomTypeProvider(provider{registry, s.objects}), cel.CustomTypeAdapter(registry),
		cel.Function("always", cel.Overload("always", nil, types.BoolType)),
		cel.Function("failed", cel.Overload("failed", nil, types.BoolType), cel.Overload("failed_string", []Type{types.StringType}, types.BoolType)),
		cel.Function("errorOf", cel.Overload("errorOf_string", []Type{types.StringType}, types.DynType)),
		cel.Function("skipped", cel.Overload("skipped_string", []Type{types.StringType}, types.BoolType)),
	}, s.vars...)
	s.env, err = base.Extend(opts...)
	return s.env, err
}

// Mistake is what is wrong with the types of an expression.
type Mistake struct {
	Message string
	Remedy  string
}

// Check finds the type of an expression, or what is wrong with its types: the first mistake.
func (s *Scope) Check(text string) (Type, *Mistake) {
	env, err := s.environment()
	if err != nil {
		return types.DynType, &Mistake{Message: err.Error()}
	}
	parsed, issues := env.Parse(text)
	if issues.Err() != nil {
		return types.DynType, nil // told where it is parsed
	}
	dotted(parsed.NativeRep())
	checked, issues := env.Check(parsed)
	if issues.Err() != nil {
		return types.DynType, s.explain(issues.Errors()[0].Message)
	}
	return checked.OutputType(), nil
}

// dotted writes names in brackets as fields, since only a field of an object has a type of its own:
// steps.a["my-name"] is what steps.a.my-name would be if that were a name.
func dotted(tree *ast.AST) {
	fac := ast.NewExprFactory()
	ast.PostOrderVisit(tree.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.CallKind || len(e.AsCall().Args()) != 2 {
			return
		}
		name := e.AsCall().FunctionName()
		if name != "_[_]" && name != "_[?_]" {
			return
		}
		root, path, _, ok := chain(e)
		if !ok || (root != "steps" && root != "inputs" && root != "pass") {
			return
		}
		args := e.AsCall().Args()
		if name == "_[?_]" {
			e.SetKindCase(fac.NewCall(e.ID(), "_?._", args...))
		} else {
			e.SetKindCase(fac.NewSelect(e.ID(), args[0], path[len(path)-1]))
		}
	}))
}

var (
	overload  = regexp.MustCompile(`^found no matching overload for '([^']*)' applied to '(.*)'$`)
	undefined = regexp.MustCompile(`^undefined field '([^']*)'$`)
	expected  = regexp.MustCompile(`^expected type '([^']*)' but found '([^']*)'$`)
	celType   = regexp.MustCompile(`list\([^()]*\)|map\([^()]*\)|optional_type\([^()]*\)|step \w+|\bint\b|\buint\b|\bdouble\b|\bbool\b`)
)

const aCondition = `a condition is a boolean: compare, as in x > 0 or x != ""`

var operators = map[string]string{
	"_+_": "+", "_-_": "-", "_*_": "*", "_/_": "/", "_%_": "%", "-_": "-", "!_": "!", "_&&_": "&&", "_||_": "||", "_==_": "==", "_!=_": "!=",
	"_<_": "<", "_<=_": "<=", "_>_": ">", "_>=_": ">=", "@in": "in", "_[_]": "[ ]", "_?_:_": "? :",
}

var words = map[string]string{"int": "integer", "uint": "integer", "double": "float", "bool": "boolean"}

// explain turns the checker's first message into words of ours.
func (s *Scope) explain(message string) *Mistake {
	if m := undefined.FindStringSubmatch(message); m != nil {
		known := slices.Sorted(maps.Keys(s.objects["file"]))
		remedy := "a file offers ." + strings.Join(known, " .")
		for _, of := range s.objects {
			known = append(known, slices.Collect(maps.Keys(of))...)
		}
		slices.Sort(known)
		if near := doc.Nearest(m[1], known); near != "" {
			remedy = "did you mean ." + near + "?"
		}
		return &Mistake{fmt.Sprintf("there is no field %q here", m[1]), remedy}
	}
	if m := expected.FindStringSubmatch(inWords(message)); m != nil {
		mistake := &Mistake{Message: fmt.Sprintf("%s is wanted here, this is %s", Article(m[1]), Article(m[2]))}
		if m[1] == "boolean" {
			mistake.Remedy = aCondition
		}
		return mistake
	}
	m := overload.FindStringSubmatch(message)
	if m == nil {
		return &Mistake{Message: inWords(message)}
	}
	name, args := m[1], inWords(m[2])
	if op, ok := operators[name]; ok {
		name = op
	}
	mistake := &Mistake{Message: fmt.Sprintf("%s cannot be applied to %s", name, args)}
	switch {
	case strings.Contains(args, "may be missing"):
		mistake.Remedy = "say what stands in for a missing value: x.orValue(…)"
	case strings.Contains(args, "integer") && strings.Contains(args, "float") && !strings.Contains(args, "string"):
		mistake.Message = "an integer and a float do not mix in " + name
		mistake.Remedy = "write double(x) around the integer"
	case name == "+" && strings.Contains(args, "string"):
		mistake.Remedy = "write string(x) around what is no string"
	case name == "&&" || name == "||" || name == "!" || name == "? :":
		mistake.Remedy = aCondition
	}
	return mistake
}

// inWords writes the checker's types as metadata do.
func inWords(text string) string {
	return celType.ReplaceAllStringFunc(text, func(t string) string {
		switch {
		case strings.HasPrefix(t, "list("):
			return "list"
		case strings.HasPrefix(t, "map("):
			return "object"
		case strings.HasPrefix(t, "optional_type("):
			return "value that may be missing"
		case strings.HasPrefix(t, "step "):
			return "outputs of " + strings.TrimPrefix(t, "step ")
		}
		return words[t]
	})
}

// Element is the type of a list's elements; ok is false when t is no list.
func Element(t Type) (Type, bool) {
	switch {
	case t.Kind() == types.DynKind || t.Kind() == types.AnyKind || t.Kind() == types.TypeParamKind:
		return types.DynType, true
	case t.Kind() == types.ListKind:
		return t.Parameters()[0], true
	}
	return nil, false
}

func isOptional(t Type) bool { return t.Kind() == types.OpaqueKind && t.TypeName() == "optional_type" }

// Fits tells what is wrong with giving a value of type t where metadata want one of type to; nil
// when it fits. Anything fits json, and what is only known at run time fits everything.
func Fits(t Type, to string) *Mistake {
	if isOptional(t) {
		return &Mistake{"a value that may be missing", "say what stands in for it: x.orValue(…)"}
	}
	k := t.Kind()
	loose := k == types.DynKind || k == types.AnyKind || k == types.TypeParamKind || k == types.NullTypeKind || to == "json"
	want := TypeOf(to).Kind()
	switch {
	case loose, k == want, k == types.IntKind && want == types.DoubleKind, k == types.UintKind && (want == types.IntKind || want == types.DoubleKind):
		return nil
	case want == types.StringKind && (k == types.TimestampKind || k == types.DurationKind || k == types.BytesKind):
		return nil // they are texts in JSON
	}
	m := &Mistake{Message: Article(Word(t))}
	switch {
	case want == types.StringKind && (k == types.IntKind || k == types.DoubleKind || k == types.BoolKind):
		m.Remedy = "write string(…) around it"
	case to == "integer" && (k == types.DoubleKind || k == types.StringKind):
		m.Remedy = "write int(…) around it"
	case to == "float" && k == types.StringKind:
		m.Remedy = "write double(…) around it"
	case to == "boolean":
		m.Remedy = "compare it, as in x > 0"
	default:
		m.Remedy = "give " + Article(to)
	}
	return m
}
