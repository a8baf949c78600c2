// Package definition makes the studio.v1.Definition that the runner gets.
package definition

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/pelton-run/pelton/functions/formats/action"
	"github.com/pelton-run/pelton/functions/formats/workflow"
	studiov1 "github.com/pelton-run/pelton/platform/studio/contracts/studio/v1"
	"github.com/pelton-run/pelton/platform/studio/internal/app"
	"github.com/pelton-run/pelton/platform/studio/internal/domain"
)

// Maker implements app.Definitions.
type Maker struct{}

// compute is what an action asks for beyond processors and memory, nil = nothing.
func compute(a action.Action) []byte {
	if a.GPU == nil && a.Addons.Kubernetes == nil {
		return nil
	}
	text, err := json.Marshal(struct {
		GPU        *action.GPU        `json:"gpu,omitempty"`
		Kubernetes *action.Kubernetes `json:"kubernetes,omitempty"`
	}{a.GPU, a.Addons.Kubernetes})
	if err != nil {
		return nil // texts and numbers that came from JSON
	}
	return text
}

type definition struct{ d *studiov1.Definition }

// Make implements app.Definitions.
func (Maker) Make(w workflow.Workflow, yaml string, builds map[string]domain.Build, revisionID string) (app.Definition, error) {
	d := &studiov1.Definition{Workflow: w.Name, RevisionId: revisionID, Title: w.Title, Inputs: items(w.Inputs), TimeoutMs: w.Timeout.Milliseconds(), Yaml: yaml, Result: map[string]string{}}
	policies(d, w)
	pinned := map[string]bool{}
	pin := func(uses string) (string, error) {
		b, ok := builds[uses]
		if !ok || pinned[b.Build] {
			return b.Build, nil
		}
		pinned[b.Build] = true
		var a action.Action
		if err := json.Unmarshal([]byte(b.ActionJSON), &a); err != nil {
			return "", fmt.Errorf("metadata of %s: %w", uses, err)
		}
		d.Builds = append(d.Builds, &studiov1.Build{
			Digest: b.Build, Artifact: b.Artifact, Action: a.Label(), Kind: a.Kind, Runtime: a.Runtime, Inputs: items(a.Inputs), Outputs: items(a.Outputs),
			Isolation: a.Isolation, Concurrency: int32(a.Concurrency), MemoryBytes: a.MemoryBytes, Cpu: a.CPU, Effect: a.Effect,
			DynamicOutputs: a.DynamicOutputs, TimeoutMs: a.TimeoutMillis, ComputeJson: compute(a),
		})
		return b.Build, nil
	}
	for _, t := range w.Triggers {
		build, err := pin(t.Uses)
		if err != nil {
			return nil, err
		}
		d.Triggers = append(d.Triggers, &studiov1.Trigger{Id: t.ID, Uses: t.Uses, Build: build, WithJson: t.With, InputsJson: values(t.Inputs)})
	}
	for _, s := range w.Steps {
		build, err := pin(s.Uses)
		if err != nil {
			return nil, err
		}
		x := step(s, build)
		if s.Undo != nil {
			if x.Undo.Build, err = pin(s.Undo.Uses); err != nil {
				return nil, err
			}
		}
		d.Steps = append(d.Steps, x)
	}
	for _, v := range w.Result {
		d.Result[v.Name] = string(v.JSON)
		var text string
		if json.Unmarshal(v.JSON, &text) == nil {
			d.Result[v.Name] = text
		}
	}
	return definition{d}, nil
}

func values(list []workflow.Value) map[string]string {
	out := map[string]string{}
	for _, v := range list {
		out[v.Name] = string(v.JSON)
	}
	return out
}

func items(list []action.Item) []*studiov1.Item {
	var out []*studiov1.Item
	for _, i := range list {
		out = append(out, &studiov1.Item{Name: i.Name, Type: i.Type, Title: i.Title, Help: i.Help, Optional: i.Optional, DefaultJson: i.Default, EnumValues: i.EnumValues, SchemaJson: i.Schema, Accept: i.Accept})
	}
	return out
}

// Digest implements app.Definition: of the text and of the pinned builds.
func (x definition) Digest() []byte {
	var builds []string
	for _, b := range x.d.Builds {
		builds = append(builds, b.Digest)
	}
	slices.Sort(builds)
	sum := sha256.Sum256([]byte(x.d.Yaml + "\x00" + strings.Join(builds, "\x00")))
	return sum[:]
}

// Encode implements app.Definition.
func (x definition) Encode(number int) ([]byte, error) {
	x.d.Revision = int32(number)
	return proto.MarshalOptions{Deterministic: true}.Marshal(x.d)
}
