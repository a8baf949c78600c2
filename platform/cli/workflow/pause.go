package workflow

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/pelton-run/pelton/platform/cli/factory"
)

// PauseOptions of `pelton workflow pause` and `resume`.
type PauseOptions struct {
	*factory.Factory
	Name, Reason string
}

// NewCmdPause makes the command; runF replaces its work in tests.
func NewCmdPause(f *factory.Factory, runF func(context.Context, *PauseOptions) error) *cobra.Command {
	o := &PauseOptions{Factory: f}
	cmd := &cobra.Command{
		Use: "pause NAME", Short: "Let a workflow start no runs for now", Args: factory.ExactArgs("NAME"),
		Long:    "Lets a workflow start no runs until `pelton workflow resume`, whatever revision is live. Runs under way go\non, schedules and sources rest, and callers of HTTP triggers are told to come again.",
		Example: "  pelton workflow pause weather-report --reason maintenance",
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Name = args[0]
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return pause(cmd.Context(), o, "pause", "starts no runs until `pelton workflow resume "+o.Name+"`")
		},
	}
	cmd.Flags().StringVar(&o.Reason, "reason", "", "why, for those who find it paused")
	return cmd
}

// NewCmdResume makes the command; runF replaces its work in tests.
func NewCmdResume(f *factory.Factory, runF func(context.Context, *PauseOptions) error) *cobra.Command {
	o := &PauseOptions{Factory: f}
	return &cobra.Command{
		Use: "resume NAME", Short: "Let a paused workflow start runs again", Args: factory.ExactArgs("NAME"),
		Example: "  pelton workflow resume weather-report",
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Name = args[0]
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return pause(cmd.Context(), o, "resume", "starts runs again")
		},
	}
}

func pause(ctx context.Context, o *PauseOptions, verb, words string) error {
	c, err := o.Client(ctx)
	if err != nil {
		return err
	}
	body := map[string]string{}
	if o.Reason != "" {
		body["reason"] = o.Reason
	}
	if _, err := c.JSON(ctx, "POST", c.Path("runner", "workflows", o.Name, verb), body, nil); err != nil {
		return err
	}
	fmt.Fprintf(o.Out, "workflow %s %s\n", o.Name, words)
	return nil
}
