// Package contract holds a service to its OpenAPI document: the routes it registers, how strict
// and complete the document is, and every answer that a client gets. It is for tests.
package contract

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/google/uuid"
)

// formats adds the formats that the validator does not know by itself.
var formats = sync.OnceFunc(func() {
	openapi3.DefineStringFormatValidator("uuid", openapi3.NewCallbackValidator(uuid.Validate))
})

// Contract is one document. Safe for concurrent use.
type Contract struct {
	doc *openapi3.T
	mux *http.ServeMux
}

// Load reads a document, YAML or JSON; one that is not valid OpenAPI 3.0 is an error.
func Load(data []byte) (*Contract, error) {
	formats()
	doc, err := openapi3.NewLoader().LoadFromData(data)
	if err != nil {
		return nil, err
	}
	if err := doc.Validate(context.Background()); err != nil {
		return nil, err
	}
	c := &Contract{doc: doc, mux: http.NewServeMux()}
	for _, o := range c.Operations() {
		c.mux.Handle(o.Route(), found{o})
	}
	return c, nil
}

// Operation is one described route.
type Operation struct {
	Method, Path string
	Item         *openapi3.PathItem
	*openapi3.Operation
}

// Route is the pattern of the operation in a mux.
func (o Operation) Route() string { return o.Method + " " + o.Path }

// Open tells whether the operation needs no credential.
func (o Operation) Open() bool { return o.Security != nil && len(*o.Security) == 0 }

// Operations are the described routes, sorted.
func (c *Contract) Operations() []Operation {
	var all []Operation
	for path, item := range c.doc.Paths.Map() {
		for method, o := range item.Operations() {
			all = append(all, Operation{method, path, item, o})
		}
	}
	slices.SortFunc(all, func(a, b Operation) int { return strings.Compare(a.Route(), b.Route()) })
	return all
}

// Routes compares the registered routes with the described ones.
func (c *Contract) Routes(registered []string) error {
	var problems []error
	described := map[string]bool{}
	for _, o := range c.Operations() {
		described[o.Route()] = true
		if !slices.Contains(registered, o.Route()) {
			problems = append(problems, fmt.Errorf("%s is described and not registered", o.Route()))
		}
	}
	for _, route := range registered {
		if !described[route] {
			problems = append(problems, fmt.Errorf("%s is registered and not described", route))
		}
	}
	return errors.Join(problems...)
}

// found hands the operation and the path's parameters to who asked the mux.
type found struct{ operation Operation }

func (f found) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	out, ok := w.(*lookup)
	if !ok {
		return
	}
	out.operation, out.params = f.operation, map[string]string{}
	for _, list := range []openapi3.Parameters{f.operation.Item.Parameters, f.operation.Parameters} {
		for _, p := range list {
			if p.Value.In == openapi3.ParameterInPath {
				out.params[p.Value.Name] = r.PathValue(p.Value.Name)
			}
		}
	}
}

// lookup is the writer of a request that only asks for its operation.
type lookup struct {
	header    http.Header
	operation Operation
	params    map[string]string
}

func (l *lookup) Header() http.Header       { return l.header }
func (*lookup) Write(b []byte) (int, error) { return len(b), nil }
func (*lookup) WriteHeader(int)             {}

// input is what the validator wants to know of a request, nil when nothing describes it.
func (c *Contract) input(r *http.Request) *openapi3filter.RequestValidationInput {
	l := &lookup{header: http.Header{}}
	bare := r.Clone(r.Context())
	bare.Body = http.NoBody
	c.mux.ServeHTTP(l, bare)
	if l.operation.Operation == nil {
		return nil
	}
	return &openapi3filter.RequestValidationInput{
		Request: r, PathParams: l.params, QueryParams: r.URL.Query(),
		Route: &routers.Route{Spec: c.doc, Path: l.operation.Path, PathItem: l.operation.Item, Method: l.operation.Method, Operation: l.operation.Operation},
		Options: &openapi3filter.Options{
			IncludeResponseStatus: true, AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, SkipSettingDefaults: true,
		},
	}
}
