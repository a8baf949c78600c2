package userapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"mime/multipart"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// maxText bounds what of a body is held in memory: JSON and form fields. Files are streamed.
const maxText = 8 << 20

// reader gathers the inputs of one request.
type reader struct {
	api    *API
	r      *http.Request
	route  *route
	inputs domain.Values
	bad    []fault.Field
}

// event is a request as expressions see it.
type event struct {
	Body   any               `json:"body,omitempty"`
	Method string            `json:"method"`
	Params map[string]string `json:"params"`
	Path   string            `json:"path"`
	Query  map[string]string `json:"query"`
}

// read maps a request onto the workflow's inputs: path, query, header and cookie parameters as
// their types want, a JSON or multipart body by name, or the body as `body:` says.
func (a *API) read(w http.ResponseWriter, r *http.Request, route *route, params map[string]string) (domain.Values, domain.Value, error) {
	g := &reader{api: a, r: r, route: route, inputs: domain.Values{}}
	tooLarge := fault.New(fault.TooLarge, "the body is larger than %d bytes: send less, or raise maxBytes of the trigger", route.with.MaxBytes)
	if r.ContentLength > int64(route.with.MaxBytes) {
		return nil, nil, tooLarge
	}
	r.Body = http.MaxBytesReader(w, r.Body, int64(route.with.MaxBytes))
	for name, v := range params {
		g.text(name, v, "path")
	}
	query := r.URL.Query()
	if route.with.Query != nil {
		for input, name := range route.with.Query {
			if query.Has(name) {
				g.text(input, query.Get(name), "query")
			}
		}
	} else {
		for name := range query {
			g.text(name, query.Get(name), "query")
		}
	}
	for input, name := range route.with.Header {
		if v := r.Header.Get(name); v != "" {
			g.text(input, v, "header")
		}
	}
	for input, name := range route.with.Cookie {
		if c, err := r.Cookie(name); err == nil {
			g.text(input, c.Value, "cookie")
		}
	}
	ev := &event{Method: r.Method, Path: r.URL.Path, Params: params, Query: flat(query)}
	if err := g.body(ev); err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return nil, nil, tooLarge
		}
		return nil, nil, err
	}
	if len(g.bad) > 0 {
		return nil, nil, fault.InvalidFields(g.bad...)
	}
	text, err := json.Marshal(ev)
	if len(route.trigger.Inputs) > 0 && len(g.inputs) > 0 {
		// The mapping decides alone what the inputs it names become.
		for name := range route.trigger.Inputs {
			delete(g.inputs, name)
		}
	}
	return g.inputs, text, err
}

func flat(query map[string][]string) map[string]string {
	out := map[string]string{}
	for k, v := range query {
		out[k] = v[0]
	}
	return out
}

func (g *reader) item(name string) (domain.Item, bool) {
	items := g.route.deployment.Definition.Inputs
	i := slices.IndexFunc(items, func(i domain.Item) bool { return i.Name == name })
	if i < 0 {
		return domain.Item{}, false
	}
	return items[i], true
}

func (g *reader) wrong(name, message, remedy string) {
	g.bad = append(g.bad, fault.Field{Path: name, Message: message, Remedy: remedy})
}

// text makes a value of a parameter's text as the input's type wants.
func (g *reader) text(name, v, where string) {
	it, ok := g.item(name)
	if !ok {
		if len(g.route.trigger.Inputs) > 0 || where == "header" || where == "cookie" {
			return // for the mapping, over event.*
		}
		g.wrong(name, "is no input of the workflow ("+where+")", "its inputs are "+g.names())
		return
	}
	switch it.Type {
	case "integer":
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil {
			g.wrong(name, "is "+strconv.Quote(v), "give a whole number")
			return
		}
		g.inputs[name] = domain.Value(strconv.FormatInt(n, 10))
	case "float":
		f, err := strconv.ParseFloat(v, 64)
		if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			g.wrong(name, "is "+strconv.Quote(v), "give a number")
			return
		}
		g.inputs[name] = domain.Value(strconv.FormatFloat(f, 'g', -1, 64))
	case "boolean":
		b, err := strconv.ParseBool(v)
		if err != nil {
			g.wrong(name, "is "+strconv.Quote(v), "give true or false")
			return
		}
		g.inputs[name] = domain.Value(strconv.FormatBool(b))
	case "json", "list":
		if !json.Valid([]byte(v)) {
			g.wrong(name, "is not JSON", "give JSON text")
			return
		}
		g.inputs[name] = domain.Value(v)
	case "file", "directory":
		g.wrong(name, "is a "+it.Type+" and cannot be given in the "+where, "send it in the body: curl -F "+name+"=@FILE")
	default:
		data, _ := json.Marshal(v)
		g.inputs[name] = data
	}
}

func (g *reader) names() string {
	var all []string
	for _, i := range g.route.deployment.Definition.Inputs {
		all = append(all, i.Name)
	}
	if len(all) == 0 {
		return "none"
	}
	return strings.Join(all, ", ")
}

// body reads the body as its type and the trigger say.
func (g *reader) body(ev *event) error {
	kind, params, err := mime.ParseMediaType(g.r.Header.Get("Content-Type"))
	if g.r.Header.Get("Content-Type") != "" && err != nil {
		return fault.New(fault.Unsupported, "the Content-Type cannot be read: %s", err)
	}
	switch {
	case kind == "multipart/form-data":
		return g.multipart(params["boundary"], ev)
	case g.route.with.Body != "":
		return g.whole(g.route.with.Body, kind)
	case g.r.ContentLength == 0 || g.r.Method == http.MethodGet || g.r.Method == http.MethodHead:
		return nil
	case kind == "application/x-www-form-urlencoded":
		data, err := g.small()
		if err != nil {
			return err
		}
		g.r.Body = io.NopCloser(bytes.NewReader(data))
		if err := g.r.ParseForm(); err != nil {
			return fault.Wrap(err, fault.Invalid, "the form cannot be read")
		}
		ev.Body = flat(g.r.PostForm)
		for name := range g.r.PostForm {
			g.text(name, g.r.PostForm.Get(name), "form")
		}
		return nil
	case kind == "" || kind == "application/json" || strings.HasSuffix(kind, "+json"):
		return g.json(ev)
	}
	return fault.New(fault.Unsupported, "the body's type is %s: send application/json or multipart/form-data", kind)
}

func (g *reader) small() ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(g.r.Body, maxText+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxText {
		return nil, fault.New(fault.TooLarge, "the body is larger than %d MiB: send large data as a file", maxText>>20)
	}
	return data, nil
}

func (g *reader) json(ev *event) error {
	data, err := g.small()
	if err != nil || len(bytes.TrimSpace(data)) == 0 {
		return err
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		if json.Valid(data) && len(g.route.trigger.Inputs) > 0 {
			ev.Body = json.RawMessage(data)
			return nil
		}
		return fault.InvalidField("", "the body is not a JSON object: "+strings.TrimPrefix(err.Error(), "json: "), "send {\"name\": value} with the workflow's inputs: "+g.names())
	}
	ev.Body = json.RawMessage(data)
	for name, v := range fields {
		if _, ok := g.item(name); !ok {
			if len(g.route.trigger.Inputs) == 0 {
				g.wrong(name, "is no input of the workflow", "its inputs are "+g.names())
			}
			continue
		}
		g.inputs[name] = v
	}
	return nil
}

// whole makes the body the value of one input.
func (g *reader) whole(name, kind string) error {
	it, ok := g.item(name)
	if !ok {
		return fault.New(fault.Internal, "trigger %s: the workflow has no input %s", g.route.trigger.ID, name)
	}
	if g.r.ContentLength == 0 {
		return nil // absent: the default, or an error that names it
	}
	switch it.Type {
	case "file":
		ref, err := g.put(g.r.Body, fileName(g.r.Header.Get("Content-Disposition"), name), kind)
		g.inputs[name] = ref
		return err
	case "json", "list", "integer", "float", "boolean":
		data, err := g.small()
		if err != nil {
			return err
		}
		if !json.Valid(data) {
			g.wrong(name, "the body is not JSON", "send JSON")
			return nil
		}
		g.inputs[name] = data
	case "bytes":
		data, err := g.small()
		if err != nil {
			return err
		}
		g.inputs[name], err = json.Marshal(data)
		return err
	default:
		data, err := g.small()
		if err != nil {
			return err
		}
		g.inputs[name], err = json.Marshal(string(data))
		return err
	}
	return nil
}

func fileName(disposition, fallback string) string {
	if _, params, err := mime.ParseMediaType(disposition); err == nil && params["filename"] != "" {
		return path.Base(path.Clean("/" + params["filename"]))
	}
	return fallback
}

// multipart reads a form: files are streamed into the filestore, fields are texts. A mapping sees
// them all as event.body.
func (g *reader) multipart(boundary string, ev *event) error {
	if boundary == "" {
		return fault.New(fault.Unsupported, "the multipart body has no boundary")
	}
	fields := map[string]any{}
	ev.Body = fields
	mapped := len(g.route.trigger.Inputs) > 0
	parts := multipart.NewReader(g.r.Body, boundary)
	for {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fault.Wrap(err, fault.Invalid, "the form cannot be read")
		}
		name := part.FormName()
		it, known := g.item(name)
		if !known && !mapped {
			g.wrong(name, "is no input of the workflow", "its inputs are "+g.names())
			continue
		}
		if known && it.Type == "file" || !known && part.FileName() != "" {
			ref, err := g.upload(part, name)
			if err != nil {
				return err
			}
			fields[name] = ref
			if known {
				g.inputs[name] = ref
			}
			continue
		}
		data, err := io.ReadAll(io.LimitReader(part, maxText+1))
		if err != nil {
			return fault.Wrap(err, fault.Invalid, "the form cannot be read")
		}
		if len(data) > maxText {
			return fault.New(fault.TooLarge, "the field %s is larger than %d MiB", name, maxText>>20)
		}
		fields[name] = string(data)
		g.text(name, string(data), "form")
	}
}

// upload keeps a file of a form.
func (g *reader) upload(part *multipart.Part, name string) (domain.Value, error) {
	file := part.FileName()
	if file == "" {
		file = name
	}
	kind := part.Header.Get("Content-Type")
	if kind == "" || kind == "application/octet-stream" {
		if guess := mime.TypeByExtension(path.Ext(file)); guess != "" {
			kind = guess
		}
	}
	return g.put(part, path.Base(path.Clean("/"+file)), kind)
}

func (g *reader) put(r io.Reader, name, kind string) (domain.Value, error) {
	digest, size, err := g.api.Files.Put(g.r.Context(), g.route.deployment.Project, r)
	if err != nil {
		return nil, err
	}
	if kind == "" {
		kind = "application/octet-stream"
	}
	data, err := json.Marshal(map[string]any{"$file": digest, "size": size, "name": name, "type": kind})
	if err != nil {
		return nil, fmt.Errorf("reference of a file: %w", err)
	}
	return data, nil
}
