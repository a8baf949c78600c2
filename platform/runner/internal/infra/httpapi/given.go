package httpapi

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/pelton-run/pelton/platform/kit/authn"
	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/httpx"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

type givenJSON struct {
	Run            string        `json:"run"`
	Step           string        `json:"step"`
	ItemPath       []int32       `json:"item_path"`
	Attempt        int32         `json:"attempt"`
	Execution      string        `json:"execution"`
	IdempotencyKey string        `json:"idempotency_key"`
	Action         string        `json:"action,omitempty"`
	Build          string        `json:"build,omitempty"`
	Workflow       string        `json:"workflow,omitempty"`
	Inputs         domain.Values `json:"inputs"`
	Secret         []string      `json:"secret"`
}

// stepInputs gives what an attempt was started with; secrets only where they are asked for.
func (a *API) stepInputs(w http.ResponseWriter, r *http.Request) error {
	rid, err := runID(r)
	if err != nil {
		return err
	}
	attempt, err := number(r, "attempt", 1<<31-1)
	if err != nil {
		return err
	}
	path, err := pathFrom(r.URL.Query().Get("item"))
	if err != nil {
		return err
	}
	secrets := false
	switch text := r.URL.Query().Get("secrets"); text {
	case "", "false":
	case "true":
		secrets = true
	default:
		return fault.InvalidField("secrets", "is "+strconv.Quote(text), "give true or false")
	}
	g, err := a.UseCases.Given(r.Context(), app.GivenQuery{Project: r.PathValue("project"), Run: rid, Step: r.PathValue("step"), ItemPath: path,
		Attempt: int32(attempt), Secrets: secrets, By: authn.From(r.Context()).Name})
	if err != nil {
		return err
	}
	out := givenJSON{Run: rid, Step: g.Step, ItemPath: g.ItemPath, Attempt: g.Attempt, Execution: g.Execution, IdempotencyKey: g.IdempotencyKey,
		Workflow: g.Workflow, Inputs: g.Inputs, Secret: g.Secret}
	if g.Build != nil {
		out.Action, out.Build = g.Build.Action, g.Build.Digest
	}
	if out.ItemPath == nil {
		out.ItemPath = []int32{}
	}
	if out.Secret == nil {
		out.Secret = []string{}
	}
	w.Header().Set("Cache-Control", "no-store")
	return httpx.WriteJSON(w, http.StatusOK, out)
}

// pathFrom reads 0.1.
func pathFrom(text string) ([]int32, error) {
	if text == "" {
		return nil, nil
	}
	var path []int32
	for _, part := range strings.Split(text, ".") {
		n, err := strconv.ParseInt(part, 10, 32)
		if err != nil || n < 0 {
			return nil, fault.InvalidField("item", "is "+strconv.Quote(text), "give indexes from 0, joined by dots, such as 0.1")
		}
		path = append(path, int32(n))
	}
	return path, nil
}
