// Package project is `pelton project`.
package project

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/pelton-run/pelton/platform/cli/factory"
	"github.com/pelton-run/pelton/platform/sdk"
)

// Options of the commands on projects.
type Options struct {
	*factory.Factory
	Name string
}

// NewCmd makes the command.
func NewCmd(f *factory.Factory) *cobra.Command {
	cmd := &cobra.Command{Use: "project", Short: "Your projects"}
	cmd.AddCommand(NewCmdList(f, nil), NewCmdUse(f, nil), NewCmdRetention(f, nil))
	return cmd
}

// NewCmdList makes the command; runF replaces its work in tests.
func NewCmdList(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Factory: f}
	return &cobra.Command{
		Use: "list", Short: "List your projects", Args: factory.ExactArgs(),
		Example: "  pelton project list -o name",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			c, err := o.Client(cmd.Context())
			if err != nil {
				return err
			}
			var all sdk.List[sdk.Project]
			raw, err := c.Get(cmd.Context(), "/authorization/v1/projects", &all)
			if err != nil {
				return err
			}
			var names []string
			var rows [][]string
			for _, p := range all.Items {
				name := p.Name
				names = append(names, name)
				mark := ""
				if name == c.Project {
					mark = "in use"
				}
				rows = append(rows, []string{name, p.Role, mark})
			}
			return o.Print(raw, names, func(w io.Writer) {
				factory.Table(w, "You are in no project: ask an admin.", []string{"PROJECT", "ROLE", ""}, rows)
			})
		},
	}
}

// NewCmdUse makes the command; runF replaces its work in tests.
func NewCmdUse(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Factory: f}
	return &cobra.Command{
		Use: "use NAME", Short: "Work in a project from now on", Args: factory.ExactArgs("NAME"),
		Example: "  pelton project use team-a",
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.Name = args[0]; runF != nil {
				return runF(cmd.Context(), o)
			}
			saved, err := o.LoadContext()
			if err != nil {
				return err
			}
			if saved.Server == "" {
				return errors.New("nobody is signed in: use `pelton login --project " + o.Name + "`, --project, or PELTON_PROJECT")
			}
			saved.Project = o.Name
			if err := o.SaveContext(saved); err != nil {
				return err
			}
			fmt.Fprintf(o.Out, "project %s is in use from now on\n", o.Name)
			return nil
		},
	}
}
