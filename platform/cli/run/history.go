package run

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/pelton-run/pelton/platform/cli/factory"
	"github.com/pelton-run/pelton/platform/sdk"
)

// AgainOptions of `pelton run again`.
type AgainOptions struct {
	*factory.Factory
	ID     string
	Inputs []string
	Same   bool
	Wait   bool
}

// NewCmdAgain makes the command; runF replaces its work in tests.
func NewCmdAgain(f *factory.Factory, runF func(context.Context, *AgainOptions) error) *cobra.Command {
	o := &AgainOptions{Factory: f}
	cmd := &cobra.Command{
		Use: "again RUN", Short: "Start a new run with the inputs of an earlier one", Args: factory.ExactArgs("RUN"),
		Long:    "Starts a new run of the same workflow with the inputs of an earlier run, of which some may be given anew.\nIt follows the live revision; --same-revision keeps the earlier run's.",
		Example: "  pelton run again 0198a2c4-0000-7000-8000-000000000000 -i city=Oslo --wait",
		RunE: func(cmd *cobra.Command, args []string) error {
			o.ID = args[0]
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return again(cmd.Context(), o)
		},
	}
	cmd.Flags().StringArrayVarP(&o.Inputs, "input", "i", nil, "an input that is different: name=value or name=@FILE (repeatable)")
	cmd.Flags().BoolVar(&o.Same, "same-revision", false, "follow the revision of the earlier run")
	cmd.Flags().BoolVar(&o.Wait, "wait", false, "wait until it has ended")
	return cmd
}

func again(ctx context.Context, o *AgainOptions) error {
	c, err := o.Client(ctx)
	if err != nil {
		return err
	}
	inputs, err := ParseInputs("", o.Inputs, func(file string) (json.RawMessage, error) { return Upload(ctx, c, file) })
	if err != nil {
		return err
	}
	var r sdk.Run
	raw, err := c.JSON(ctx, "POST", c.Path("runner", "runs", o.ID, "again"), map[string]any{"inputs": inputs, "same_revision": o.Same}, &r)
	if err != nil {
		return err
	}
	if !o.Wait {
		return o.Print(raw, []string{r.ID}, func(w io.Writer) {
			fmt.Fprintf(w, "run %s of %s has started; `pelton run watch %s` follows it\n", r.ID, r.Workflow, r.ID)
		})
	}
	if r, err = wait(ctx, c, r.ID, 0, nil); err != nil {
		return err
	}
	if err := show(ctx, o.Factory, c, r.ID); err != nil {
		return err
	}
	return outcome(r)
}

// FailuresOptions of `pelton run failures`.
type FailuresOptions struct {
	*factory.Factory
	Workflow, Since string
	Limit           int
}

// NewCmdFailures makes the command; runF replaces its work in tests.
func NewCmdFailures(f *factory.Factory, runF func(context.Context, *FailuresOptions) error) *cobra.Command {
	o := &FailuresOptions{Factory: f}
	cmd := &cobra.Command{
		Use: "failures", Short: "List failed runs, grouped by their cause", Args: factory.ExactArgs(),
		Long:    "Groups failed runs by their cause: the same workflow, step and kind of error, and a message that\ndiffers in numbers, ids and quoted words only. `pelton run list --group` lists the runs of a group,\n`pelton run bulk retry --group` lets them all go on where they failed.",
		Example: "  pelton run failures --since 7d\n  pelton run list --group 1f2e3d4c5b6a7988",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return failures(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.Workflow, "workflow", "", "only runs of this workflow")
	cmd.Flags().StringVar(&o.Since, "since", "30d", "only runs started since: 2h, 7d, or 2026-12-01T09:00:00Z")
	cmd.Flags().IntVar(&o.Limit, "limit", 50, "at most this many groups")
	return cmd
}

func failures(ctx context.Context, o *FailuresOptions) error {
	since, err := moment(o.Since, time.Now())
	if err != nil {
		return factory.Usage("--since %s", err)
	}
	c, err := o.Client(ctx)
	if err != nil {
		return err
	}
	var list sdk.List[struct {
		Group, Workflow, Step, Kind, Message string
		Count                                int
		Last                                 time.Time `json:"last_at"`
	}]
	raw, err := c.Get(ctx, c.Path("runner", "failures")+factory.Query("workflow", o.Workflow, "from", since, "limit", strconv.Itoa(o.Limit)), &list)
	if err != nil {
		return err
	}
	var names []string
	var rows [][]string
	for _, g := range list.Items {
		names = append(names, g.Group)
		rows = append(rows, []string{g.Group, g.Workflow, g.Step, g.Kind, strconv.Itoa(g.Count), factory.When(g.Last), short(g.Message)})
	}
	return o.Print(raw, names, func(w io.Writer) {
		factory.Table(w, "No run has failed.", []string{"GROUP", "WORKFLOW", "STEP", "KIND", "RUNS", "LAST", "MESSAGE"}, rows)
	})
}

func short(s string) string {
	if r := []rune(s); len(r) > 80 {
		return string(r[:79]) + "…"
	}
	return s
}

// CostOptions of `pelton run cost`.
type CostOptions struct {
	*factory.Factory
	Workflow, Since, Until, By string
}

// NewCmdCost makes the command; runF replaces its work in tests.
func NewCmdCost(f *factory.Factory, runF func(context.Context, *CostOptions) error) *cobra.Command {
	o := &CostOptions{Factory: f}
	cmd := &cobra.Command{
		Use: "cost", Short: "Sum what runs have used, by workflow", Args: factory.ExactArgs(),
		Example: "  pelton run cost --since 7d --by day",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.By != "" {
				if err := factory.OneOf("by", o.By, "day"); err != nil {
					return err
				}
			}
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return cost(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.Workflow, "workflow", "", "only runs of this workflow")
	cmd.Flags().StringVar(&o.Since, "since", "30d", "only runs started since: 2h, 7d, or 2026-12-01T09:00:00Z")
	cmd.Flags().StringVar(&o.Until, "until", "", "only runs started before")
	cmd.Flags().StringVar(&o.By, "by", "", "day: a row per day")
	return cmd
}

func cost(ctx context.Context, o *CostOptions) error {
	v, err := (&Filter{Workflow: o.Workflow, Since: o.Since, Until: o.Until}).values()
	if err != nil {
		return err
	}
	if o.By != "" {
		v.Set("by", o.By)
	}
	c, err := o.Client(ctx)
	if err != nil {
		return err
	}
	var list sdk.List[struct {
		Workflow, Day string
		Runs          int
		CPU           float64 `json:"cpu_seconds"`
		GiB           float64 `json:"gib_seconds"`
	}]
	raw, err := c.Get(ctx, c.Path("runner", "cost")+"?"+v.Encode(), &list)
	if err != nil {
		return err
	}
	var names []string
	var rows [][]string
	for _, r := range list.Items {
		names = append(names, r.Workflow)
		row := []string{r.Workflow, strconv.Itoa(r.Runs), fmt.Sprintf("%.2f", r.CPU), fmt.Sprintf("%.2f", r.GiB)}
		if o.By == "day" {
			row = append([]string{r.Day}, row...)
		}
		rows = append(rows, row)
	}
	head := []string{"WORKFLOW", "RUNS", "CPU SECONDS", "GIB SECONDS"}
	if o.By == "day" {
		head = append([]string{"DAY"}, head...)
	}
	return o.Print(raw, names, func(w io.Writer) { factory.Table(w, "No run has ended in that time.", head, rows) })
}
