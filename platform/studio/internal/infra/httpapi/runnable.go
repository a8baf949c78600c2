package httpapi

import (
	"net/http"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/httpx"
	"github.com/pelton-run/pelton/platform/studio/internal/domain"
)

type runnableJSON struct {
	State      string           `json:"state"`
	Problems   []domain.Problem `json:"problems"`
	Definition []byte           `json:"definition,omitempty"`
}

// compile gives a workflow as the runner would get it.
func (a API) compile(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		YAML   string            `json:"yaml"`
		Path   string            `json:"path"`
		Builds map[string]string `json:"builds"`
	}
	if err := httpx.DecodeJSON(r, &in, 2<<20); err != nil {
		return err
	}
	if in.YAML == "" {
		return fault.InvalidField("yaml", "is missing", "give the text of a workflow")
	}
	if in.Path == "" {
		in.Path = "workflow.yaml"
	}
	found, err := a.Service.Compile(r.Context(), r.PathValue("project"), in.Path, in.YAML, in.Builds)
	if err != nil {
		return err
	}
	return httpx.WriteJSON(w, http.StatusOK, runnableJSON(found))
}
