package run

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/pelton-run/pelton/platform/cli/factory"
)

// DeleteOptions of `pelton run delete`.
type DeleteOptions struct {
	*factory.Factory
	ID  string
	Yes bool
}

// NewCmdDelete makes the command; runF replaces its work in tests.
func NewCmdDelete(f *factory.Factory, runF func(context.Context, *DeleteOptions) error) *cobra.Command {
	o := &DeleteOptions{Factory: f}
	cmd := &cobra.Command{
		Use: "delete RUN", Short: "Delete an ended run for good", Args: factory.ExactArgs("RUN"),
		Long: `Removes an ended run with its inputs and outputs, its steps and its logs. A run that has not ended,
or that was started by one which has not, is not deleted. ` + "`pelton run bulk delete`" + ` deletes what a filter finds;
` + "`pelton project retention`" + ` lets runs go by themselves.`,
		Example: "  pelton run delete " + exampleRun + " --yes",
		RunE: func(cmd *cobra.Command, args []string) error {
			o.ID = args[0]
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return deleteRun(cmd.Context(), o)
		},
	}
	cmd.Flags().BoolVar(&o.Yes, "yes", false, "do not ask")
	return cmd
}

func deleteRun(ctx context.Context, o *DeleteOptions) error {
	if !o.Yes {
		if ok, err := o.Confirm("delete run "+o.ID+" for good?", "--yes"); err != nil || !ok {
			return err
		}
	}
	c, err := o.Client(ctx)
	if err != nil {
		return err
	}
	if _, err := c.JSON(ctx, "DELETE", c.Path("runner", "runs", o.ID), nil, nil); err != nil {
		return err
	}
	fmt.Fprintf(o.Out, "run %s is deleted\n", o.ID)
	return nil
}
