package httpapi

import (
	"net/http"

	"github.com/pelton-run/pelton/platform/kit/httpx"
	"github.com/pelton-run/pelton/platform/studio/internal/domain"
)

type runnableJSON struct {
	State      string            `json:"state"`
	Path       string            `json:"path,omitempty"`
	YAML       string            `json:"yaml"`
	Builds     map[string]string `json:"builds"`
	Problems   []domain.Problem  `json:"problems"`
	Definition []byte            `json:"definition,omitempty"`
}

// definition gives the newest state of a workflow as the runner would get it.
func (a API) definition(w http.ResponseWriter, r *http.Request) error {
	found, err := a.Service.Runnable(r.Context(), r.PathValue("project"), r.PathValue("name"))
	if err != nil {
		return err
	}
	if found.Builds == nil {
		found.Builds = map[string]string{}
	}
	return httpx.WriteJSON(w, http.StatusOK, runnableJSON(found))
}
