// Package run is `pelton run`: starting runs and looking at them.
package run

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/pelton-run/pelton/platform/cli/factory"
	"github.com/pelton-run/pelton/platform/sdk"
)

// NewCmd makes the command.
func NewCmd(f *factory.Factory) *cobra.Command {
	cmd := &cobra.Command{Use: "run", Short: "Start runs and look at them"}
	f.AddProject(cmd)
	cmd.AddCommand(NewCmdStart(f, nil), NewCmdList(f, nil), NewCmdShow(f, nil), NewCmdWatch(f, nil), NewCmdLogs(f, nil), NewCmdCancel(f, nil), NewCmdDelete(f, nil),
		NewCmdSignal(f, nil), NewCmdApprove(f, nil), NewCmdReject(f, nil), NewCmdPause(f, nil), NewCmdResume(f, nil), NewCmdRetry(f, nil), NewCmdWaits(f, nil),
		NewCmdAgain(f, nil), NewCmdFailures(f, nil), NewCmdCost(f, nil), NewCmdBulk(f, nil), NewCmdDebug(f, nil))
	return cmd
}

// States of a run, as --state takes them.
var states = []string{"queued", "running", "waiting", "paused", "cancelling", "undoing", "completed", "failed", "cancelled"}

// ListOptions of `pelton run list`.
type ListOptions struct {
	*factory.Factory
	Filter
	Cursor string
	Limit  int
}

// NewCmdList makes the command; runF replaces its work in tests.
func NewCmdList(f *factory.Factory, runF func(context.Context, *ListOptions) error) *cobra.Command {
	o := &ListOptions{Factory: f}
	cmd := &cobra.Command{
		Use: "list", Short: "List runs, newest first", Args: factory.ExactArgs(),
		Example: "  pelton run list --state failed --since 2h --error refused\n  pelton run list --workflow weather-report --input city=Oslo -o name",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := o.values(); err != nil {
				return err
			}
			if o.Limit < 1 || o.Limit > 200 {
				return factory.Usage("--limit %d is not between 1 and 200", o.Limit)
			}
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return list(cmd.Context(), o)
		},
	}
	o.flags(cmd)
	cmd.Flags().IntVar(&o.Limit, "limit", 50, "at most this many")
	cmd.Flags().StringVar(&o.Cursor, "cursor", "", "go on after the page that ended with this cursor")
	return cmd
}

func list(ctx context.Context, o *ListOptions) error {
	c, err := o.Client(ctx)
	if err != nil {
		return err
	}
	var runs sdk.List[sdk.Run]
	v, err := o.values()
	if err != nil {
		return err
	}
	v.Set("limit", strconv.Itoa(o.Limit))
	if o.Cursor != "" {
		v.Set("cursor", o.Cursor)
	}
	path := c.Path("runner", "runs") + "?" + v.Encode()
	raw, err := c.Get(ctx, path, &runs)
	if err != nil {
		return err
	}
	var names []string
	var rows [][]string
	for _, r := range runs.Items {
		names = append(names, r.ID)
		rows = append(rows, []string{r.ID, r.Workflow, r.State, r.Trigger.Kind, factory.When(r.CreatedAt), factory.Millis(r.CreatedAt, factory.Deref(r.FinishedAt)), failed(r)})
	}
	return o.Print(raw, names, func(w io.Writer) {
		factory.Table(w, "No runs here. Start one with `pelton run start WORKFLOW`.", []string{"RUN", "WORKFLOW", "STATE", "BY", "STARTED", "TOOK", "ERROR"}, rows)
		if runs.NextCursor != "" {
			fmt.Fprintf(w, "more: --cursor %s\n", runs.NextCursor)
		}
	})
}

func failed(r sdk.Run) string {
	if r.Error == nil || r.State == "completed" {
		return ""
	}
	s := r.Error.Message
	if r.Error.Step != "" {
		s = r.Error.Step + ": " + s
	}
	if len([]rune(s)) > 80 {
		s = string([]rune(s)[:79]) + "…"
	}
	return s
}

// ShowOptions of `pelton run show`.
type ShowOptions struct {
	*factory.Factory
	ID string
}

// NewCmdShow makes the command; runF replaces its work in tests.
func NewCmdShow(f *factory.Factory, runF func(context.Context, *ShowOptions) error) *cobra.Command {
	o := &ShowOptions{Factory: f}
	return &cobra.Command{
		Use: "show RUN", Short: "Show a run, its steps and where the time went", Args: factory.ExactArgs("RUN"),
		Example: "  pelton run show 0198a2c4-0000-7000-8000-000000000000",
		RunE: func(cmd *cobra.Command, args []string) error {
			o.ID = args[0]
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			c, err := o.Client(cmd.Context())
			if err != nil {
				return err
			}
			return show(cmd.Context(), o.Factory, c, o.ID)
		},
	}
}

func show(ctx context.Context, f *factory.Factory, c *sdk.Client, id string) error {
	var r sdk.Run
	raw, err := c.Get(ctx, c.Path("runner", "runs", id), &r)
	if err != nil {
		return err
	}
	return f.Print(raw, []string{r.ID}, func(w io.Writer) { describe(w, r) })
}

func describe(w io.Writer, r sdk.Run) {
	took := factory.Millis(r.CreatedAt, factory.Deref(r.FinishedAt))
	if took != "" {
		took = " in " + took
	}
	fmt.Fprintf(w, "run %s of %s revision %d: %s%s\n", r.ID, r.Workflow, r.Revision, r.State, took)
	around(w, r)
	rows := make([][]string, 0, len(r.Steps))
	for _, s := range r.Steps {
		rows = append(rows, stepRow(s))
	}
	factory.Table(w, "no step has begun", []string{"STEP", "STATE", "ATTEMPTS", "QUEUE", "BOOT", "LOAD", "RUN", "ALL", "NOTE"}, rows)
	if r.Error != nil && r.State != "completed" {
		fmt.Fprintf(w, "error (%s)%s: %s\n", r.Error.Kind, in(r.Error.Step), r.Error.Message)
		if r.Error.Stack != "" {
			fmt.Fprintln(w, r.Error.Stack)
		}
	}
	next(w, r)
	if len(r.Result) > 0 && string(r.Result) != "null" && r.State == "completed" {
		fmt.Fprintf(w, "result %s\n", r.Result)
	}
}

func in(step string) string {
	if step == "" {
		return ""
	}
	return " in step " + step
}

// stepRow: the phases are those of the last attempt, from one mark to the next.
func stepRow(s sdk.StepRun) []string {
	row := []string{stepName(s.Step, s.ItemPath), s.State, strconv.Itoa(len(s.Attempts)), "", "", "", "", "", note(s)}
	if len(s.Attempts) == 0 {
		return row
	}
	a := s.Attempts[len(s.Attempts)-1]
	end := factory.Deref(a.FinishedAt)
	at := map[string]time.Time{}
	for _, p := range a.Phases {
		at[p.Kind] = p.At
	}
	row[3] = factory.Millis(factory.Deref(a.StartedAt), at["scheduled"])
	row[4] = factory.Millis(at["scheduled"], at["booted"])
	row[5] = factory.Millis(at["booted"], at["loaded"])
	row[6] = factory.Millis(at["started"], end)
	row[7] = factory.Millis(factory.Deref(a.StartedAt), end)
	return row
}

func stepName(step string, path []int) string {
	for _, i := range path {
		step += fmt.Sprintf("[%d]", i)
	}
	return step
}

// CancelOptions of `pelton run cancel`.
type CancelOptions struct {
	*factory.Factory
	ID, Reason string
}

// NewCmdCancel makes the command; runF replaces its work in tests.
func NewCmdCancel(f *factory.Factory, runF func(context.Context, *CancelOptions) error) *cobra.Command {
	o := &CancelOptions{Factory: f}
	cmd := &cobra.Command{
		Use: "cancel RUN", Short: "Cancel a run", Args: factory.ExactArgs("RUN"),
		Example: "  pelton run cancel 0198a2c4-0000-7000-8000-000000000000",
		RunE: func(cmd *cobra.Command, args []string) error {
			o.ID = args[0]
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return cancel(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.Reason, "reason", "", "why, kept in the history")
	return cmd
}

func cancel(ctx context.Context, o *CancelOptions) error {
	c, err := o.Client(ctx)
	if err != nil {
		return err
	}
	body := map[string]string{}
	if o.Reason != "" {
		body["reason"] = o.Reason
	}
	if _, err := c.JSON(ctx, "POST", c.Path("runner", "runs", o.ID, "cancel"), body, nil); err != nil {
		return err
	}
	fmt.Fprintf(o.Out, "run %s is being cancelled; `pelton run watch %s` tells when it has ended\n", o.ID, o.ID)
	return nil
}
