package openapi

import (
	"net/http"
	"slices"
)

// Mux is an http.ServeMux that knows its routes, so that they can be held against a document.
// The zero value works.
type Mux struct {
	mux    http.ServeMux
	routes []string
}

// Handle adds a route; the pattern has a method, as in "GET /v1/things/{id}".
func (m *Mux) Handle(pattern string, h http.Handler) {
	m.mux.Handle(pattern, h)
	m.routes = append(m.routes, pattern)
}

// Routes are the patterns, sorted.
func (m *Mux) Routes() []string {
	sorted := slices.Clone(m.routes)
	slices.Sort(sorted)
	return sorted
}

// ServeHTTP implements http.Handler.
func (m *Mux) ServeHTTP(w http.ResponseWriter, r *http.Request) { m.mux.ServeHTTP(w, r) }
