// Package eventfilter tells which events (CloudEvents 1.0) somebody wants: by their types, and by clauses
// that all have to hold. The clauses are those of the CloudEvents Subscriptions API that need no nesting,
// exact, prefix and suffix over attributes, and cel: an expression over event, with its attributes and data.
package eventfilter

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/ext"

	"github.com/pelton-run/pelton/functions/formats/doc"
)

// Limits of a filter.
const (
	MaxTypes   = 64
	MaxClauses = 32
	maxCEL     = 4096 // bytes of one expression
	costLimit  = 100_000
)

// Problem is something wrong with a filter.
type Problem struct {
	Path    string // types[0], filter[2].cel
	Message string
	Remedy  string
}

// Filter decides about events. The zero value takes every event. Safe for concurrent use.
type Filter struct {
	types   []string
	clauses []clause
}

type clause struct {
	test    func(value, want string) bool // over attributes
	want    map[string]string
	program cel.Program // or an expression
}

// typePattern is a type, or the beginning of types with a * at its end.
var typePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/-]{0,254}\*?$|^\*$`)

// attributePattern is the name of an attribute (CloudEvents 1.0, section 3.1).
var attributePattern = regexp.MustCompile(`^[a-z0-9]{1,64}$`)

var environment = sync.OnceValues(func() (*cel.Env, error) {
	return cel.NewEnv(cel.OptionalTypes(), ext.Strings(), ext.Math(), ext.Lists(), ext.Encoders(), ext.Sets(), cel.DefaultUTCTimeZone(true),
		cel.Variable("event", cel.MapType(cel.StringType, cel.DynType)))
})

// Compile checks a filter and makes it ready. types: exact, or with a * at the end; none takes all. filter is a
// JSON list of clauses, empty = none.
func Compile(types []string, filter json.RawMessage) (*Filter, []Problem) {
	f := &Filter{types: types}
	var bad []Problem
	if len(types) > MaxTypes {
		bad = append(bad, Problem{"types", fmt.Sprintf("names %d types", len(types)), fmt.Sprintf("name at most %d, or the beginning of several with a * at its end", MaxTypes)})
	}
	for i, t := range types {
		if !typePattern.MatchString(t) {
			bad = append(bad, Problem{fmt.Sprintf("types[%d]", i), fmt.Sprintf("is %q", t), "give a type such as com.example.order.created, or the beginning of several and a *: com.example.*"})
		}
	}
	if len(bytes.TrimSpace(filter)) == 0 || string(bytes.TrimSpace(filter)) == "null" {
		return f, bad
	}
	var list []json.RawMessage
	if err := json.Unmarshal(filter, &list); err != nil {
		return f, append(bad, Problem{"filter", "is no list", `give a list such as [{"exact": {"subject": "x"}}, {"cel": "event.data.total > 100"}]`})
	}
	if len(list) > MaxClauses {
		bad = append(bad, Problem{"filter", fmt.Sprintf("has %d clauses", len(list)), fmt.Sprintf("give at most %d", MaxClauses)})
	}
	for i, raw := range list {
		c, wrong := parse(raw)
		for _, p := range wrong {
			p.Path = strings.TrimSuffix(fmt.Sprintf("filter[%d].%s", i, p.Path), ".")
			bad = append(bad, p)
		}
		f.clauses = append(f.clauses, c)
	}
	return f, bad
}

const clauseRemedy = "give one of exact, prefix, suffix and cel"

var tests = map[string]func(value, want string) bool{
	"exact": func(v, want string) bool { return v == want }, "prefix": strings.HasPrefix, "suffix": strings.HasSuffix,
}

func parse(raw json.RawMessage) (clause, []Problem) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil || len(fields) != 1 {
		return clause{}, []Problem{{"", "is no clause", clauseRemedy + `, such as {"exact": {"subject": "x"}}`}}
	}
	for name, value := range fields {
		if name == "cel" {
			return expression(value)
		}
		test, ok := tests[name]
		if !ok {
			remedy := clauseRemedy
			if near := doc.Nearest(name, []string{"exact", "prefix", "suffix", "cel"}); near != "" {
				remedy = "did you mean " + near + "?"
			}
			return clause{}, []Problem{{name, "is no clause", remedy}}
		}
		c := clause{test: test}
		if err := json.Unmarshal(value, &c.want); err != nil || len(c.want) == 0 {
			return c, []Problem{{name, "is no mapping of attributes to texts", `give attributes, such as {"` + name + `": {"type": "com.example.order.created"}}`}}
		}
		var bad []Problem
		for attribute, want := range c.want {
			switch {
			case attribute == "data" || !attributePattern.MatchString(attribute):
				bad = append(bad, Problem{name + "." + attribute, "is no attribute", "name an attribute, such as type, source or subject; of data decides cel"})
			case want == "":
				bad = append(bad, Problem{name + "." + attribute, "is empty", "give the text that is wanted"})
			}
		}
		slices.SortFunc(bad, func(a, b Problem) int { return strings.Compare(a.Path, b.Path) })
		return c, bad
	}
	return clause{}, nil
}

func expression(raw json.RawMessage) (clause, []Problem) {
	var text string
	if err := json.Unmarshal(raw, &text); err != nil || strings.TrimSpace(text) == "" {
		return clause{}, []Problem{{"cel", "is no text", `give an expression such as event.data.total > 100`}}
	}
	if len(text) > maxCEL {
		return clause{}, []Problem{{"cel", fmt.Sprintf("has %d bytes", len(text)), fmt.Sprintf("give at most %d", maxCEL)}}
	}
	env, err := environment()
	if err != nil {
		return clause{}, []Problem{{"cel", err.Error(), ""}}
	}
	checked, issues := env.Compile(text)
	if issues.Err() != nil {
		first := issues.Errors()[0]
		return clause{}, []Problem{{"cel", fmt.Sprintf("%s at column %d", strings.TrimPrefix(first.Message, "Syntax error: "), first.Location.Column()+1), "write an expression over event, such as event.type == \"x\" && event.data.total > 100"}}
	}
	if t := checked.OutputType(); !t.IsAssignableType(cel.BoolType) && !t.IsExactType(cel.DynType) {
		return clause{}, []Problem{{"cel", "gives " + t.String(), "compare something, so that it gives true or false"}}
	}
	program, err := env.Program(checked, cel.CostLimit(costLimit))
	if err != nil {
		return clause{}, []Problem{{"cel", err.Error(), ""}}
	}
	return clause{program: program}, nil
}

// Takes tells whether an event's type is one that the filter may take.
func (f *Filter) Takes(eventType string) bool {
	if len(f.types) == 0 {
		return true
	}
	for _, t := range f.types {
		if begin, ok := strings.CutSuffix(t, "*"); t == eventType || ok && strings.HasPrefix(eventType, begin) {
			return true
		}
	}
	return false
}

// Match tells whether the filter takes an event in the JSON format of CloudEvents. An expression that cannot
// be evaluated over it, such as one that reads data that is not there, does not.
func (f *Filter) Match(event []byte) bool {
	var e map[string]any
	if err := json.Unmarshal(event, &e); err != nil {
		return false
	}
	kind, _ := e["type"].(string)
	if !f.Takes(kind) {
		return false
	}
	for _, c := range f.clauses {
		if !c.holds(e) {
			return false
		}
	}
	return true
}

func (c *clause) holds(e map[string]any) bool {
	if c.program != nil {
		out, _, err := c.program.Eval(map[string]any{"event": e})
		if err != nil {
			return false
		}
		yes, ok := out.Value().(bool)
		return ok && yes
	}
	if c.test == nil {
		return false
	}
	for attribute, want := range c.want {
		v, there := e[attribute]
		if !there || !c.test(attributeText(v), want) {
			return false
		}
	}
	return true
}

// attributeText is an attribute as CloudEvents writes it as text.
func attributeText(v any) string {
	switch x := v.(type) {
	case string:
		return x
	case bool, float64:
		b, _ := json.Marshal(x) // whole numbers without a point
		return string(b)
	}
	return ""
}
