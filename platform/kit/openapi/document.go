// Package openapi serves a service's OpenAPI document: as JSON for tools and as a page for people.
// It reads the document once, refuses one that it cannot show whole, and never changes it.
package openapi

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/pelton-run/pelton/platform/kit/httpx"
)

// Document is a parsed document, ready to be served. Safe for concurrent use.
type Document struct {
	service string
	json    []byte
	page    []byte
}

// Parse reads the YAML of a service's document; service is the first part of the service's paths.
func Parse(service string, text []byte) (*Document, error) {
	var tree map[string]any
	if err := yaml.Unmarshal(text, &tree); err != nil {
		return nil, fmt.Errorf("read the OpenAPI document of %s: %w", service, err)
	}
	data, err := json.Marshal(tree)
	if err != nil {
		return nil, fmt.Errorf("read the OpenAPI document of %s: %w", service, err)
	}
	var m model
	if err := yaml.Unmarshal(text, &m); err != nil {
		return nil, fmt.Errorf("read the OpenAPI document of %s: %w", service, err)
	}
	page, err := m.page(service)
	if err != nil {
		return nil, fmt.Errorf("show the OpenAPI document of %s: %w", service, err)
	}
	return &Document{service: service, json: data, page: page}, nil
}

// JSON is the document as it is served.
func (d *Document) JSON() []byte { return d.json }

// Mount adds the document and its page to the service's routes and returns them.
func (d *Document) Mount(mux *Mux) *Mux {
	mux.Handle("GET /"+d.service+"/openapi.json", Static("application/json", d.json))
	mux.Handle("GET /"+d.service+"/docs", Static("text/html; charset=utf-8", d.page))
	return mux
}

// Static serves body to anybody, for nothing in a document is secret, and answers If-None-Match
// with 304.
func Static(contentType string, body []byte) http.Handler {
	sum := sha256.Sum256(body)
	etag := `"` + hex.EncodeToString(sum[:12]) + `"`
	return httpx.Handle(func(w http.ResponseWriter, r *http.Request) error {
		h := w.Header()
		h.Set("Content-Type", contentType)
		h.Set("ETag", etag)
		h.Set("Cache-Control", "no-cache")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
		return nil
	})
}
