// Package apply is `pelton apply`: it saves workflow files as new revisions and deploys them, and
// with --prune undeploys those that came from the same folder and are gone from it.
package apply

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/pelton-run/pelton/platform/cli/factory"
	"github.com/pelton-run/pelton/platform/cli/workflow"
	"github.com/pelton-run/pelton/platform/sdk"
)

// Options of `pelton apply`.
type Options struct {
	*factory.Factory
	Path     string
	Plan     bool
	Prune    bool
	Yes      bool
	Origin   string
	NoDeploy bool
	Timeout  time.Duration
}

// NewCmd makes the command.
func NewCmd(f *factory.Factory) *cobra.Command { return NewCmdApply(f, nil) }

// NewCmdApply makes the command; runF replaces its work in tests.
func NewCmdApply(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Factory: f}
	cmd := &cobra.Command{
		Use: "apply DIR|FILE", Short: "Save workflow files as new revisions and deploy them", Args: factory.ExactArgs("DIR|FILE"),
		Long: `Checks every workflow of a file or of a folder (its workflows/*.yaml, or its own *.yaml), saves
each as a new revision and deploys it. When one has an error, nothing at all is saved. What is
live already stays as it is.

Steps name actions of the library (uses: id, id@1.0). For workflows that use actions of their
own repository (uses: ./path), add that repository: pelton repo add.

The last line of a saved workflow names the folder it came from: the place in its Git remote, or
else on this machine. --prune undeploys workflows that came from the same folder and are no
longer in it; runs under way go on, and their revisions stay.`,
		Example: "  pelton apply . --plan --prune\n  pelton apply . --prune --yes\n  pelton apply workflows/report.yaml --no-deploy",
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.Path = args[0]; o.Timeout <= 0 {
				return factory.Usage("--timeout %s is not above 0", o.Timeout)
			}
			if info, err := os.Stat(o.Path); o.Prune && err == nil && !info.IsDir() {
				return factory.Usage("--prune needs the whole folder: %s is a file", o.Path)
			}
			if o.Prune && o.NoDeploy {
				return factory.Usage("--prune undeploys: leave out --no-deploy")
			}
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return apply(cmd.Context(), o)
		},
	}
	f.AddProject(cmd)
	cmd.Flags().BoolVar(&o.Plan, "plan", false, "only say what would be done")
	cmd.Flags().BoolVar(&o.Prune, "prune", false, "undeploy workflows that came from this folder and are gone from it")
	cmd.Flags().BoolVar(&o.Yes, "yes", false, "do not ask before --prune undeploys")
	cmd.Flags().StringVar(&o.Origin, "origin", "", "name of the folder's origin (default: its place in the Git remote, or on this machine)")
	cmd.Flags().BoolVar(&o.NoDeploy, "no-deploy", false, "save the revisions without making them live")
	cmd.Flags().DurationVar(&o.Timeout, "timeout", 5*time.Minute, "wait at most this long for each deployment")
	return cmd
}

func apply(ctx context.Context, o *Options) error {
	docs, err := find(o.Path, o.Prune)
	if err != nil {
		return err
	}
	from := o.Origin
	if from == "" {
		if from, err = origin(ctx, o.Path); err != nil {
			return err
		}
	}
	c, err := o.Client(ctx)
	if err != nil {
		return err
	}
	if err := checkAll(ctx, o, c, docs); err != nil {
		return err
	}
	changes, err := plan(ctx, c, docs, from, o.Prune)
	if err != nil {
		return err
	}
	if o.Plan {
		return tell(o, changes)
	}
	if !o.Yes {
		if err := confirm(o.Factory, changes); err != nil {
			return err
		}
	}
	var failed []error
	for i := range changes {
		if changes[i].Change == toRemove && len(failed) > 0 {
			changes[i].Note = "not undeployed, since another workflow failed"
			continue
		}
		if err := carryOut(ctx, o, c, &changes[i]); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			failed = append(failed, err)
		}
	}
	return errors.Join(tell(o, changes), errors.Join(failed...))
}

// carryOut does what is planned for one workflow and notes how it stands then.
func carryOut(ctx context.Context, o *Options, c *sdk.Client, x *change) error {
	if x.Change == toRemove {
		if _, err := c.JSON(ctx, "POST", c.Path("studio", "workflows", x.Name, "undeploy"), map[string]any{}, nil); err != nil {
			return fmt.Errorf("undeploy %s: %w", x.Name, err)
		}
		x.State = "stopped"
		fmt.Fprintf(o.Err, "%s: undeployed\n", x.Name)
		return nil
	}
	// Saved even when its text is the same: its actions may have newer builds.
	var now struct{ Revision int }
	var body []byte
	if err := o.WhileBuilt(ctx, o.Timeout, x.Name, func() (err error) {
		body, err = c.Raw(ctx, "PUT", c.Path("studio", "workflows", x.Name), "application/yaml", x.text)
		return err
	}); err != nil {
		return fmt.Errorf("save %s: %w", x.File, err)
	}
	if err := json.Unmarshal(body, &now); err != nil {
		return fmt.Errorf("read the server's answer: %w", err)
	}
	if x.Change == unchanged && now.Revision != x.Revision {
		x.Change, x.Note = toUpdate, "newer builds of its actions"
	}
	live := x.Change == unchanged && x.State == "live" && x.Note == ""
	x.Revision = now.Revision
	if o.NoDeploy || live {
		return nil
	}
	d, _, err := workflow.Order(ctx, &workflow.LiveOptions{Factory: o.Factory, Verb: "deploy", Name: x.Name, Revision: now.Revision, Wait: true, Timeout: o.Timeout}, c)
	if err != nil {
		return err
	}
	x.State, x.Revision, x.Note = d.State, d.Revision, d.Reason
	fmt.Fprintf(o.Err, "%s: revision %d: %s\n", x.Name, x.Revision, x.State)
	if d.State == "failed" {
		return fmt.Errorf("the deployment of %s failed: %s", x.Name, d.Reason)
	}
	return nil
}

func tell(o *Options, changes []change) error {
	if changes == nil {
		changes = []change{}
	}
	raw, err := json.Marshal(map[string]any{"items": changes})
	if err != nil {
		return err
	}
	var names []string
	var rows [][]string
	for _, x := range changes {
		names = append(names, x.Name)
		revision := ""
		if x.Revision > 0 {
			revision = strconv.Itoa(x.Revision)
		}
		rows = append(rows, []string{x.Name, x.Change, revision, x.State, x.File, x.Note})
	}
	return o.Print(raw, names, func(w io.Writer) {
		factory.Table(w, "Nothing to do: the folder has no workflows, and none of the project came from it.", []string{"WORKFLOW", "CHANGE", "REVISION", "STATE", "FILE", "NOTE"}, rows)
	})
}
