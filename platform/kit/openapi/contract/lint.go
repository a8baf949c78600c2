package contract

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

var operationID = regexp.MustCompile(`^[a-z][a-zA-Z0-9]*$`)

// Lint says where the document is incomplete: an operation without name, tag or description, a
// parameter or field that nothing explains, an object of ours that does not say whether it has
// further fields, a required field that does not exist.
func (c *Contract) Lint() error {
	l := &lint{}
	for _, o := range c.Operations() {
		l.operation(c, o)
	}
	for name, s := range c.doc.Components.Schemas {
		l.sentence(name, s.Value.Description)
		l.schema(name, s)
	}
	return errors.Join(l.problems...)
}

type lint struct{ problems []error }

func (l *lint) wrong(where, format string, args ...any) {
	l.problems = append(l.problems, fmt.Errorf("%s: "+format, append([]any{where}, args...)...))
}

func (l *lint) sentence(where, text string) {
	if !strings.HasSuffix(text, ".") {
		l.wrong(where, "is described as %q, which is no sentence", text)
	}
}

func (l *lint) operation(c *Contract, o Operation) {
	if !operationID.MatchString(o.OperationID) {
		l.wrong(o.Route(), "operationId %q is not lowerCamelCase", o.OperationID)
	}
	l.sentence(o.Route(), o.Description)
	if o.Summary == "" {
		l.wrong(o.Route(), "has no summary")
	}
	if len(o.Tags) != 1 || c.doc.Tags.Get(o.Tags[0]) == nil {
		l.wrong(o.Route(), "wants one of the document's tags, and has %v", o.Tags)
	}
	for _, p := range slices.Concat(o.Item.Parameters, o.Parameters) {
		l.sentence(o.Route()+" "+p.Value.Name, p.Value.Description)
	}
	if !o.Open() && o.Responses.Value("401") == nil {
		l.wrong(o.Route(), "needs a credential and describes no 401")
	}
	if o.RequestBody != nil {
		l.sentence(o.Route()+" body", o.RequestBody.Value.Description)
	}
	for status, r := range o.Responses.Map() {
		l.sentence(o.Route()+" "+status, *r.Value.Description)
		for kind, media := range r.Value.Content {
			l.schema(o.Route()+" "+status+" "+kind, media.Schema)
		}
	}
}

// schema checks a schema and what lies inside; references are checked where they lead.
func (l *lint) schema(where string, ref *openapi3.SchemaRef) {
	if ref == nil || ref.Value == nil {
		l.wrong(where, "has no schema")
		return
	}
	s := ref.Value
	if len(s.Properties) > 0 && s.AdditionalProperties.Has == nil && s.AdditionalProperties.Schema == nil {
		l.wrong(where, "does not say whether it has further fields (additionalProperties)")
	}
	for _, name := range s.Required {
		if s.Properties[name] == nil {
			l.wrong(where, "requires %s, which it does not have", name)
		}
	}
	for name, p := range s.Properties {
		l.sentence(where+"."+name, p.Value.Description)
		if p.Ref == "" {
			l.schema(where+"."+name, p)
		}
	}
	if s.Items != nil && s.Items.Ref == "" {
		l.schema(where+"[]", s.Items)
	}
}
