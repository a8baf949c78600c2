package run

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pelton-run/pelton/platform/cli/factory"
	"github.com/pelton-run/pelton/platform/sdk"
	"github.com/pelton-run/pelton/platform/sdk/runner"
)

// The kinds of waits that a signal or a person ends.
var waitKinds = []string{"signal", "approval", "consent", "lost"}

// WaitsOptions of `pelton run waits`.
type WaitsOptions struct {
	*factory.Factory
	Kind, Run, Cursor string
	Limit             int
}

// NewCmdWaits makes the command; runF replaces its work in tests.
func NewCmdWaits(f *factory.Factory, runF func(context.Context, *WaitsOptions) error) *cobra.Command {
	o := &WaitsOptions{Factory: f}
	cmd := &cobra.Command{
		Use: "waits", Short: "List what waits for a signal or a person, the oldest first", Args: factory.ExactArgs(),
		Example: "  pelton run waits --kind approval\n  pelton run waits --run " + exampleRun,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Kind != "" {
				if err := factory.OneOf("kind", o.Kind, waitKinds...); err != nil {
					return err
				}
			}
			if o.Limit < 1 || o.Limit > 200 {
				return factory.Usage("--limit %d is not between 1 and 200", o.Limit)
			}
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return waits(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.Kind, "kind", "", "only waits of this kind: "+strings.Join(waitKinds, ", "))
	cmd.Flags().StringVar(&o.Run, "run", "", "only waits of this run")
	cmd.Flags().IntVar(&o.Limit, "limit", 50, "at most this many")
	cmd.Flags().StringVar(&o.Cursor, "cursor", "", "go on after the page that ended with this cursor")
	return cmd
}

func waits(ctx context.Context, o *WaitsOptions) error {
	c, err := o.Client(ctx)
	if err != nil {
		return err
	}
	var list sdk.List[runner.Wait]
	path := c.Path("runner", "waits") + factory.Query("kind", o.Kind, "run", o.Run, "limit", strconv.Itoa(o.Limit), "cursor", o.Cursor)
	raw, err := c.Get(ctx, path, &list)
	if err != nil {
		return err
	}
	var names []string
	var rows [][]string
	for _, x := range list.Items {
		names = append(names, x.Run)
		rows = append(rows, []string{x.Run, x.Workflow, stepName(x.Step, x.ItemPath), waitWords(x.Kind, x.Text), factory.When(x.Since), factory.When(factory.Deref(x.Until))})
	}
	return o.Print(raw, names, func(w io.Writer) {
		factory.Table(w, "Nothing waits for a signal or a person.", []string{"RUN", "WORKFLOW", "STEP", "WAITS FOR", "SINCE", "UNTIL"}, rows)
		if len(rows) > 0 {
			fmt.Fprintln(w, "`pelton run approve RUN STEP`, `pelton run reject RUN STEP` and `pelton run signal RUN NAME` let them go on")
		}
		if list.NextCursor != "" {
			fmt.Fprintf(w, "more: --cursor %s\n", list.NextCursor)
		}
	})
}

// waitWords tells what ends a wait for a signal or a person.
func waitWords(kind, text string) string {
	switch kind {
	case "signal":
		return "signal " + text
	case "consent":
		return "consent: " + text
	case "lost":
		return "a decision: " + text
	}
	return "approval: " + text
}

// note tells in words why a step run is where it is.
func note(s sdk.StepRun) string {
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	switch {
	case s.Error != nil && s.Caught:
		add("caught: %s", s.Error.Message)
	case s.Caught:
		add("an error was caught")
	case s.Error != nil && s.State != "waiting":
		add("%s", s.Error.Message)
	}
	if s.Reason != "" && (s.Error == nil || s.Wait != nil || s.Caught) {
		add("%s", s.Reason)
	}
	if s.Wait != nil {
		if s.Wait.Position > 1 {
			add("place %d in the queue", s.Wait.Position)
		}
		if u := factory.Deref(s.Wait.Until); !u.IsZero() && s.Wait.Kind != "time" && s.Wait.Kind != "retry" && s.Wait.Kind != "pass" {
			add("until %s", factory.When(u))
		}
		if s.Error != nil && s.State == "waiting" {
			add("%s", s.Error.Message)
		}
	}
	if s.Undoes != "" {
		add("takes %s back", s.Undoes)
	}
	if s.Child != "" {
		add("run %s", s.Child)
	}
	return strings.Join(parts, "; ")
}

// around tells of the runs around a run: what started it, what it waits for, what handles its failure.
func around(w io.Writer, r sdk.Run) {
	if p := r.Parent; p != nil {
		if r.Trigger.Kind == "failure" {
			fmt.Fprintf(w, "handles the failure of run %s of %s\n", p.Run, p.Workflow)
		} else {
			fmt.Fprintf(w, "called by step %s of run %s of %s\n", p.Step, p.Run, p.Workflow)
		}
	}
	if r.Wait != nil {
		fmt.Fprintf(w, "waits to start: %s\n", r.Wait.Text)
	}
	if h := r.Handler; h != nil && h.Run != "" {
		fmt.Fprintf(w, "its failure is handled by run %s\n", h.Run)
	} else if h != nil {
		fmt.Fprintf(w, "its failure handler was %s\n", h.Problem)
	}
	if r.NotUndone > 0 {
		fmt.Fprintf(w, "%s could not be taken back\n", factory.Count(r.NotUndone, "step"))
	}
}

// next tells which calls let a run go on that waits for somebody.
func next(w io.Writer, r sdk.Run) {
	if r.State == "paused" {
		fmt.Fprintf(w, "it is paused: `pelton run resume %s` lets it go on\n", r.ID)
	}
	for _, s := range r.Steps {
		if s.Wait == nil {
			continue
		}
		switch s.Wait.Kind {
		case "signal":
			fmt.Fprintf(w, "%s goes on with `pelton run signal %s %s`\n", stepName(s.Step, s.ItemPath), r.ID, s.Wait.Text)
		case "approval", "consent", "lost":
			call := r.ID + " " + s.Step
			if len(s.ItemPath) > 0 {
				call += " --item " + strings.Trim(strings.ReplaceAll(fmt.Sprint(s.ItemPath), " ", "."), "[]")
			}
			by := ""
			if len(s.Wait.Approvers) > 0 {
				by = " (by " + strings.Join(s.Wait.Approvers, " or ") + ")"
			}
			var form strings.Builder
			for _, i := range s.Wait.Form {
				fmt.Fprintf(&form, " -i %s=…", i.Name)
			}
			fmt.Fprintf(w, "%s goes on with `pelton run approve %s%s`, or ends with `pelton run reject %s`%s\n", stepName(s.Step, s.ItemPath), call, form.String(), call, by)
		}
	}
}
