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

// BulkOptions of `pelton run bulk`.
type BulkOptions struct {
	*factory.Factory
	Filter
	Kind, ID string
	Plan     bool
	Yes      bool
}

// bulkOrder is an order for many runs as the server tells it.
type bulkOrder struct {
	ID, Kind, State, Problem string
	Runs, Failed             int
	CreatedAt                time.Time `json:"created_at"`
}

// NewCmdBulk makes the command; runF replaces the work of its subcommands in tests.
func NewCmdBulk(f *factory.Factory, runF func(context.Context, *BulkOptions) error) *cobra.Command {
	cmd := &cobra.Command{Use: "bulk", Short: "Cancel, retry, repeat or delete many runs at once",
		Long: "Orders something for every run that a filter finds. The order is durable: it goes on after a crash of the\nserver and does nothing twice."}
	for _, x := range []struct{ kind, words string }{
		{"cancel", "Cancel runs that have not ended"},
		{"retry", "Let failed and cancelled runs go on where they failed, on the live revision"},
		{"again", "Start runs again with their inputs"},
		{"delete", "Delete ended runs for good"},
	} {
		kind, words := x.kind, x.words
		o := &BulkOptions{Factory: f, Kind: kind}
		sub := &cobra.Command{
			Use: kind, Short: words, Args: factory.ExactArgs(),
			Example: "  pelton run bulk " + kind + " --workflow hello --since 2h --plan",
			RunE: func(cmd *cobra.Command, _ []string) error {
				if runF != nil {
					return runF(cmd.Context(), o)
				}
				return bulk(cmd.Context(), o)
			},
		}
		o.flags(sub)
		sub.Flags().BoolVar(&o.Plan, "plan", false, "only count the runs")
		sub.Flags().BoolVar(&o.Yes, "yes", false, "do not ask")
		cmd.AddCommand(sub)
	}
	list := &cobra.Command{Use: "list", Short: "List bulk orders and how far they are", Args: factory.ExactArgs(), Example: "  pelton run bulk list",
		RunE: func(cmd *cobra.Command, _ []string) error { return bulkList(cmd.Context(), f) }}
	stop := &cobra.Command{Use: "stop ORDER", Short: "Stop a bulk order; what it has done stays", Args: factory.ExactArgs("ORDER"),
		Example: "  pelton run bulk stop 0198a2c4-0000-7000-8000-000000000000",
		RunE:    func(cmd *cobra.Command, args []string) error { return bulkStop(cmd.Context(), f, args[0]) }}
	cmd.AddCommand(list, stop)
	return cmd
}

func bulk(ctx context.Context, o *BulkOptions) error {
	filter, err := o.values()
	if err != nil {
		return err
	}
	c, err := o.Client(ctx)
	if err != nil {
		return err
	}
	body := map[string]any{"kind": o.Kind, "filter": filter, "plan": true}
	var b bulkOrder
	raw, err := c.JSON(ctx, "POST", c.Path("runner", "bulk"), body, &b)
	if err != nil {
		return err
	}
	if o.Plan || b.Runs == 0 {
		return o.Print(raw, nil, func(w io.Writer) { fmt.Fprintf(w, "%s would be ordered to %s\n", factory.Count(b.Runs, "run"), o.Kind) })
	}
	if !o.Yes {
		if ok, err := o.Confirm(fmt.Sprintf("%s %s?", o.Kind, factory.Count(b.Runs, "run")), "--yes"); err != nil || !ok {
			return err
		}
	}
	delete(body, "plan")
	if raw, err = c.JSON(ctx, "POST", c.Path("runner", "bulk"), body, &b); err != nil {
		return err
	}
	return o.Print(raw, []string{b.ID}, func(w io.Writer) {
		fmt.Fprintf(w, "order %s is under way for %s; `pelton run bulk list` tells how far it is\n", b.ID, factory.Count(b.Runs, "run"))
	})
}

func bulkList(ctx context.Context, f *factory.Factory) error {
	c, err := f.Client(ctx)
	if err != nil {
		return err
	}
	var list sdk.List[bulkOrder]
	raw, err := c.Get(ctx, c.Path("runner", "bulk"), &list)
	if err != nil {
		return err
	}
	var names []string
	var rows [][]string
	for _, b := range list.Items {
		names = append(names, b.ID)
		rows = append(rows, []string{b.ID, b.Kind, b.State, strconv.Itoa(b.Runs), strconv.Itoa(b.Failed), factory.When(b.CreatedAt), short(b.Problem)})
	}
	return f.Print(raw, names, func(w io.Writer) {
		factory.Table(w, "No bulk orders here.", []string{"ORDER", "KIND", "STATE", "RUNS", "REFUSED", "GIVEN", "PROBLEM"}, rows)
	})
}

func bulkStop(ctx context.Context, f *factory.Factory, id string) error {
	c, err := f.Client(ctx)
	if err != nil {
		return err
	}
	if _, err := c.JSON(ctx, "DELETE", c.Path("runner", "bulk", id), nil, nil); err != nil {
		return err
	}
	fmt.Fprintf(f.Out, "order %s does nothing more\n", id)
	return nil
}
