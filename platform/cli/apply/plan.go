package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/pelton-run/pelton/platform/cli/factory"
	"github.com/pelton-run/pelton/platform/sdk"
)

// What apply does with a workflow.
const (
	toCreate  = "create"
	toUpdate  = "update"
	unchanged = "unchanged"
	toRemove  = "remove"
)

// change of one workflow.
type change struct {
	Name     string `json:"name"`
	Change   string `json:"change"`             // create | update | unchanged | remove
	Revision int    `json:"revision,omitempty"` // before; the new one once it was applied
	State    string `json:"state,omitempty"`    // of its deployment
	File     string `json:"file,omitempty"`
	Note     string `json:"note,omitempty"`

	text []byte
}

// saved is what the server has of a workflow.
type saved struct {
	Name       string                  `json:"name"`
	Path       string                  `json:"path"`
	Revision   int                     `json:"revision"`
	YAML       string                  `json:"yaml"`
	Deployment *sdk.WorkflowDeployment `json:"deployment"`
}

func (s saved) live(revision int) bool {
	return s.Deployment != nil && s.Deployment.State == "live" && s.Deployment.Revision == revision
}

func (s saved) deployed() bool { return s.Deployment != nil && s.Deployment.State != "stopped" }

// plan compares the documents with what the server has.
func plan(ctx context.Context, c *sdk.Client, docs []document, from string, prune bool) ([]change, error) {
	var out []change
	var names []string
	for _, d := range docs {
		x := change{Name: d.name, Change: toCreate, File: d.file, text: marked(d.text, from)}
		names = append(names, d.name)
		var now saved
		_, err := c.Get(ctx, c.Path("studio", "workflows", d.name), &now)
		if err != nil && factory.ExitCode(err) != factory.ExitNotFound {
			return nil, err
		}
		if err == nil {
			x.compare(now, from)
		}
		out = append(out, x)
	}
	if !prune {
		return out, nil
	}
	gone, err := removals(ctx, c, names, from)
	return append(out, gone...), err
}

func (x *change) compare(now saved, from string) {
	x.Revision, x.Change = now.Revision, toUpdate
	if now.Deployment != nil {
		x.State = now.Deployment.State
	}
	was := originOf(now.YAML)
	switch {
	case now.YAML == string(x.text):
		x.Change = unchanged
		if !now.live(now.Revision) {
			x.Note = fmt.Sprintf("revision %d is not live", now.Revision)
		}
	case was != "" && was != from:
		x.Note = "was applied from " + was
	case was == "" && now.Path != "":
		x.Note = "was found in a repository, in " + now.Path
	}
}

// removals are the deployed workflows that were applied from here and whose file is gone.
func removals(ctx context.Context, c *sdk.Client, keep []string, from string) ([]change, error) {
	var out []change
	for cursor, more := "", true; more; {
		var page struct {
			Items      []saved `json:"items"`
			NextCursor string  `json:"next_cursor"`
		}
		if _, err := c.Get(ctx, c.Path("studio", "workflows")+factory.Query("limit", "200", "cursor", cursor), &page); err != nil {
			return nil, err
		}
		for _, s := range page.Items {
			if !s.deployed() || slices.Contains(keep, s.Name) {
				continue
			}
			var whole saved
			if _, err := c.Get(ctx, c.Path("studio", "workflows", s.Name), &whole); err != nil {
				return nil, err
			}
			if originOf(whole.YAML) == from {
				out = append(out, change{Name: s.Name, Change: toRemove, Revision: s.Deployment.Revision, State: s.Deployment.State})
			}
		}
		cursor, more = page.NextCursor, page.NextCursor != ""
	}
	return out, nil
}

// errDeclined says that the question was not answered with yes.
var errDeclined = errors.New("nothing was changed")

// confirm asks before workflows are removed.
func confirm(f *factory.Factory, changes []change) error {
	var gone []string
	for _, x := range changes {
		if x.Change == toRemove {
			gone = append(gone, x.Name)
		}
	}
	if len(gone) == 0 {
		return nil
	}
	yes, err := f.Confirm(fmt.Sprintf("--prune undeploys %s: %v.", factory.Count(len(gone), "workflow"), gone), "--yes, or look first with --plan")
	if err == nil && !yes {
		err = errDeclined
	}
	return err
}
