// Package variable is `pelton variable`: a project's variables, readable in workflows as vars.NAME.
package variable

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/pelton-run/pelton/platform/cli/factory"
	"github.com/pelton-run/pelton/platform/sdk"
)

// NewCmd makes the command.
func NewCmd(f *factory.Factory) *cobra.Command {
	cmd := &cobra.Command{Use: "variable", Short: "A project's variables"}
	f.AddProject(cmd)
	cmd.AddCommand(NewCmdSet(f, nil), NewCmdList(f, nil), NewCmdDelete(f, nil))
	return cmd
}

// Options of the commands on one variable.
type Options struct {
	*factory.Factory
	Name, Value string
}

// NewCmdSet makes the command; runF replaces its work in tests.
func NewCmdSet(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Factory: f}
	return &cobra.Command{
		Use: "set NAME VALUE", Short: "Set a variable; a value that reads as JSON is taken as that", Args: factory.ExactArgs("NAME", "VALUE"),
		Example: "  pelton variable set city Seattle\n  pelton variable set limits '{\"rows\": 100}'",
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.Name, o.Value = args[0], args[1]; runF != nil {
				return runF(cmd.Context(), o)
			}
			c, err := o.Client(cmd.Context())
			if err != nil {
				return err
			}
			if _, err := c.JSON(cmd.Context(), "PUT", c.Path("runner", "variables", o.Name), map[string]any{"value": value(o.Value)}, nil); err != nil {
				return fmt.Errorf("set variable %s: %w", o.Name, err)
			}
			fmt.Fprintf(o.Out, "variable %s is set; workflows reach it as ${vars.%s}\n", o.Name, o.Name)
			return nil
		},
	}
}

func value(text string) any {
	if trimmed := bytes.TrimSpace([]byte(text)); json.Valid(trimmed) {
		return json.RawMessage(trimmed)
	}
	return text
}

// NewCmdList makes the command; runF replaces its work in tests.
func NewCmdList(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Factory: f}
	return &cobra.Command{
		Use: "list", Short: "List the variables", Args: factory.ExactArgs(),
		Example: "  pelton variable list",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			c, err := o.Client(cmd.Context())
			if err != nil {
				return err
			}
			var all sdk.List[sdk.Named]
			raw, err := c.Get(cmd.Context(), c.Path("runner", "variables"), &all)
			if err != nil {
				return err
			}
			var names []string
			var rows [][]string
			for _, v := range all.Items {
				names = append(names, v.Name)
				rows = append(rows, []string{v.Name, string(v.Value), factory.When(v.UpdatedAt)})
			}
			return o.Print(raw, names, func(w io.Writer) {
				factory.Table(w, "No variables. Set one with `pelton variable set NAME VALUE`.", []string{"VARIABLE", "VALUE", "SET"}, rows)
			})
		},
	}
}

// NewCmdDelete makes the command; runF replaces its work in tests.
func NewCmdDelete(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Factory: f}
	return &cobra.Command{
		Use: "delete NAME", Short: "Delete a variable", Args: factory.ExactArgs("NAME"),
		Example: "  pelton variable delete limits",
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.Name = args[0]; runF != nil {
				return runF(cmd.Context(), o)
			}
			c, err := o.Client(cmd.Context())
			if err != nil {
				return err
			}
			if _, err := c.JSON(cmd.Context(), "DELETE", c.Path("runner", "variables", o.Name), nil, nil); err != nil {
				return fmt.Errorf("delete variable %s: %w", o.Name, err)
			}
			fmt.Fprintf(o.Out, "variable %s is deleted\n", o.Name)
			return nil
		},
	}
}
