package httpapi

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pelton-run/pelton/platform/kit/authn"
	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/httpx"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// The largest body of an order: a payload or a form's values of 64 KiB, with what is around it.
const maxOrder = 256 << 10

// order reads the body of an order to a run into in, which is left as it is without a body, and
// checks its command_id.
func order(r *http.Request, in any, commandID *string) error {
	if r.ContentLength != 0 {
		if err := httpx.DecodeJSON(r, in, maxOrder); err != nil {
			return err
		}
	}
	if commandID != nil && len(*commandID) > 200 {
		return fault.InvalidField("command_id", fmt.Sprintf("is %d bytes long", len(*commandID)), "give at most 200")
	}
	return nil
}

// ordered answers with the run as it is once an order to it is durable.
func (a *API) ordered(w http.ResponseWriter, r *http.Request, rid string) error {
	d, err := a.UseCases.GetRun(r.Context(), r.PathValue("project"), rid)
	if err != nil {
		return err
	}
	return httpx.WriteJSON(w, http.StatusAccepted, detail(d))
}

func (a *API) signalRun(w http.ResponseWriter, r *http.Request) error {
	rid, err := runID(r)
	if err != nil {
		return err
	}
	var in struct {
		Payload   domain.Value `json:"payload"`
		CommandID string       `json:"command_id"`
	}
	if err := order(r, &in, &in.CommandID); err != nil {
		return err
	}
	if err := a.UseCases.Signal(r.Context(), r.PathValue("project"), rid, in.CommandID, r.PathValue("name"), in.Payload); err != nil {
		return err
	}
	return a.ordered(w, r, rid)
}

func (a *API) decideRun(w http.ResponseWriter, r *http.Request) error {
	rid, err := runID(r)
	if err != nil {
		return err
	}
	var in struct {
		Step      string        `json:"step"`
		ItemPath  []int32       `json:"item_path"`
		Approved  *bool         `json:"approved"`
		Comment   string        `json:"comment"`
		Values    domain.Values `json:"values"`
		CommandID string        `json:"command_id"`
	}
	if err := httpx.DecodeJSON(r, &in, maxOrder); err != nil {
		return err
	}
	var bad []fault.Field
	if in.Step == "" {
		bad = append(bad, fault.Field{Path: "step", Message: "is missing", Remedy: "name the step that waits for a decision"})
	}
	if in.Approved == nil {
		bad = append(bad, fault.Field{Path: "approved", Message: "is missing", Remedy: "give true or false"})
	}
	if slices.ContainsFunc(in.ItemPath, func(i int32) bool { return i < 0 }) {
		bad = append(bad, fault.Field{Path: "item_path", Message: "has an index below 0", Remedy: "give the item_path of the step run"})
	}
	if len(in.Comment) > 4<<10 {
		bad = append(bad, fault.Field{Path: "comment", Message: "is longer than 4 KiB", Remedy: "be brief"})
	}
	if len(in.CommandID) > 200 {
		bad = append(bad, fault.Field{Path: "command_id", Message: fmt.Sprintf("is %d bytes long", len(in.CommandID)), Remedy: "give at most 200"})
	}
	if bad != nil {
		return fault.InvalidFields(bad...)
	}
	project := r.PathValue("project")
	by, roles := caller(r, project)
	d := app.Decision{Step: in.Step, Path: in.ItemPath, Approved: *in.Approved, Comment: in.Comment, Values: in.Values, By: by, Roles: roles}
	if err := a.UseCases.Decide(r.Context(), project, rid, in.CommandID, d); err != nil {
		return err
	}
	return a.ordered(w, r, rid)
}

// caller is who sent the request, as approvers are named, and the roles that they have in the
// project. A key never passes for the user of its name.
func caller(r *http.Request, project string) (by string, roles []string) {
	p := authn.From(r.Context())
	by = p.Name
	if p.Key {
		by = "key:" + p.Name
	}
	for role := authn.Viewer; role <= p.Role(project); role++ {
		roles = append(roles, role.String())
	}
	return by, roles
}

func (a *API) pauseRun(w http.ResponseWriter, r *http.Request) error {
	rid, err := runID(r)
	if err != nil {
		return err
	}
	var in struct {
		Reason    string `json:"reason"`
		CommandID string `json:"command_id"`
	}
	if err := order(r, &in, &in.CommandID); err != nil {
		return err
	}
	project := r.PathValue("project")
	if in.Reason == "" {
		by, _ := caller(r, project)
		in.Reason = "paused by " + by
	}
	if err := a.UseCases.Pause(r.Context(), project, rid, in.CommandID, in.Reason); err != nil {
		return err
	}
	return a.ordered(w, r, rid)
}

func (a *API) resumeRun(w http.ResponseWriter, r *http.Request) error {
	rid, err := runID(r)
	if err != nil {
		return err
	}
	var in struct {
		CommandID string `json:"command_id"`
	}
	if err := order(r, &in, &in.CommandID); err != nil {
		return err
	}
	if err := a.UseCases.Resume(r.Context(), r.PathValue("project"), rid, in.CommandID); err != nil {
		return err
	}
	return a.ordered(w, r, rid)
}

func (a *API) retryRun(w http.ResponseWriter, r *http.Request) error {
	rid, err := runID(r)
	if err != nil {
		return err
	}
	var in struct {
		From           string `json:"from"`
		Newest         bool   `json:"newest"`
		IdempotencyKey string `json:"idempotency_key"`
	}
	if err := order(r, &in, nil); err != nil {
		return err
	}
	project := r.PathValue("project")
	started, err := a.UseCases.Retry(r.Context(), app.RetryRun{Project: project, Run: rid, From: in.From, Newest: in.Newest, Key: in.IdempotencyKey})
	if err != nil {
		return err
	}
	d, err := a.UseCases.GetRun(r.Context(), project, started.ID)
	if err != nil {
		return err
	}
	status := http.StatusCreated
	if !started.Created {
		status = http.StatusOK
	}
	w.Header().Set("Location", "/runner/v1/projects/"+project+"/runs/"+started.ID)
	return httpx.WriteJSON(w, status, detail(d))
}

// waitJSON is a step run that waits for a signal or a person.
type waitJSON struct {
	Run      string     `json:"run"`
	Workflow string     `json:"workflow"`
	Step     string     `json:"step"`
	ItemPath []int32    `json:"item_path"`
	Kind     string     `json:"kind"`
	Text     string     `json:"text"`
	Since    time.Time  `json:"since"`
	Until    *time.Time `json:"until,omitempty"`
}

// outside are the kinds of waits that a signal or a decision ends.
var outside = []string{"signal", "approval", "consent", "lost"}

func (a *API) listWaits(w http.ResponseWriter, r *http.Request) error {
	page, err := httpx.PageOf(r, "kind", "run")
	if err != nil {
		return err
	}
	query := r.URL.Query()
	q := app.WaitQuery{Project: r.PathValue("project"), Run: query.Get("run"), Kinds: query["kind"], Limit: page.Limit, After: page.Cursor}
	for _, k := range q.Kinds {
		if !slices.Contains(outside, k) {
			return fault.InvalidField("kind", "is "+strconv.Quote(k), "give "+strings.Join(outside[:3], ", ")+" or "+outside[3])
		}
	}
	if q.Run != "" && !validID(q.Run) {
		return fault.InvalidField("run", "is "+strconv.Quote(q.Run), "give the id of a run")
	}
	list, next, err := a.UseCases.Waits(r.Context(), q)
	if err != nil {
		return err
	}
	var out []waitJSON
	for _, x := range list {
		out = append(out, waitJSON{x.Run, x.Workflow, x.Step, itemPath(x.Path), x.Kind, x.Text, utc(x.Since), when(x.Due)})
	}
	return httpx.WriteJSON(w, http.StatusOK, httpx.NewList(out, next))
}

func itemPath(p []int32) []int32 {
	if p == nil {
		return []int32{}
	}
	return p
}

// stepWaitJSON is what a step run, or a run that has not started, waits for.
type stepWaitJSON struct {
	Kind      string          `json:"kind"`
	Text      string          `json:"text,omitempty"`
	Until     *time.Time      `json:"until,omitempty"`
	HeldBy    []string        `json:"held_by,omitempty"`
	Position  int             `json:"position,omitempty"`
	Form      []deployedInput `json:"form,omitempty"`
	Approvers []string        `json:"approvers,omitempty"`
}

func waitOf(v *app.WaitView) *stepWaitJSON {
	if v == nil {
		return nil
	}
	j := &stepWaitJSON{Kind: v.Kind, Text: v.Text, Until: when(v.Until), HeldBy: v.HeldBy, Position: v.Position, Approvers: v.Approvers}
	for _, i := range v.Form {
		j.Form = append(j.Form, inputOf(i))
	}
	return j
}

// handlerJSON is the failure handler of a run: its run, or why there is none.
type handlerJSON struct {
	Run     string `json:"run,omitempty"`
	Problem string `json:"problem,omitempty"`
}

func handlerOf(text string) *handlerJSON {
	switch {
	case text == "":
		return nil
	case validID(text):
		return &handlerJSON{Run: text}
	}
	return &handlerJSON{Problem: text}
}

// parentJSON is the run that started another one.
type parentJSON struct {
	Run      string `json:"run"`
	Workflow string `json:"workflow"`
	Step     string `json:"step,omitempty"`
}

func inputOf(i domain.Item) deployedInput {
	return deployedInput{i.Name, i.Type, i.Title, i.Help, i.Optional, i.Default, i.EnumValues, i.Accept}
}
