package contract

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"sync"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
)

// Transport checks each answer against the document of its service and reports what differs; the
// answer itself passes unchanged. A request that the document forbids and the server takes is
// reported too, for then the document is too strict. Safe for concurrent use.
type Transport struct {
	Base http.RoundTripper
	// Find is the contract of a path, nil for paths that no document describes.
	Find func(path string) (*Contract, error)
	// Report takes what differs, each thing once; it is called concurrently.
	Report func(error)

	told sync.Map
}

// RoundTrip implements http.RoundTripper.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	c, err := t.Find(r.URL.Path)
	if err != nil {
		return nil, err
	}
	if c == nil {
		return t.Base.RoundTrip(r)
	}
	sent := r.Clone(r.Context())
	var body []byte
	if isJSON(r.Header.Get("Content-Type")) && r.Body != nil {
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
		r.Body.Close()
		sent.Body, sent.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	}
	resp, err := t.Base.RoundTrip(sent)
	if err != nil {
		return nil, err
	}
	input := c.input(r)
	report := func(err error) {
		path := r.URL.Path
		if input != nil {
			path = input.Route.Path
		}
		err = fmt.Errorf("%s %s answered %d: %w", r.Method, path, resp.StatusCode, err)
		if _, again := t.told.LoadOrStore(err.Error(), true); !again {
			t.Report(err)
		}
	}
	if input == nil {
		if resp.StatusCode != http.StatusNotFound && resp.StatusCode != http.StatusMethodNotAllowed {
			report(errors.New("the document does not describe this route"))
		}
		return resp, nil
	}
	if err := checkRequest(input, body, resp.StatusCode); err != nil {
		report(err)
	}
	if err := checkAnswer(input, resp, report); err != nil {
		report(err)
	}
	return resp, nil
}

// checkRequest finds a request that the document forbids and the server took.
func checkRequest(input *openapi3filter.RequestValidationInput, body []byte, status int) error {
	if status >= 300 {
		return nil
	}
	in, options := *input, *input.Options
	described := input.Route.Operation.RequestBody
	options.ExcludeRequestBody = body == nil || described == nil || described.Value.Content["application/json"] == nil
	in.Options, in.Request = &options, input.Request.Clone(input.Request.Context())
	in.Request.Body = io.NopCloser(bytes.NewReader(body))
	if err := openapi3filter.ValidateRequest(in.Request.Context(), &in); err != nil {
		return fmt.Errorf("the document forbids this request: %w", where(err))
	}
	return nil
}

// checkAnswer checks status, headers and body. Streams are checked event by event as they are
// read; bodies that are neither JSON nor events only by their type.
func checkAnswer(input *openapi3filter.RequestValidationInput, resp *http.Response, report func(error)) error {
	options := *input.Options
	in := &openapi3filter.ResponseValidationInput{RequestValidationInput: input, Status: resp.StatusCode, Header: resp.Header, Options: &options}
	kind := resp.Header.Get("Content-Type")
	mt, _, _ := mime.ParseMediaType(kind)
	answer := input.Route.Operation.Responses.Status(resp.StatusCode)
	if answer == nil {
		return errors.New("this status is not described")
	}
	options.ExcludeResponseBody = !isJSON(kind) || answer.Value.Content[mt] == nil
	if !options.ExcludeResponseBody {
		data, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			resp.Body = io.NopCloser(io.MultiReader(bytes.NewReader(data), failing{err}))
			return nil // the connection broke, which no document is about
		}
		resp.Body = io.NopCloser(bytes.NewReader(data))
		in.SetBodyBytes(data)
	}
	if err := openapi3filter.ValidateResponse(resp.Request.Context(), in); err != nil {
		return where(err)
	}
	if len(answer.Value.Content) == 0 {
		if kind != "" {
			return fmt.Errorf("it has a body of type %s, and the document describes none", kind)
		}
		return nil
	}
	media := answer.Value.Content.Get(kind)
	if media == nil {
		return fmt.Errorf("its type %q is not described", kind)
	}
	if mt == "text/event-stream" {
		resp.Body = &events{ReadCloser: resp.Body, schema: media.Schema.Value, report: report}
	}
	return nil
}

func isJSON(kind string) bool {
	mt, _, _ := mime.ParseMediaType(kind)
	return mt == "application/json" || strings.HasSuffix(mt, "+json")
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// events checks the data of server-sent events that pass.
type events struct {
	io.ReadCloser
	schema *openapi3.Schema
	report func(error)
	line   []byte
}

func (e *events) Read(b []byte) (int, error) {
	n, err := e.ReadCloser.Read(b)
	for _, c := range b[:n] {
		if c != '\n' {
			e.line = append(e.line, c)
			continue
		}
		if data, ok := bytes.CutPrefix(e.line, []byte("data:")); ok {
			e.check(data)
		}
		e.line = e.line[:0]
	}
	return n, err
}

func (e *events) check(data []byte) {
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		e.report(fmt.Errorf("an event is not JSON: %w: %s", err, data))
		return
	}
	if err := e.schema.VisitJSON(v, openapi3.VisitAsResponse()); err != nil {
		e.report(fmt.Errorf("event %s: %w", data, where(err)))
	}
}

// where shortens a validator's error to the place and the rule, without the whole schema.
func where(err error) error {
	var s *openapi3.SchemaError
	if !errors.As(err, &s) {
		return err
	}
	for {
		var deeper *openapi3.SchemaError
		if s.Origin == nil || !errors.As(s.Origin, &deeper) {
			break
		}
		s = deeper
	}
	value, _ := json.Marshal(s.Value)
	if len(value) > 500 {
		value = append(value[:500], "…"...)
	}
	return fmt.Errorf("at /%s: %s (rule %s, value %s)", strings.Join(s.JSONPointer(), "/"), s.Reason, s.SchemaField, value)
}
