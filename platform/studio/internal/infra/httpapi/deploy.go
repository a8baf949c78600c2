package httpapi

import (
	"net/http"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/httpx"
	"github.com/pelton-run/pelton/platform/studio/internal/domain"
)

// choiceJSON says which revision is deployed, and for how many of 100 new runs.
type choiceJSON struct {
	Revision int  `json:"revision"`
	Traffic  *int `json:"traffic"`
}

// choice reads a choiceJSON; an empty body is one, too.
func choice(r *http.Request) (in choiceJSON, err error) {
	if r.ContentLength == 0 {
		return in, nil
	}
	if err := httpx.DecodeJSON(r, &in, 64<<10); err != nil {
		return in, err
	}
	if in.Revision < 0 {
		return in, fault.InvalidField("revision", "is negative", "give the number of a revision, or leave it out")
	}
	return in, nil
}

func (a API) deploy(w http.ResponseWriter, r *http.Request) error {
	in, err := choice(r)
	if err != nil {
		return err
	}
	weight := 100
	if in.Traffic != nil {
		weight = *in.Traffic
	}
	d, err := a.Service.Deploy(r.Context(), r.PathValue("project"), r.PathValue("name"), in.Revision, weight)
	if err != nil {
		return err
	}
	return httpx.WriteJSON(w, http.StatusAccepted, deploymentOf(d))
}

func (a API) undeploy(w http.ResponseWriter, r *http.Request) error {
	d, err := a.Service.Undeploy(r.Context(), r.PathValue("project"), r.PathValue("name"))
	if err != nil {
		return err
	}
	return httpx.WriteJSON(w, http.StatusAccepted, deploymentOf(d))
}

func (a API) rollback(w http.ResponseWriter, r *http.Request) error {
	in, err := choice(r)
	if err != nil {
		return err
	}
	if in.Traffic != nil {
		return fault.InvalidField("traffic", "is not for a rollback, which takes all runs", "leave it out, or give weights to the traffic of the workflow")
	}
	d, err := a.Service.Rollback(r.Context(), r.PathValue("project"), r.PathValue("name"), in.Revision)
	if err != nil {
		return err
	}
	return httpx.WriteJSON(w, http.StatusAccepted, deploymentOf(d))
}

// setTraffic shares a workflow's new runs between revisions.
func (a API) setTraffic(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Weights []struct {
			Revision int `json:"revision"`
			Weight   int `json:"weight"`
		} `json:"weights"`
	}
	if err := httpx.DecodeJSON(r, &in, 64<<10); err != nil {
		return err
	}
	asked := make([]domain.Share, len(in.Weights))
	for i, s := range in.Weights {
		asked[i] = domain.Share{Revision: s.Revision, Weight: s.Weight}
	}
	d, err := a.Service.SetTraffic(r.Context(), r.PathValue("project"), r.PathValue("name"), asked)
	if err != nil {
		return err
	}
	return httpx.WriteJSON(w, http.StatusAccepted, deploymentOf(d))
}
