package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/cloudevents/sdk-go/v2/types"

	"github.com/pelton-run/pelton/platform/kit/authn"
	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/httpx"
)

// Events come in by the HTTP binding of CloudEvents 1.0, and are allowed as its specification of web hooks says
// ("HTTP 1.1 Web Hooks for Event Delivery"): a bearer token in the header Authorization, or as access_token in the URL.

// Bounds of what is taken in one request.
const (
	maxEvent = 1 << 20 // bytes
	maxBatch = 8 << 20 // bytes
	maxCount = 1000
)

type startedJSON struct {
	EventID  string `json:"event_id"`
	Workflow string `json:"workflow"`
	Trigger  string `json:"trigger"`
	Run      string `json:"run"`
	Created  bool   `json:"created"`
}

// credential is what the sender shows, as the header Authorization.
func (a API) credential(r *http.Request) (string, error) {
	if token := r.URL.Query().Get("access_token"); token != "" && r.Header.Get("Authorization") == "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	p, err := a.Verify.Authenticate(r)
	if err != nil {
		return "", err
	}
	if project := r.PathValue("project"); p.Role(project) < authn.Operator {
		return "", fault.New(fault.Forbidden, "sending events needs the role operator in project %s: ask an admin of the project", project)
	}
	h := r.Header.Get("Authorization")
	if h == "" {
		return "", fault.New(fault.Unauthenticated, "events are sent with an API key: send Authorization: Bearer KEY, or access_token=KEY in the URL")
	}
	return h, nil
}

func (a API) receive(w http.ResponseWriter, r *http.Request) error {
	credential, err := a.credential(r)
	if err != nil {
		return err
	}
	events, batch, err := read(w, r)
	if err != nil {
		return err
	}
	out := struct {
		Events int           `json:"events"`
		Runs   []startedJSON `json:"runs"`
	}{Runs: []startedJSON{}}
	// A sender who hangs up now has started the runs all the same, but is not waited for with a reply.
	ctx := r.Context()
	if batch {
		ctx = context.WithoutCancel(ctx)
	}
	for i, e := range events {
		got, err := a.Service.Runner.Receive(ctx, credential, r.PathValue("project"), e.json, !batch)
		if err != nil {
			if f := fault.As(err); f != nil && batch {
				return fault.Wrap(err, f.Kind, "event %d of %d (%s): %s", i+1, len(events), e.id, f.Message)
			}
			return err
		}
		out.Events++
		for _, s := range got.Runs {
			out.Runs = append(out.Runs, startedJSON{e.id, s.Workflow, s.Trigger, s.Run, s.Created})
		}
		if got.Reply == nil {
			continue
		}
		reply := event.New()
		reply.SetID(got.Reply.ID)
		reply.SetSource(got.Reply.Source)
		reply.SetType(got.Reply.Type)
		reply.SetTime(got.Reply.Time)
		if err := reply.SetData(event.ApplicationJSON, json.RawMessage(got.Reply.Data)); err != nil {
			return fault.Wrap(err, fault.Internal, "make the reply")
		}
		return cehttp.WriteResponseWriter(ctx, binding.ToMessage(&reply), http.StatusOK, w)
	}
	if wantsReply(r) {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return httpx.WriteJSON(w, http.StatusAccepted, out)
}

// wantsReply tells that the sender takes an answer for an event, and one that is none for a failure, as Knative's Brokers
// and channels do (Knative Eventing data plane contract, "event reply").
func wantsReply(r *http.Request) bool {
	for _, h := range r.Header.Values("Prefer") {
		for _, p := range strings.Split(h, ",") {
			if strings.EqualFold(strings.TrimSpace(p), "reply") {
				return true
			}
		}
	}
	return false
}

// mayReceive answers the handshake of web hooks: any origin may send, with a credential.
func (a API) mayReceive(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Allow", "POST, OPTIONS")
	if origin := r.Header.Get("WebHook-Request-Origin"); origin != "" {
		w.Header().Set("WebHook-Allowed-Origin", "*")
		if r.Header.Get("WebHook-Request-Rate") != "" {
			w.Header().Set("WebHook-Allowed-Rate", "*")
		}
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// one event in the JSON format.
type incoming struct {
	id   string
	json []byte
}

const modes = "send an event in binary mode (headers ce-specversion: 1.0, ce-id, ce-source and ce-type), or Content-Type: application/cloudevents+json or application/cloudevents-batch+json"

// read reads the events of a request; batch tells that they came as one.
func read(w http.ResponseWriter, r *http.Request) (events []incoming, batch bool, err error) {
	media := ""
	if text := r.Header.Get("Content-Type"); text != "" {
		if media, _, err = mime.ParseMediaType(text); err != nil {
			return nil, false, fault.New(fault.Unsupported, "the Content-Type %q cannot be read: %s", text, modes)
		}
	}
	batch = media == event.ApplicationCloudEventsBatchJSON
	limit := int64(maxEvent)
	if batch {
		limit = maxBatch
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
		return nil, batch, fault.New(fault.TooLarge, "the body is larger than %d bytes: put large data into a file, and its address into the event", limit)
	}
	if err != nil {
		return nil, batch, fault.Wrap(err, fault.Invalid, "the body could not be read: %s", err)
	}
	switch {
	case batch:
		events, err = readBatch(body)
		return events, true, err
	case media == event.ApplicationCloudEventsJSON:
		e, err := structured(body, "")
		return []incoming{e}, false, err
	case strings.HasPrefix(media, "application/cloudevents"):
		return nil, false, fault.New(fault.Unsupported, "the format %s is not supported: %s", media, modes)
	}
	e, err := binary(r.Header, body)
	return []incoming{e}, false, err
}

func readBatch(body []byte) ([]incoming, error) {
	var list []json.RawMessage
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, fault.InvalidField("", "the body is no JSON array of events", "send [{…}, {…}]")
	}
	if len(list) > maxCount {
		return nil, fault.New(fault.TooLarge, "the batch has %d events: send at most %d", len(list), maxCount)
	}
	out := make([]incoming, 0, len(list))
	var bad []fault.Field
	for i, raw := range list {
		e, err := structured(raw, fmt.Sprintf("[%d].", i))
		if f := fault.As(err); f != nil {
			bad = append(bad, f.Fields...)
			continue
		}
		out = append(out, e)
	}
	if bad != nil {
		return nil, fault.InvalidFields(bad...)
	}
	return out, nil
}

// structured reads one event in the JSON format; at begins the paths of problems.
func structured(body []byte, at string) (incoming, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(body, &fields); err != nil {
		return incoming{}, fault.InvalidField(strings.TrimSuffix(at, "."), "is no JSON object", `send {"specversion": "1.0", "id": …, "source": …, "type": …}`)
	}
	if _, both := fields["data_base64"]; both && fields["data"] != nil {
		return incoming{}, fault.InvalidField(at+"data_base64", "is given beside data", "give one of them")
	}
	if f := version(fields["specversion"], at); f != nil {
		return incoming{}, fault.InvalidFields(*f)
	}
	var bad []fault.Field
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if name == "data" || name == "data_base64" {
			continue
		}
		if f := attribute(at+name, name, fields[name]); f != nil {
			bad = append(bad, *f)
		}
	}
	if bad != nil {
		return incoming{}, fault.InvalidFields(bad...)
	}
	var e event.Event
	if err := json.Unmarshal(body, &e); err != nil {
		return incoming{}, fault.InvalidFields(said(err, at)...)
	}
	return checked(&e, at)
}

func version(raw json.RawMessage, at string) *fault.Field {
	var v string
	switch err := json.Unmarshal(raw, &v); {
	case raw == nil:
		return &fault.Field{Path: at + "specversion", Message: "is missing", Remedy: `give "1.0"`}
	case err != nil || v != event.CloudEventsVersionV1:
		return &fault.Field{Path: at + "specversion", Message: "is " + string(raw), Remedy: `give "1.0": this is the version that is understood`}
	}
	return nil
}

// attribute checks the name and the type of an attribute (CloudEvents 1.0, section 3.1).
func attribute(path, name string, raw json.RawMessage) *fault.Field {
	if name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
		return &fault.Field{Path: path, Message: "is no name of an attribute", Remedy: "use a-z and 0-9 alone"}
	}
	if len(raw) > 0 && (raw[0] == '{' || raw[0] == '[') {
		return &fault.Field{Path: path, Message: "is an object or a list", Remedy: "give a text, a whole number or true or false; put what is larger into data"}
	}
	return nil
}

// binary reads one event whose attributes are headers.
func binary(h http.Header, body []byte) (incoming, error) {
	if h.Get("Ce-Specversion") == "" {
		for name := range h {
			if strings.HasPrefix(name, "Ce-") {
				return incoming{}, fault.InvalidField("ce-specversion", "is missing", "give 1.0")
			}
		}
		return incoming{}, fault.New(fault.Unsupported, "the request holds no CloudEvent: %s", modes)
	}
	raw, _ := json.Marshal(h.Get("Ce-Specversion"))
	if f := version(raw, "ce-"); f != nil {
		return incoming{}, fault.InvalidFields(*f)
	}
	for name, values := range h {
		rest, ours := strings.CutPrefix(name, "Ce-")
		if !ours {
			continue
		}
		path := strings.ToLower(name)
		if f := attribute(path, strings.ToLower(rest), nil); f != nil {
			return incoming{}, fault.InvalidFields(*f)
		}
		if len(values) > 1 {
			return incoming{}, fault.InvalidField(path, "is given several times", "give it once")
		}
		if !utf8.ValidString(values[0]) {
			return incoming{}, fault.InvalidField(path, "is no UTF-8", "percent-encode characters beyond ASCII")
		}
	}
	for name, parse := range map[string]func(string) error{
		"time":       func(v string) error { _, err := types.ParseTime(v); return err },
		"source":     func(v string) error { _, err := url.Parse(v); return err },
		"dataschema": func(v string) error { _, err := url.Parse(v); return err },
	} {
		if v := h.Get("Ce-" + name); v != "" && parse(v) != nil {
			return incoming{}, fault.InvalidField("ce-"+name, fmt.Sprintf("is %q", v), remedies[name])
		}
	}
	e, err := binding.ToEvent(context.Background(), cehttp.NewMessage(h, io.NopCloser(bytes.NewReader(body))))
	if err != nil {
		return incoming{}, fault.InvalidFields(said(err, "ce-")...)
	}
	if len(body) == 0 {
		e.DataEncoded = nil
	}
	// What is JSON or text shows as that in the JSON format; base64 is for the rest.
	switch media := e.DataMediaType(); {
	case isJSON(media):
		e.DataBase64 = false
		if e.DataEncoded != nil && !json.Valid(e.DataEncoded) {
			return incoming{}, fault.InvalidField("data", "is no JSON, as the Content-Type says", "mend it, or give the type that it has")
		}
	case (strings.HasPrefix(media, "text/") || strings.HasSuffix(media, "xml")) && utf8.Valid(e.DataEncoded):
		e.DataBase64 = false
	default:
		e.DataBase64 = true
	}
	return checked(e, "ce-")
}

func isJSON(media string) bool {
	return media == "" || media == "application/json" || media == "text/json" || strings.HasSuffix(media, "+json")
}

// checked holds an event to the specification.
func checked(e *event.Event, at string) (incoming, error) {
	if err := e.Validate(); err != nil {
		return incoming{}, fault.InvalidFields(said(err, at)...)
	}
	text, err := json.Marshal(e)
	if err != nil {
		return incoming{}, fault.InvalidFields(said(err, at)...)
	}
	return incoming{e.ID(), text}, nil
}

// remedies are of attributes that the SDK refuses.
var remedies = map[string]string{
	"id": "give a text that tells it from the source's other events", "source": "give a URI reference such as /shop/orders", "type": "give a type such as com.example.order.created",
	"subject": "leave it out, or give a text", "time": "give a time such as 2026-01-31T09:00:00Z", "datacontenttype": "give a media type such as application/json",
	"dataschema": "give an absolute URI, or leave it out",
}

// said are the fields of an error of the SDK.
func said(err error, at string) (out []fault.Field) {
	var v event.ValidationError
	if errors.As(err, &v) {
		for _, name := range slices.Sorted(maps.Keys(v)) {
			out = append(out, fault.Field{Path: at + name, Message: strings.TrimSpace(v[name].Error()), Remedy: remedies[name]})
		}
		return out
	}
	text := err.Error()
	for _, name := range slices.Sorted(maps.Keys(remedies)) {
		if slices.Contains(strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return r < 'a' || r > 'z' }), name) {
			return []fault.Field{{Path: at + name, Message: text, Remedy: remedies[name]}}
		}
	}
	return []fault.Field{{Path: strings.TrimSuffix(at, "."), Message: text, Remedy: "see https://cloudevents.io for the format"}}
}
