package openapi

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"slices"
	"strings"
)

//go:embed page.html
var pageText string

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{"type": typeOf, "limits": limits, "has": slices.Contains[[]string]}).Parse(pageText))

type pageData struct {
	*model
	Service string
	Groups  []group
}

type group struct {
	tag
	Operations []operationView
}

type operationView struct {
	operation
	Method, Path string
	Open         bool // needs no credential
	Parameters   []parameter
	Answers      []answerView
	Curl         string
}

type answerView struct {
	Status string
	response
}

// page renders the document, its operations grouped by their first tag.
func (m *model) page(service string) ([]byte, error) {
	data := pageData{model: m, Service: service}
	for _, t := range m.Tags {
		g := group{tag: t}
		for _, path := range m.Paths {
			for _, o := range path.Value.operations() {
				if len(o.Value.Tags) == 0 || o.Value.Tags[0] != t.Name {
					continue
				}
				view, err := m.view(o.Name, path.Name, path.Value, *o.Value)
				if err != nil {
					return nil, fmt.Errorf("%s %s: %w", o.Name, path.Name, err)
				}
				g.Operations = append(g.Operations, view)
			}
		}
		data.Groups = append(data.Groups, g)
	}
	var b bytes.Buffer
	err := pageTemplate.Execute(&b, data)
	return b.Bytes(), err
}

func (p pathItem) operations() []entry[*operation] {
	all := []entry[*operation]{{"GET", p.Get}, {"POST", p.Post}, {"PUT", p.Put}, {"PATCH", p.Patch}, {"DELETE", p.Delete}, {"OPTIONS", p.Options}}
	return slices.DeleteFunc(all, func(e entry[*operation]) bool { return e.Value == nil })
}

func (m *model) view(method, path string, item pathItem, o operation) (operationView, error) {
	v := operationView{operation: o, Method: method, Path: path, Open: o.Security != nil && len(*o.Security) == 0}
	for _, p := range slices.Concat(item.Parameters, o.Parameters) {
		found, err := m.parameter(p)
		if err != nil {
			return v, err
		}
		v.Parameters = append(v.Parameters, found)
	}
	for _, e := range o.Responses {
		r, err := m.response(e.Value)
		if err != nil {
			return v, err
		}
		v.Answers = append(v.Answers, answerView{e.Name, r})
	}
	v.Curl = v.curl()
	return v, nil
}

// curl is an example call for a shell in which PELTON and TOKEN are set.
func (v operationView) curl() string {
	var b strings.Builder
	b.WriteString("curl -sS")
	if v.Method != "GET" {
		b.WriteString(" -X " + v.Method)
	}
	if !v.Open {
		b.WriteString(" \\\n  -H \"Authorization: Bearer $TOKEN\"")
	}
	if v.Body != nil && len(v.Body.Content) > 0 {
		first := v.Body.Content[0]
		b.WriteString(" \\\n  -H 'Content-Type: " + first.Name + "'")
		switch example := first.Value.Example.(type) {
		case nil:
			b.WriteString(" \\\n  --data-binary @FILE")
		case string:
			b.WriteString(" \\\n  --data-binary " + quoteShell(example))
		default:
			if data, err := json.Marshal(example); err == nil {
				b.WriteString(" \\\n  -d " + quoteShell(string(data)))
			}
		}
	}
	path := v.Path
	for _, p := range v.Parameters {
		if p.In == "path" {
			path = strings.ReplaceAll(path, "{"+p.Name+"}", fmt.Sprint(orElse(p.Schema.Example, strings.ToUpper(p.Name))))
		}
	}
	b.WriteString(" \\\n  \"$PELTON" + path + "\"")
	return b.String()
}

func orElse(v any, other any) any {
	if v == nil {
		return other
	}
	return v
}

func quoteShell(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// typeOf says a schema's type in words; names of schemas are links.
func typeOf(s schema) template.HTML {
	var text template.HTML
	switch {
	case s.Ref != "":
		name := template.HTMLEscapeString(local(s.Ref))
		text = template.HTML(`<a href="#schema-` + name + `">` + name + `</a>`) //nolint:gosec // escaped above
	case len(s.AllOf) > 0:
		text = join(s.AllOf, " and ")
	case len(s.OneOf) > 0:
		text = join(s.OneOf, " or ")
	case len(s.AnyOf) > 0:
		text = join(s.AnyOf, " or ")
	case s.Type == "array" && s.Items != nil:
		text = "list of " + typeOf(*s.Items)
	case s.Type == "object" && s.Additional != nil && s.Additional.schema != nil && len(s.Properties) == 0:
		text = "map of " + typeOf(*s.Additional.schema)
	case s.Type == "":
		text = "any JSON value"
	default:
		text = template.HTML(template.HTMLEscapeString(s.Type)) //nolint:gosec // escaped here
		if s.Format != "" {
			text += template.HTML(" (" + template.HTMLEscapeString(s.Format) + ")") //nolint:gosec // escaped here
		}
	}
	if s.Nullable {
		text += " or null"
	}
	return text
}

func join(all []schema, sep template.HTML) template.HTML {
	var out template.HTML
	for i, s := range all {
		if i > 0 {
			out += sep
		}
		out += typeOf(s)
	}
	return out
}

// limits are the further rules of a value, "" without any.
func limits(s schema) string {
	var rules []string
	if len(s.Enum) > 0 {
		var values []string
		for _, v := range s.Enum {
			values = append(values, fmt.Sprint(v))
		}
		rules = append(rules, "one of "+strings.Join(values, ", "))
	}
	if s.Minimum != nil {
		rules = append(rules, fmt.Sprint("at least ", *s.Minimum))
	}
	if s.Maximum != nil {
		rules = append(rules, fmt.Sprint("at most ", *s.Maximum))
	}
	if s.MinLength != nil {
		rules = append(rules, fmt.Sprint("at least ", *s.MinLength, " characters"))
	}
	if s.MaxLength != nil {
		rules = append(rules, fmt.Sprint("at most ", *s.MaxLength, " characters"))
	}
	if s.Pattern != "" {
		rules = append(rules, "like "+s.Pattern)
	}
	if s.Default != nil {
		rules = append(rules, fmt.Sprint("default ", s.Default))
	}
	return strings.Join(rules, "; ")
}
