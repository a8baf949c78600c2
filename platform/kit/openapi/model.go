package openapi

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// model is what the page shows of a document.
type model struct {
	Info struct {
		Title       string
		Description string
		Version     string
	}
	Tags       []tag
	Paths      ordered[pathItem]
	Components struct {
		Schemas         ordered[schema]
		Parameters      ordered[parameter]
		Responses       ordered[response]
		SecuritySchemes ordered[security] `yaml:"securitySchemes"`
	}
}

type tag struct{ Name, Description string }

type security struct {
	Type, Scheme, In, Name, Description string
}

type pathItem struct {
	Parameters                             []parameter
	Get, Put, Post, Patch, Delete, Options *operation
}

type operation struct {
	ID          string `yaml:"operationId"`
	Summary     string
	Description string
	Tags        []string
	Security    *[]map[string][]string
	Parameters  []parameter
	Body        *body `yaml:"requestBody"`
	Responses   ordered[response]
}

type parameter struct {
	Ref         string `yaml:"$ref"`
	Name, In    string
	Required    bool
	Description string
	Schema      schema
}

type body struct {
	Description string
	Required    bool
	Content     ordered[media]
}

type media struct {
	Schema  schema
	Example any
}

type response struct {
	Ref         string `yaml:"$ref"`
	Description string
	Content     ordered[media]
}

type schema struct {
	Ref         string `yaml:"$ref"`
	Type        string
	Format      string
	Description string
	Nullable    bool
	Enum        []any
	Default     any
	Example     any
	Pattern     string
	Minimum     *float64
	Maximum     *float64
	MinLength   *int `yaml:"minLength"`
	MaxLength   *int `yaml:"maxLength"`
	Required    []string
	Properties  ordered[schema]
	Additional  *additional `yaml:"additionalProperties"`
	Items       *schema
	AllOf       []schema `yaml:"allOf"`
	OneOf       []schema `yaml:"oneOf"`
	AnyOf       []schema `yaml:"anyOf"`
}

// additional is false, true or a schema.
type additional struct {
	allowed bool
	schema  *schema
}

// UnmarshalYAML implements yaml.Unmarshaler.
func (a *additional) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		return n.Decode(&a.allowed)
	}
	a.allowed, a.schema = true, &schema{}
	return n.Decode(a.schema)
}

// ordered is a mapping in the order of its text, which is the order that a reader expects.
type ordered[T any] []entry[T]

type entry[T any] struct {
	Name  string
	Value T
}

// UnmarshalYAML implements yaml.Unmarshaler.
func (o *ordered[T]) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.MappingNode {
		return fmt.Errorf("line %d: is no mapping", n.Line)
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		e := entry[T]{Name: n.Content[i].Value}
		if err := n.Content[i+1].Decode(&e.Value); err != nil {
			return err
		}
		*o = append(*o, e)
	}
	return nil
}

func (o ordered[T]) get(name string) (T, bool) {
	for _, e := range o {
		if e.Name == name {
			return e.Value, true
		}
	}
	var none T
	return none, false
}

// local is the name at the end of a reference inside the document.
func local(ref string) string { return ref[strings.LastIndexByte(ref, '/')+1:] }

func (m *model) parameter(p parameter) (parameter, error) {
	if p.Ref == "" {
		return p, nil
	}
	found, ok := m.Components.Parameters.get(local(p.Ref))
	if !ok {
		return p, fmt.Errorf("there is no parameter %s", p.Ref)
	}
	return found, nil
}

func (m *model) response(r response) (response, error) {
	if r.Ref == "" {
		return r, nil
	}
	found, ok := m.Components.Responses.get(local(r.Ref))
	if !ok {
		return r, fmt.Errorf("there is no response %s", r.Ref)
	}
	return found, nil
}
