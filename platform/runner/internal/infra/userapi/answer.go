package userapi

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/httpx"
	"github.com/pelton-run/pelton/platform/kit/id"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// answer is 200 with exactly the result, what `response:` says, or the run's problem.
func (a *API) answer(w http.ResponseWriter, r *http.Request, route *route, project string, res app.RunResult) error {
	if res.State != domain.RunCompleted {
		return failed(w, res)
	}
	if len(route.with.Response) > 0 {
		return a.response(w, r, route, project, res)
	}
	return a.plain(w, r.Context(), project, res)
}

func (a *API) plain(w http.ResponseWriter, ctx context.Context, project string, res app.RunResult) error {
	out, err := a.linkedResult(ctx, project, res)
	if err != nil {
		return err
	}
	return httpx.WriteJSON(w, http.StatusOK, out)
}

// linkedResult is the result with values from the filestore loaded and files linked.
func (a *API) linkedResult(ctx context.Context, project string, res app.RunResult) (domain.Values, error) {
	out, err := a.loadAll(ctx, project, res.Result)
	for name, v := range out {
		out[name] = a.links(project, res.ID, v)
	}
	return out, err
}

func (a *API) loadAll(ctx context.Context, project string, values domain.Values) (domain.Values, error) {
	out := make(domain.Values, len(values))
	for name, v := range values {
		v, err := a.load(ctx, project, v)
		if err != nil {
			return nil, err
		}
		out[name] = v
	}
	return out, nil
}

// load fetches a value that is kept in the filestore.
func (a *API) load(ctx context.Context, project string, v domain.Value) (domain.Value, error) {
	ref, ok := domain.AsBlobRef(v)
	if !ok {
		return v, nil
	}
	f, _, err := a.Files.Open(ctx, project, ref.Digest)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

// links adds to every file inside a value the address that it can be fetched from.
func (a *API) links(project, run string, v domain.Value) domain.Value {
	if !bytes.Contains(v, []byte(`"$file"`)) && !bytes.Contains(v, []byte(`"$dir"`)) {
		return v
	}
	dec := json.NewDecoder(bytes.NewReader(v))
	dec.UseNumber()
	var x any
	if dec.Decode(&x) != nil {
		return v
	}
	data, err := json.Marshal(a.link(project, run, x))
	if err != nil {
		return v
	}
	return data
}

func (a *API) link(project, run string, v any) any {
	switch x := v.(type) {
	case []any:
		for i := range x {
			x[i] = a.link(project, run, x[i])
		}
	case map[string]any:
		digest, ok := x["$file"].(string)
		if !ok {
			digest, ok = x["$dir"].(string)
		}
		if ok {
			q := url.Values{}
			for _, k := range []string{"name", "type"} {
				if s, ok := x[k].(string); ok {
					q.Set(k, s)
				}
			}
			x["url"] = a.PublicURL() + "/user-api/" + project + "/-/runs/" + run + "/files/" + digest + "?" + q.Encode()
			return x
		}
		for k := range x {
			x[k] = a.link(project, run, x[k])
		}
	}
	return v
}

// response answers as the trigger's `response: {status, headers, body}` says; a file as the body
// is streamed with its type, and in ranges.
func (a *API) response(w http.ResponseWriter, r *http.Request, route *route, project string, res app.RunResult) error {
	rendered, err := a.UseCases.Render(r.Context(), project, res.ID, route.with.Response)
	if err != nil {
		return err
	}
	var out struct {
		Status  json.Number       `json:"status"`
		Headers map[string]string `json:"headers"`
		Body    json.RawMessage   `json:"body"`
	}
	if err := json.Unmarshal(rendered, &out); err != nil {
		return fault.Wrap(err, fault.Internal, "the trigger's response")
	}
	status, err := statusOf(out.Status)
	if err != nil {
		return err
	}
	var file struct {
		File string `json:"$file"`
		Name string `json:"name"`
		Type string `json:"type"`
	}
	if json.Unmarshal(out.Body, &file) == nil && file.File != "" {
		return a.stream(w, r, project, stored{file.File, file.Name, file.Type}, status, out.Headers)
	}
	if status == http.StatusNoContent || status == http.StatusNotModified {
		setHeaders(w, out.Headers)
		w.WriteHeader(status)
		return nil
	}
	var text string
	if json.Unmarshal(out.Body, &text) == nil {
		httpx.UserContent(w.Header(), "", "text/plain; charset=utf-8")
		setHeaders(w, out.Headers)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
		return nil
	}
	setHeaders(w, out.Headers)
	return httpx.WriteJSON(w, status, a.links(project, res.ID, out.Body))
}

// statusOf is the status that the trigger's response gives, 200 without one.
func statusOf(given json.Number) (int, error) {
	if given == "" {
		return http.StatusOK, nil
	}
	n, err := strconv.Atoi(given.String())
	if err != nil || n < 200 || n > 599 {
		return 0, fault.New(fault.Unprocessable, "the run has completed, but the trigger's response.status is %s: it has to be a whole number from 200 to 599", given)
	}
	return n, nil
}

func setHeaders(w http.ResponseWriter, headers map[string]string) {
	for k, v := range headers {
		switch http.CanonicalHeaderKey(k) {
		case "Set-Cookie", "Content-Security-Policy", "Clear-Site-Data", "X-Content-Type-Options", "Strict-Transport-Security", "Content-Length", "Content-Range",
			"Transfer-Encoding", "Connection", "Trailer", "Pelton-Run", "Access-Control-Allow-Credentials":
			continue // not for user content to decide
		}
		w.Header().Set(k, v)
	}
}

// failed answers with the run's problem: 422, or the code that user code gave.
func failed(w http.ResponseWriter, res app.RunResult) error {
	w.Header().Set("Pelton-Run", res.ID)
	httpx.WriteProblem(w, problemOf(res))
	return nil
}

// problemOf is the problem of a run that did not complete.
func problemOf(res app.RunResult) httpx.Problem {
	p := httpx.ProblemOf(fault.New(fault.Unprocessable, "the run %s", res.State))
	p.Run = res.ID
	if res.State == domain.RunCancelled {
		p = httpx.ProblemOf(fault.New(fault.Gone, "the run was cancelled"))
		p.Run = res.ID
	}
	if e := res.Error; e != nil {
		p.Detail, p.Code = e.Message, e.Kind
		if res.Step != "" {
			p.Detail = "step " + res.Step + ": " + e.Message
		}
		if e.Code != "" {
			p.Code = e.Code
			if n, err := strconv.Atoi(e.Code); err == nil && n >= 400 && n < 600 && res.State == domain.RunFailed {
				p.Status = n
			}
		}
		if e.Field != "" {
			p.Errors = []httpx.ProblemField{{Field: e.Field, Message: e.Message}}
		}
	}
	return p
}

// trigger finds the settings with which a run was started, for the credentials of its links.
func (a *API) trigger(ctx context.Context, project, run string) (*route, error) {
	d, err := a.UseCases.GetRun(ctx, project, run)
	if err != nil {
		return nil, err
	}
	dep, err := a.UseCases.Deployment(ctx, project, d.Deployment)
	if err != nil {
		return nil, err
	}
	for _, t := range dep.Definition.Triggers {
		if t.ID == d.Trigger.ID && t.Uses == "http" {
			return newRoute(dep, t)
		}
	}
	return &route{deployment: dep, with: settings{Auth: "key"}}, nil
}

func (a *API) linked(w http.ResponseWriter, r *http.Request) (*route, string, string, error) {
	project, run := r.PathValue("project"), r.PathValue("id")
	if !id.Valid(run) {
		return nil, "", "", fault.New(fault.NotFound, "there is no run %q", run)
	}
	t, err := a.trigger(r.Context(), project, run)
	if err != nil {
		return nil, "", "", err
	}
	_, err = a.allowed(w, r, project, t)
	return t, project, run, err
}

// result is the result link: 202 while the run goes on, then what a synchronous call would have got.
func (a *API) result(w http.ResponseWriter, r *http.Request) error {
	t, project, run, err := a.linked(w, r)
	if err != nil {
		return err
	}
	res, err := a.UseCases.Result(r.Context(), project, run)
	if err != nil {
		return err
	}
	w.Header().Set("Pelton-Run", run)
	if !res.State.Ended() {
		return a.accepted(w, project, run)
	}
	return a.answer(w, r, t, project, res)
}

// file serves a file of a run's result, to those who may call its trigger.
func (a *API) file(w http.ResponseWriter, r *http.Request) error {
	_, project, run, err := a.linked(w, r)
	if err != nil {
		return err
	}
	res, err := a.UseCases.Result(r.Context(), project, run)
	if err != nil {
		return err
	}
	digest := r.PathValue("digest")
	for _, v := range res.Result {
		if v, err = a.load(r.Context(), project, v); err != nil {
			return err
		}
		if bytes.Contains(v, []byte(`"$file":"`+digest+`"`)) || bytes.Contains(v, []byte(`"$dir":"`+digest+`"`)) {
			w.Header().Set("Pelton-Run", run)
			return a.stream(w, r, project, stored{digest, r.URL.Query().Get("name"), r.URL.Query().Get("type")}, http.StatusOK, nil)
		}
	}
	return fault.New(fault.NotFound, "the run's result has no such file")
}

// stored is a file of the filestore with what it is to be called.
type stored struct{ digest, name, kind string }

// stream sends a file: with status 200 in the ranges that the caller asks for, else as a whole.
func (a *API) stream(w http.ResponseWriter, r *http.Request, project string, s stored, status int, headers map[string]string) error {
	f, size, err := a.Files.Open(r.Context(), project, s.digest)
	if err != nil {
		return err
	}
	defer f.Close()
	httpx.UserContent(w.Header(), s.name, s.kind)
	setHeaders(w, headers)
	if status == http.StatusOK {
		w.Header().Set("ETag", `"`+s.digest+`"`)
		http.ServeContent(w, r, "", time.Time{}, f)
		return nil
	}
	if status != http.StatusNoContent && status != http.StatusNotModified {
		w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	}
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = io.Copy(w, f) // the caller may have gone
	}
	return nil
}

// openapi describes the project's triggers.
func (a *API) openapi(w http.ResponseWriter, r *http.Request) error {
	project := r.PathValue("project")
	if _, err := a.allowed(w, r, project, &route{with: settings{Auth: "key"}}); err != nil {
		return err
	}
	paths := map[string]map[string]any{}
	for _, t := range a.table(project) {
		p := "/user-api/" + project + "/" + joinParts(t.parts)
		if paths[p] == nil {
			paths[p] = map[string]any{}
		}
		paths[p][lower(t.with.Method)] = operation(t)
	}
	return httpx.WriteJSON(w, http.StatusOK, map[string]any{
		"openapi": "3.0.3", "info": map[string]string{"title": "Workflows of project " + project, "version": "1"}, "paths": paths,
		"servers":    []map[string]string{{"url": a.PublicURL()}},
		"components": map[string]any{"securitySchemes": map[string]any{"key": map[string]string{"type": "http", "scheme": "bearer"}}},
	})
}

func joinParts(parts []string) string {
	var b bytes.Buffer
	for i, p := range parts {
		if i > 0 {
			b.WriteByte('/')
		}
		b.WriteString(p)
	}
	return b.String()
}

func lower(method string) string {
	if method == "ANY" {
		return "post"
	}
	return string(bytes.ToLower([]byte(method)))
}

func operation(t *route) map[string]any {
	d := t.deployment.Definition
	inPath := map[string]bool{}
	var params []map[string]any
	for _, p := range t.parts {
		if len(p) > 2 && p[0] == '{' {
			name := p[1 : len(p)-1]
			inPath[name] = true
			params = append(params, map[string]any{"name": name, "in": "path", "required": true, "schema": map[string]string{"type": "string"}})
		}
	}
	properties, required := map[string]any{}, []string{}
	for _, i := range d.Inputs {
		if inPath[i.Name] {
			continue
		}
		properties[i.Name] = schema(i)
		if !i.Optional && i.Default == nil {
			required = append(required, i.Name)
		}
	}
	slices.Sort(required)
	body := map[string]any{"type": "object", "properties": properties}
	if len(required) > 0 {
		body["required"] = required
	}
	done := map[string]any{"description": "the result"}
	if t.with.Mode == "stream" {
		done = map[string]any{"description": "outputs as they come, the result or the problem last", "content": map[string]any{
			"text/event-stream": map[string]any{}, ndjson: map[string]any{}}}
	}
	op := map[string]any{
		"operationId": d.Workflow + "_" + t.trigger.ID, "summary": d.Title,
		"responses": map[string]any{"200": done, "202": map[string]string{"description": "the run goes on; Location is the result link"}, "422": map[string]string{"description": "the run failed"}},
	}
	if len(params) > 0 {
		op["parameters"] = params
	}
	if t.with.Method != http.MethodGet && len(properties) > 0 {
		op["requestBody"] = map[string]any{"content": map[string]any{"application/json": map[string]any{"schema": body}, "multipart/form-data": map[string]any{"schema": body}}}
	}
	if t.with.Auth == "key" || t.with.Auth == "token" {
		op["security"] = []map[string][]string{{"key": {}}}
	}
	return op
}

func schema(i domain.Item) map[string]any {
	s := map[string]any{}
	switch i.Type {
	case "integer":
		s["type"] = "integer"
	case "float":
		s["type"] = "number"
	case "boolean":
		s["type"] = "boolean"
	case "list":
		s["type"], s["items"] = "array", map[string]any{}
	case "json":
	case "file", "bytes", "directory":
		s["type"], s["format"] = "string", "binary"
	case "enum":
		s["type"], s["enum"] = "string", i.EnumValues
	default:
		s["type"] = "string"
	}
	if i.Help != "" {
		s["description"] = i.Help
	}
	if i.Default != nil {
		s["default"] = i.Default
	}
	return s
}
