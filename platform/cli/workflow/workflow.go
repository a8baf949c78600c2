// Package workflow is `pelton workflow`: workflows, their revisions and what is live of them.
package workflow

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/pelton-run/pelton/platform/cli/factory"
	"github.com/pelton-run/pelton/platform/sdk"
)

// NewCmd makes the command.
func NewCmd(f *factory.Factory) *cobra.Command {
	cmd := &cobra.Command{Use: "workflow", Short: "Workflows, their revisions and what is live of them"}
	f.AddProject(cmd)
	cmd.AddCommand(NewCmdList(f, nil), NewCmdShow(f, nil), NewCmdCheck(f, nil),
		newCmdLive(f, "deploy", "Make a revision live", nil),
		newCmdLive(f, "rollback", "Make the revision before the live one live again", nil), NewCmdTraffic(f, nil),
		NewCmdUndeploy(f, nil), NewCmdSchedules(f, nil), NewCmdBackfill(f, nil), NewCmdPause(f, nil), NewCmdResume(f, nil))
	return cmd
}

// Options of the commands on one workflow.
type Options struct {
	*factory.Factory
	Name string
}

// NewCmdList makes the command; runF replaces its work in tests.
func NewCmdList(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Factory: f}
	return &cobra.Command{
		Use: "list", Short: "List the workflows", Args: factory.ExactArgs(),
		Example: "  pelton workflow list",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			c, err := o.Client(cmd.Context())
			if err != nil {
				return err
			}
			var all sdk.List[sdk.Workflow]
			raw, err := c.Get(cmd.Context(), c.Path("studio", "workflows")+factory.Query("limit", "200"), &all)
			if err != nil {
				return err
			}
			var names []string
			var rows [][]string
			for _, w := range all.Items {
				names = append(names, w.Name)
				state, live := "not deployed", ""
				if w.Deployment != nil {
					state, live = w.Deployment.State, split(w.Deployment)
				}
				rows = append(rows, []string{w.Name, strconv.Itoa(w.Revision), state, live})
			}
			return o.Print(raw, names, func(w io.Writer) {
				factory.Table(w, "No workflows. Add one with `pelton apply FILE`, or a repository with `pelton repo add`.", []string{"WORKFLOW", "NEWEST", "STATE", "DEPLOYED"}, rows)
			})
		},
	}
}

// NewCmdShow makes the command; runF replaces its work in tests.
func NewCmdShow(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Factory: f}
	return &cobra.Command{
		Use: "show WORKFLOW", Short: "Show a workflow, its steps, its deployment and its revisions", Args: factory.ExactArgs("WORKFLOW"),
		Example: "  pelton workflow show weather-report",
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.Name = args[0]; runF != nil {
				return runF(cmd.Context(), o)
			}
			return show(cmd.Context(), o)
		},
	}
}

func show(ctx context.Context, o *Options) error {
	c, err := o.Client(ctx)
	if err != nil {
		return err
	}
	var w sdk.Workflow
	raw, err := c.Get(ctx, c.Path("studio", "workflows", o.Name), &w)
	if err != nil {
		return err
	}
	var all sdk.List[sdk.Revision]
	if _, err := c.Get(ctx, c.Path("studio", "workflows", o.Name, "revisions")+factory.Query("limit", "20"), &all); err != nil {
		return err
	}
	return o.Print(raw, []string{w.Name}, func(out io.Writer) { describe(out, w, all.Items, c.URL) })
}

// describe prints what is live of a workflow, how it is called, what it takes, what is wrong
// with what the newest scan found, and its revisions.
func describe(out io.Writer, w sdk.Workflow, revisions []sdk.Revision, server string) {
	fmt.Fprintf(out, "workflow %s, newest revision %d\n", w.Name, w.Revision)
	if d := w.Deployment; d != nil {
		fmt.Fprintf(out, "revision %s is %s", split(d), d.State)
		if d.Reason != "" {
			fmt.Fprintf(out, ": %s", d.Reason)
		}
		fmt.Fprintln(out)
		for _, e := range d.Endpoints {
			fmt.Fprintf(out, "  trigger %s: %s %s%s\n", e.Trigger, e.Method, server, e.Path)
		}
	} else {
		fmt.Fprintf(out, "not deployed: `pelton workflow deploy %s`\n", w.Name)
	}
	for _, p := range w.Problems {
		fmt.Fprintln(out, factory.Place(sdk.Location{
			File: p.File, Line: p.Line, Column: p.Column, Path: p.Path, Message: p.Message, Remedy: p.Proposal, Warning: p.Severity == "warning",
		}))
	}
	if w.Definition != nil && len(w.Definition.Inputs) > 0 {
		var rows [][]string
		for _, i := range w.Definition.Inputs {
			need := "required"
			switch {
			case len(i.Default) > 0:
				need = "default " + string(i.Default)
			case i.Optional:
				need = "optional"
			}
			rows = append(rows, []string{i.Name, i.Type, need})
		}
		factory.Table(out, "", []string{"INPUT", "TYPE", ""}, rows)
	}
	if w.Definition != nil && w.Definition.Policies != nil {
		factory.Table(out, "", []string{"POLICY", ""}, policies(w.Definition.Policies))
	}
	var rows [][]string
	for _, r := range revisions {
		mark := ""
		if d := w.Deployment; d != nil {
			mark = deployed(d, r.Revision)
		}
		rows = append(rows, []string{strconv.Itoa(r.Revision), factory.When(r.CreatedAt), mark})
	}
	factory.Table(out, "no revisions", []string{"REVISION", "SAVED", ""}, rows)
	if w.Definition != nil && len(w.Definition.Steps) > 0 {
		factory.Table(out, "", []string{"STEP", "DOES", "AFTER"}, steps(w.Definition))
	}
}

// NewCmdUndeploy makes the command; runF replaces its work in tests.
func NewCmdUndeploy(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Factory: f}
	return &cobra.Command{
		Use: "undeploy WORKFLOW", Short: "Start no more runs of a workflow; those under way go on", Args: factory.ExactArgs("WORKFLOW"),
		Example: "  pelton workflow undeploy weather-report",
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.Name = args[0]; runF != nil {
				return runF(cmd.Context(), o)
			}
			c, err := o.Client(cmd.Context())
			if err != nil {
				return err
			}
			if _, err := c.JSON(cmd.Context(), "POST", c.Path("studio", "workflows", o.Name, "undeploy"), map[string]any{}, nil); err != nil {
				return fmt.Errorf("undeploy %s: %w", o.Name, err)
			}
			fmt.Fprintf(o.Out, "workflow %s is undeployed; runs under way go on\n", o.Name)
			return nil
		},
	}
}
