package events

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/pelton-run/pelton/platform/cli/factory"
	"github.com/pelton-run/pelton/platform/sdk"
	"github.com/pelton-run/pelton/platform/sdk/bridge"
)

// newCmdDead is `pelton events dead`.
func newCmdDead(f *factory.Factory) *cobra.Command {
	cmd := &cobra.Command{Use: "dead", Short: "Events that could not be delivered"}
	cmd.AddCommand(newCmdDeadList(f), newCmdDeadShow(f), newCmdDeadChange(f, "replay", "Deliver a dead letter again, or --all", "on its way again"), newCmdDeadChange(f, "drop", "Forget a dead letter for good, or --all", "forgotten"))
	return cmd
}

func newCmdDeadList(f *factory.Factory) *cobra.Command {
	o := &Options{Factory: f}
	cmd := &cobra.Command{
		Use: "list", Short: "List dead letters, the oldest first", Args: factory.ExactArgs(), Example: "  pelton events dead list --subscription orders",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := f.Client(cmd.Context())
			if err != nil {
				return err
			}
			var all sdk.List[bridge.DeadLetter]
			raw, err := c.Get(cmd.Context(), c.Path("bridge", "dead-letters")+factory.Query("subscription", o.Name, "limit", "200"), &all)
			if err != nil {
				return err
			}
			var ids []string
			var rows [][]string
			for _, d := range all.Items {
				ids = append(ids, d.ID)
				rows = append(rows, []string{d.ID, d.Type, d.EventID, fmt.Sprint(d.Tries), d.DiedAt.UTC().Format(time.RFC3339), d.Reason})
			}
			return f.Print(raw, ids, func(w io.Writer) {
				factory.Table(w, "No dead letters.", []string{"ID", "TYPE", "EVENT", "TRIES", "DIED AT", "REASON"}, rows)
			})
		},
	}
	cmd.Flags().StringVar(&o.Name, "subscription", "", "of one subscription (default: of all)")
	return cmd
}

func newCmdDeadShow(f *factory.Factory) *cobra.Command {
	return &cobra.Command{
		Use: "show ID", Short: "Show a dead letter with its event", Args: factory.ExactArgs("ID"), Example: "  pelton events dead show 0190b5c0-7c3e-7000-8000-000000000000",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := f.Client(cmd.Context())
			if err != nil {
				return err
			}
			var d bridge.DeadLetter
			raw, err := c.Get(cmd.Context(), c.Path("bridge", "dead-letters", args[0]), &d)
			if err != nil {
				return err
			}
			return f.Print(raw, []string{d.ID}, func(w io.Writer) {
				event, _ := json.MarshalIndent(d.Event, "", "  ")
				fmt.Fprintf(w, "id       %s\ntype     %s\ntries    %d\ndied at  %s\nreason   %s\n%s\n", d.ID, d.Type, d.Tries, d.DiedAt.UTC().Format(time.RFC3339), d.Reason, event)
			})
		},
	}
}

func newCmdDeadChange(f *factory.Factory, verb, short, done string) *cobra.Command {
	o := &Options{Factory: f}
	cmd := &cobra.Command{
		Use: verb + " [ID]", Short: short, Args: factory.AtMostOne, Example: "  pelton events dead " + verb + " --all --subscription orders",
		RunE: func(cmd *cobra.Command, args []string) error {
			if (len(args) == 1) == o.All {
				return factory.Usage("give either the ID of a dead letter or --all")
			}
			c, err := f.Client(cmd.Context())
			if err != nil {
				return err
			}
			n := bridge.Count{Count: 1}
			switch {
			case o.All:
				_, err = c.JSON(cmd.Context(), "POST", c.Path("bridge", "dead-letters", verb), map[string]string{"subscription": o.Name}, &n)
			case verb == "drop":
				_, err = c.JSON(cmd.Context(), "DELETE", c.Path("bridge", "dead-letters", args[0]), nil, nil)
			default:
				_, err = c.JSON(cmd.Context(), "POST", c.Path("bridge", "dead-letters", args[0], "replay"), nil, &n)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", verb, err)
			}
			fmt.Fprintf(f.Out, "%d %s\n", n.Count, done)
			return nil
		},
	}
	cmd.Flags().BoolVar(&o.All, "all", false, "every dead letter, or every one of --subscription")
	cmd.Flags().StringVar(&o.Name, "subscription", "", "with --all: of one subscription")
	return cmd
}
