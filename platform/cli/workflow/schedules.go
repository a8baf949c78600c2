package workflow

import (
	"context"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pelton-run/pelton/platform/cli/factory"
	"github.com/pelton-run/pelton/platform/sdk"
	"github.com/pelton-run/pelton/platform/sdk/runner"
)

// NewCmdSchedules makes the command; runF replaces its work in tests.
func NewCmdSchedules(f *factory.Factory, runF func(context.Context, *factory.Factory) error) *cobra.Command {
	return &cobra.Command{
		Use: "schedules", Short: "List the schedules of what is deployed, with when they are due next", Args: factory.ExactArgs(),
		Example: "  pelton workflow schedules",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if runF != nil {
				return runF(cmd.Context(), f)
			}
			return schedules(cmd.Context(), f)
		},
	}
}

func schedules(ctx context.Context, f *factory.Factory) error {
	c, err := f.Client(ctx)
	if err != nil {
		return err
	}
	var list sdk.List[runner.Schedule]
	raw, err := c.Get(ctx, c.Path("runner", "schedules"), &list)
	if err != nil {
		return err
	}
	var names []string
	var rows [][]string
	for _, s := range list.Items {
		names = append(names, s.Workflow+"/"+s.Trigger)
		next, last := "never", ""
		switch {
		case s.Paused != nil:
			next = "paused"
		case len(s.Next) > 0:
			next = s.Next[0].UTC().Format(time.RFC3339)
		}
		if s.LastDue != nil {
			last = factory.When(*s.LastDue)
		}
		rows = append(rows, []string{s.Workflow, s.Trigger, strings.TrimSpace(s.Schedule + " " + s.Timezone), next, last, s.CatchUp, s.Overlap})
	}
	return f.Print(raw, names, func(w io.Writer) {
		factory.Table(w, "Nothing that is deployed has a schedule.", []string{"WORKFLOW", "TRIGGER", "SCHEDULE", "NEXT", "LAST", "CATCH-UP", "OVERLAP"}, rows)
	})
}
