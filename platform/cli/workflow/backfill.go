package workflow

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/pelton-run/pelton/platform/cli/factory"
)

// BackfillOptions of `pelton workflow backfill`.
type BackfillOptions struct {
	*factory.Factory
	Name, Trigger, From, To string
	Concurrency             int
	Plan                    bool
}

// NewCmdBackfill makes the command; runF replaces its work in tests.
func NewCmdBackfill(f *factory.Factory, runF func(context.Context, *BackfillOptions) error) *cobra.Command {
	o := &BackfillOptions{Factory: f}
	cmd := &cobra.Command{
		Use: "backfill NAME", Short: "Start the runs of a schedule's due times in a range", Args: factory.ExactArgs("NAME"),
		Long:    "Starts a run for every due time of a workflow's schedule in a range. A due time that has a run already,\nby the schedule or by another backfill, starts no other: doing it twice starts nothing twice.\n`pelton run bulk list` tells how far it is.",
		Example: "  pelton workflow backfill report --trigger nightly --from 2026-11-01T00:00:00Z --to 2026-11-08T00:00:00Z --plan",
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Name = args[0]
			for flag, at := range map[string]string{"from": o.From, "to": o.To} {
				if _, err := time.Parse(time.RFC3339, at); err != nil && (at != "" || flag == "from") {
					return factory.Usage("--%s %q is no time: write 2026-11-01T00:00:00Z", flag, at)
				}
			}
			if o.Trigger == "" {
				return factory.Usage("--trigger is missing: give the id of the workflow's cron trigger")
			}
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return backfill(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.Trigger, "trigger", "", "the id of the cron trigger")
	cmd.Flags().StringVar(&o.From, "from", "", "the first due time may be then: 2026-11-01T00:00:00Z")
	cmd.Flags().StringVar(&o.To, "to", "", "due times are before this (default: now)")
	cmd.Flags().IntVar(&o.Concurrency, "concurrency", 0, "how many of its runs may be under way at a time (default: all)")
	cmd.Flags().BoolVar(&o.Plan, "plan", false, "only count the due times")
	return cmd
}

func backfill(ctx context.Context, o *BackfillOptions) error {
	c, err := o.Client(ctx)
	if err != nil {
		return err
	}
	body := map[string]any{"workflow": o.Name, "trigger": o.Trigger, "from": o.From, "concurrency": o.Concurrency, "plan": o.Plan}
	if o.To != "" {
		body["to"] = o.To
	}
	var b struct {
		ID   string
		Runs int
	}
	raw, err := c.JSON(ctx, "POST", c.Path("runner", "backfill"), body, &b)
	if err != nil {
		return err
	}
	if o.Plan {
		return o.Print(raw, nil, func(w io.Writer) { fmt.Fprintf(w, "%s in that range\n", factory.Count(b.Runs, "due time")) })
	}
	return o.Print(raw, []string{b.ID}, func(w io.Writer) {
		fmt.Fprintf(w, "order %s is under way for %s; `pelton run bulk list` tells how far it is\n", b.ID, factory.Count(b.Runs, "due time"))
	})
}
