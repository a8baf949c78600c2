package httpapi

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/httpx"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// maxEvent bounds an event, in bytes: it becomes part of the run's journal.
const maxEvent = 2 << 20

type eventRunJSON struct {
	Workflow string `json:"workflow"`
	Trigger  string `json:"trigger"`
	Run      string `json:"run"`
	Created  bool   `json:"created"`
}

type eventReplyJSON struct {
	ID     string        `json:"id"`
	Source string        `json:"source"`
	Type   string        `json:"type"`
	Time   time.Time     `json:"time"`
	Data   domain.Values `json:"data"`
}

func (a *API) receiveEvent(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Event   json.RawMessage `json:"event"`
		NoReply bool            `json:"no_reply"`
	}
	if err := httpx.DecodeJSON(r, &in, maxEvent); err != nil {
		return err
	}
	if len(in.Event) == 0 {
		return fault.InvalidField("event", "is missing", "give an event in the JSON format of CloudEvents")
	}
	started, reply, err := a.UseCases.ReceiveEvent(r.Context(), r.PathValue("project"), in.Event, !in.NoReply)
	if err != nil {
		return err
	}
	out := struct {
		Runs  []eventRunJSON  `json:"runs"`
		Reply *eventReplyJSON `json:"reply,omitempty"`
	}{Runs: []eventRunJSON{}}
	for _, s := range started {
		out.Runs = append(out.Runs, eventRunJSON(s))
	}
	if reply != nil {
		out.Reply = &eventReplyJSON{reply.ID, reply.Source, reply.Type, utc(reply.Time), reply.Result}
		if out.Reply.Data == nil {
			out.Reply.Data = domain.Values{}
		}
	}
	return httpx.WriteJSON(w, http.StatusOK, out)
}
