// Package secret is `pelton secret`: a project's secrets. Values go in and never come out.
package secret

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/pelton-run/pelton/platform/cli/factory"
	"github.com/pelton-run/pelton/platform/sdk"
)

// NewCmd makes the command.
func NewCmd(f *factory.Factory) *cobra.Command {
	cmd := &cobra.Command{Use: "secret", Short: "A project's secrets"}
	f.AddProject(cmd)
	cmd.AddCommand(NewCmdSet(f, nil), NewCmdList(f, nil), NewCmdDelete(f, nil))
	return cmd
}

// Options of the commands on one secret.
type Options struct {
	*factory.Factory
	Name string
}

// NewCmdSet makes the command; runF replaces its work in tests.
func NewCmdSet(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Factory: f}
	return &cobra.Command{
		Use: "set NAME", Short: "Set a secret; its value is read from standard input or typed unseen", Args: factory.ExactArgs("NAME"),
		Example: "  pelton secret set token < token.txt",
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.Name = args[0]; runF != nil {
				return runF(cmd.Context(), o)
			}
			c, err := o.Client(cmd.Context())
			if err != nil {
				return err
			}
			value, err := o.Secret("value of "+o.Name, false)
			if err != nil {
				return err
			}
			if _, err := c.JSON(cmd.Context(), "PUT", c.Path("runner", "secrets", o.Name), map[string]string{"value": value}, nil); err != nil {
				return fmt.Errorf("set secret %s: %w", o.Name, err)
			}
			fmt.Fprintf(o.Out, "secret %s is set; workflows reach it as ${secrets.%s}\n", o.Name, o.Name)
			return nil
		},
	}
}

// NewCmdList makes the command; runF replaces its work in tests.
func NewCmdList(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Factory: f}
	return &cobra.Command{
		Use: "list", Short: "List the names of the secrets", Args: factory.ExactArgs(),
		Example: "  pelton secret list -o name",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			c, err := o.Client(cmd.Context())
			if err != nil {
				return err
			}
			var all sdk.List[sdk.Named]
			raw, err := c.Get(cmd.Context(), c.Path("runner", "secrets"), &all)
			if err != nil {
				return err
			}
			var names []string
			var rows [][]string
			for _, s := range all.Items {
				names = append(names, s.Name)
				rows = append(rows, []string{s.Name, factory.When(s.UpdatedAt)})
			}
			return o.Print(raw, names, func(w io.Writer) {
				factory.Table(w, "No secrets. Set one with `pelton secret set NAME`.", []string{"SECRET", "SET"}, rows)
			})
		},
	}
}

// NewCmdDelete makes the command; runF replaces its work in tests.
func NewCmdDelete(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Factory: f}
	return &cobra.Command{
		Use: "delete NAME", Short: "Delete a secret", Args: factory.ExactArgs("NAME"),
		Example: "  pelton secret delete token",
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.Name = args[0]; runF != nil {
				return runF(cmd.Context(), o)
			}
			c, err := o.Client(cmd.Context())
			if err != nil {
				return err
			}
			if _, err := c.JSON(cmd.Context(), "DELETE", c.Path("runner", "secrets", o.Name), nil, nil); err != nil {
				return fmt.Errorf("delete secret %s: %w", o.Name, err)
			}
			fmt.Fprintf(o.Out, "secret %s is deleted\n", o.Name)
			return nil
		},
	}
}
