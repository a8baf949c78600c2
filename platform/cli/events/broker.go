package events

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pelton-run/pelton/platform/cli/factory"
	"github.com/pelton-run/pelton/platform/sdk/bridge"
)

// newCmdBroker is `pelton events broker`.
func newCmdBroker(f *factory.Factory) *cobra.Command {
	cmd := &cobra.Command{Use: "broker", Short: "The Knative Broker of a project"}
	cmd.AddCommand(newCmdBrokerConnect(f), newCmdBrokerShow(f), newCmdBrokerDisconnect(f))
	return cmd
}

func printBroker(w io.Writer, b bridge.Broker) {
	address := b.Address
	if address == "" {
		address = "none yet"
	}
	fmt.Fprintf(w, "namespace  %s\naddress    %s\n", b.Namespace, address)
	trigger := false
	for _, o := range b.Objects {
		trigger = trigger || o.Kind == "Trigger"
		fmt.Fprintf(w, "%-10s %s\n", strings.ToLower(o.Kind), strings.TrimSuffix(o.Name+" is "+strings.ReplaceAll(o.State, "-", " ")+": "+o.Reason, ": "))
	}
	if !trigger {
		fmt.Fprintln(w, "trigger    none: no live workflow has a trigger of the kind cloudevent")
	}
}

func newCmdBrokerConnect(f *factory.Factory) *cobra.Command {
	return &cobra.Command{
		Use: "connect", Short: "Give the project a Broker, whose events its workflows take", Args: factory.ExactArgs(),
		Long: `Give the project a Broker in the cluster that the setting bridge.broker names, and a Trigger that brings its events to the
workflows with triggers of the kind cloudevent. They come with an API key of the role operator, which whoever may read Triggers in
that namespace can read: make one for this alone. Again, with another key, it replaces that.`,
		Example: "  pelton key create broker -o name | pelton events broker connect",
		RunE: func(cmd *cobra.Command, _ []string) error {
			key, err := f.Secret("API key", false)
			if err != nil {
				return err
			}
			c, err := f.Client(cmd.Context())
			if err != nil {
				return err
			}
			var b bridge.Broker
			raw, err := c.JSON(cmd.Context(), "PUT", c.Path("bridge", "broker"), map[string]string{"key": key}, &b)
			if err != nil {
				return fmt.Errorf("connect the Broker: %w", err)
			}
			return f.Print(raw, []string{b.Namespace}, func(w io.Writer) { printBroker(w, b) })
		},
	}
}

func newCmdBrokerShow(f *factory.Factory) *cobra.Command {
	return &cobra.Command{
		Use: "show", Short: "Show the Broker of the project, and what is wrong with it", Args: factory.ExactArgs(), Example: "  pelton events broker show",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := f.Client(cmd.Context())
			if err != nil {
				return err
			}
			var b bridge.Broker
			raw, err := c.Get(cmd.Context(), c.Path("bridge", "broker"), &b)
			if err != nil {
				return err
			}
			return f.Print(raw, []string{b.Namespace}, func(w io.Writer) { printBroker(w, b) })
		},
	}
}

func newCmdBrokerDisconnect(f *factory.Factory) *cobra.Command {
	return &cobra.Command{
		Use: "disconnect", Short: "Remove the Broker of the project, with the events that wait in it", Args: factory.ExactArgs(), Example: "  pelton events broker disconnect",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := f.Client(cmd.Context())
			if err != nil {
				return err
			}
			if _, err := c.JSON(cmd.Context(), "DELETE", c.Path("bridge", "broker"), nil, nil); err != nil {
				return fmt.Errorf("disconnect the Broker: %w", err)
			}
			fmt.Fprintln(f.Out, "the Broker of the project is removed")
			return nil
		},
	}
}
