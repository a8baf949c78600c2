// Package httpapi is the bridge's HTTP interface; openapi.yaml describes it.
package httpapi

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/pelton-run/pelton/eventing/bridge/internal/app"
	"github.com/pelton-run/pelton/eventing/bridge/internal/domain"
	"github.com/pelton-run/pelton/platform/kit/authn"
	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/httpx"
	"github.com/pelton-run/pelton/platform/kit/openapi"
)

// API serves the interface.
type API struct {
	Service *app.Service
	Verify  *authn.Verifier
	Schemas map[string][]byte // of the data of events, by type and .json
}

const prefix = "/bridge/v1/projects/{project}"

// Handler is the mux of the service's routes.
func (a API) Handler() *openapi.Mux {
	mux := &openapi.Mux{}
	route := func(pattern string, role authn.Role, f httpx.HandlerFunc) {
		mux.Handle(pattern, a.Verify.Require(role, httpx.Handle(f)))
	}
	route("GET "+prefix+"/subscriptions", authn.Viewer, a.list)
	route("POST "+prefix+"/subscriptions", authn.Developer, a.subscribe)
	route("GET "+prefix+"/subscriptions/{subscription}", authn.Viewer, a.get)
	route("DELETE "+prefix+"/subscriptions/{subscription}", authn.Developer, a.unsubscribe)
	route("POST "+prefix+"/subscriptions/{subscription}/pause", authn.Operator, a.pause)
	route("POST "+prefix+"/subscriptions/{subscription}/resume", authn.Operator, a.resume)
	route("GET "+prefix+"/dead-letters", authn.Viewer, a.dead)
	route("POST "+prefix+"/dead-letters/replay", authn.Operator, a.replayAll)
	route("POST "+prefix+"/dead-letters/drop", authn.Operator, a.dropAll)
	route("GET "+prefix+"/dead-letters/{id}", authn.Viewer, a.letter)
	route("DELETE "+prefix+"/dead-letters/{id}", authn.Operator, a.drop)
	route("POST "+prefix+"/dead-letters/{id}/replay", authn.Operator, a.replay)
	route("GET "+prefix+"/broker", authn.Viewer, a.broker)
	route("PUT "+prefix+"/broker", authn.Admin, a.connectBroker)
	route("DELETE "+prefix+"/broker", authn.Admin, a.disconnectBroker)
	mux.Handle("POST "+prefix+"/events", httpx.Handle(a.receive))
	mux.Handle("OPTIONS "+prefix+"/events", httpx.Handle(a.mayReceive))
	mux.Handle("GET /bridge/v1/event-types", httpx.Handle(a.types))
	mux.Handle("GET /bridge/v1/schemas/{type}", httpx.Handle(a.schema))
	return mux
}

func utc(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

func optional(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = utc(t)
	return &t
}

type sinkJSON struct {
	Kind     string `json:"kind"`
	URL      string `json:"url,omitempty"`
	Exchange string `json:"exchange,omitempty"`
	Key      string `json:"key,omitempty"`
}

type subscriptionJSON struct {
	ID          string          `json:"id"`
	Name        string          `json:"name"`
	Sink        sinkJSON        `json:"sink"`
	Types       []string        `json:"types"`
	Filter      json.RawMessage `json:"filter"`
	State       string          `json:"state"`
	Reason      string          `json:"reason,omitempty"`
	Secret      string          `json:"secret,omitempty"`
	CreatedAt   time.Time       `json:"created_at"`
	Delivered   int64           `json:"delivered"`
	DeliveredAt *time.Time      `json:"delivered_at,omitempty"`
	LastError   string          `json:"last_error,omitempty"`
	Waiting     int             `json:"waiting"`
	Dead        int             `json:"dead"`
}

func subscriptionOf(s domain.Subscription) subscriptionJSON {
	j := subscriptionJSON{ID: s.ID, Name: s.Name, Sink: sinkJSON(s.Sink), Types: s.Types, Filter: s.Filter, State: s.State(), Reason: s.Disabled, CreatedAt: utc(s.CreatedAt),
		Delivered: s.Delivered, DeliveredAt: optional(s.DeliveredAt), LastError: s.LastError, Waiting: s.Waiting, Dead: s.Dead}
	if j.Types == nil {
		j.Types = []string{}
	}
	if j.Filter == nil {
		j.Filter = json.RawMessage("[]")
	}
	return j
}

func (a API) list(w http.ResponseWriter, r *http.Request) error {
	if _, err := httpx.PageOf(r); err != nil {
		return err
	}
	found, err := a.Service.Store.Subscriptions(r.Context(), r.PathValue("project"))
	if err != nil {
		return err
	}
	items := make([]subscriptionJSON, len(found))
	for i, s := range found {
		items[i] = subscriptionOf(s)
	}
	return httpx.WriteJSON(w, http.StatusOK, httpx.NewList(items, ""))
}

func (a API) subscribe(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Name   string          `json:"name"`
		Sink   *sinkJSON       `json:"sink"`
		Types  []string        `json:"types"`
		Filter json.RawMessage `json:"filter"`
		Secret string          `json:"secret"`
	}
	if err := httpx.DecodeJSON(r, &in, 256<<10); err != nil {
		return err
	}
	if in.Sink == nil {
		return fault.InvalidField("sink", "is missing", `give where events go: {"kind": "webhook", "url": "https://…"}`)
	}
	s, secret, err := a.Service.Subscribe(r.Context(), app.Subscribe{Project: r.PathValue("project"), Name: in.Name, Sink: domain.Sink(*in.Sink),
		Types: in.Types, Filter: in.Filter, Secret: in.Secret})
	if err != nil {
		return err
	}
	j := subscriptionOf(s)
	j.Secret = secret
	return httpx.WriteJSON(w, http.StatusCreated, j)
}

func (a API) get(w http.ResponseWriter, r *http.Request) error {
	return one(w)(a.Service.Store.Subscription(r.Context(), r.PathValue("project"), r.PathValue("subscription")))
}

// one answers with a subscription.
func one(w http.ResponseWriter) func(domain.Subscription, error) error {
	return func(s domain.Subscription, err error) error {
		if err != nil {
			return err
		}
		return httpx.WriteJSON(w, http.StatusOK, subscriptionOf(s))
	}
}

func (a API) unsubscribe(w http.ResponseWriter, r *http.Request) error {
	if err := a.Service.Unsubscribe(r.Context(), r.PathValue("project"), r.PathValue("subscription")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a API) pause(w http.ResponseWriter, r *http.Request) error {
	return one(w)(a.Service.Pause(r.Context(), r.PathValue("project"), r.PathValue("subscription")))
}

func (a API) resume(w http.ResponseWriter, r *http.Request) error {
	return one(w)(a.Service.Resume(r.Context(), r.PathValue("project"), r.PathValue("subscription")))
}

type letterJSON struct {
	ID           string          `json:"id"`
	Subscription string          `json:"subscription"`
	EventID      string          `json:"event_id"`
	Type         string          `json:"type"`
	Tries        int             `json:"tries"`
	Reason       string          `json:"reason"`
	CreatedAt    time.Time       `json:"created_at"`
	DiedAt       time.Time       `json:"died_at"`
	Event        json.RawMessage `json:"event,omitempty"`
}

func letterOf(d domain.Delivery) letterJSON {
	return letterJSON{d.ID, d.Subscription, d.EventID, d.Type, d.Tries, d.LastError, utc(d.CreatedAt), utc(d.DiedAt), nil}
}

// subscriptionID is the id of a subscription that somebody names, "" for none.
func (a API) subscriptionID(r *http.Request, key string) (string, error) {
	if key == "" {
		return "", nil
	}
	s, err := a.Service.Store.Subscription(r.Context(), r.PathValue("project"), key)
	return s.ID, err
}

func (a API) dead(w http.ResponseWriter, r *http.Request) error {
	page, err := httpx.PageOf(r, "subscription")
	if err != nil {
		return err
	}
	sub, err := a.subscriptionID(r, r.URL.Query().Get("subscription"))
	if err != nil {
		return err
	}
	found, err := a.Service.Store.Dead(r.Context(), r.PathValue("project"), sub, page.Cursor, page.Limit+1)
	if err != nil {
		return err
	}
	next := ""
	if len(found) > page.Limit {
		found = found[:page.Limit]
		next = httpx.Cursor(strconv.FormatInt(found[len(found)-1].Seq, 10))
	}
	items := make([]letterJSON, len(found))
	for i, d := range found {
		items[i] = letterOf(d)
	}
	return httpx.WriteJSON(w, http.StatusOK, httpx.NewList(items, next))
}

func (a API) letter(w http.ResponseWriter, r *http.Request) error {
	d, err := a.Service.Store.DeadDelivery(r.Context(), r.PathValue("project"), r.PathValue("id"))
	if err != nil {
		return err
	}
	j := letterOf(d)
	j.Event = d.Event
	return httpx.WriteJSON(w, http.StatusOK, j)
}

type countJSON struct {
	Count int `json:"count"`
}

func (a API) replay(w http.ResponseWriter, r *http.Request) error {
	n, err := a.Service.Replay(r.Context(), r.PathValue("project"), "", r.PathValue("id"))
	if err != nil {
		return err
	}
	return httpx.WriteJSON(w, http.StatusOK, countJSON{n})
}

func (a API) drop(w http.ResponseWriter, r *http.Request) error {
	if _, err := a.Service.Store.Drop(r.Context(), r.PathValue("project"), "", r.PathValue("id")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// selected reads whose dead letters an order is about.
func (a API) selected(r *http.Request) (string, error) {
	var in struct {
		Subscription string `json:"subscription"`
	}
	if err := httpx.DecodeJSON(r, &in, 64<<10); err != nil {
		return "", err
	}
	return a.subscriptionID(r, in.Subscription)
}

func (a API) replayAll(w http.ResponseWriter, r *http.Request) error {
	sub, err := a.selected(r)
	if err != nil {
		return err
	}
	n, err := a.Service.Replay(r.Context(), r.PathValue("project"), sub, "")
	if err != nil {
		return err
	}
	return httpx.WriteJSON(w, http.StatusOK, countJSON{n})
}

func (a API) dropAll(w http.ResponseWriter, r *http.Request) error {
	sub, err := a.selected(r)
	if err != nil {
		return err
	}
	n, err := a.Service.Store.Drop(r.Context(), r.PathValue("project"), sub, "")
	if err != nil {
		return err
	}
	return httpx.WriteJSON(w, http.StatusOK, countJSON{n})
}

type typeJSON struct {
	Type        string `json:"type"`
	Description string `json:"description"`
	Schema      string `json:"schema"`
}

func (a API) types(w http.ResponseWriter, _ *http.Request) error {
	items := make([]typeJSON, len(domain.Types))
	for i, t := range domain.Types {
		items[i] = typeJSON{t.Name, t.Title, domain.SchemaURL(a.Service.Schemas(), t.Name)}
	}
	return httpx.WriteJSON(w, http.StatusOK, httpx.NewList(items, ""))
}

func (a API) schema(w http.ResponseWriter, r *http.Request) error {
	text, ok := a.Schemas[r.PathValue("type")]
	if !ok {
		return fault.New(fault.NotFound, "there is no schema %s: `pelton events types` lists the types", r.PathValue("type"))
	}
	w.Header().Set("Content-Type", "application/json")
	_, err := w.Write(text)
	return err
}
