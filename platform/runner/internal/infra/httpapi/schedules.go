package httpapi

import (
	"net/http"
	"time"

	"github.com/pelton-run/pelton/platform/kit/httpx"
)

type scheduleJSON struct {
	Workflow   string      `json:"workflow"`
	Revision   int         `json:"revision"`
	Deployment string      `json:"deployment"`
	Trigger    string      `json:"trigger"`
	Schedule   string      `json:"schedule"`
	Timezone   string      `json:"timezone,omitempty"`
	CatchUp    string      `json:"catch_up"`
	Overlap    string      `json:"overlap"`
	JitterMS   int64       `json:"jitter_ms,omitempty"`
	Paused     *pausedJSON `json:"paused,omitempty"`
	Next       []time.Time `json:"next"`
	Last       *time.Time  `json:"last_due,omitempty"`
	Run        string      `json:"last_run,omitempty"`
}

func (a *API) listSchedules(w http.ResponseWriter, r *http.Request) error {
	if _, err := httpx.PageOf(r); err != nil {
		return err
	}
	list, err := a.UseCases.Schedules(r.Context(), r.PathValue("project"))
	if err != nil {
		return err
	}
	out := make([]scheduleJSON, len(list))
	for i, s := range list {
		out[i] = scheduleJSON{s.Workflow, s.Revision, s.Deployment, s.Trigger, s.Schedule, s.Timezone, s.CatchUp, s.Overlap, s.Jitter.Milliseconds(),
			nil, make([]time.Time, len(s.Next)), when(s.Last), s.Run}
		for k, t := range s.Next {
			out[i].Next[k] = t.UTC()
		}
		if s.Paused != nil {
			out[i].Paused = &pausedJSON{s.Paused.Reason, utc(s.Paused.Since)}
		}
	}
	return httpx.WriteJSON(w, http.StatusOK, httpx.NewList(out, ""))
}
