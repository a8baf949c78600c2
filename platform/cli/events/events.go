// Package events is `pelton events`: who is told of what happens in a project, and what could not be delivered.
package events

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pelton-run/pelton/platform/cli/factory"
	"github.com/pelton-run/pelton/platform/sdk"
	"github.com/pelton-run/pelton/platform/sdk/bridge"
)

// NewCmd makes the command.
func NewCmd(f *factory.Factory) *cobra.Command {
	cmd := &cobra.Command{Use: "events", Short: "Events in and out of a project: webhooks, brokers, dead letters"}
	f.AddProject(cmd)
	cmd.AddCommand(NewCmdSubscribe(f, nil), NewCmdList(f, nil), NewCmdShow(f, nil), NewCmdTypes(f, nil), newCmdDead(f), newCmdBroker(f))
	for _, v := range []verb{
		{"unsubscribe", "Remove a subscription, with what it was not sent", "DELETE", "", "removed"},
		{"pause", "Let the events of a subscription wait", "POST", "pause", "paused: events wait"},
		{"resume", "Send the events of a subscription again", "POST", "resume", "active: events are sent"},
	} {
		cmd.AddCommand(newCmdVerb(f, v))
	}
	return cmd
}

// Options of the commands.
type Options struct {
	*factory.Factory
	Name, URL, Sink, Exchange, Key, SecretFrom string
	Types, Filters                             []string
	Timeout                                    time.Duration
	All                                        bool
}

// NewCmdSubscribe makes the command; runF replaces its work in tests.
func NewCmdSubscribe(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Factory: f}
	cmd := &cobra.Command{
		Use: "subscribe [URL]", Short: "Send what happens to an address; the secret of a webhook is told this once", Args: factory.AtMostOne,
		Long: `Send what happens to an address, as CloudEvents 1.0. Webhooks are signed as the Standard Webhooks specification says;
the secret is told this once. A filter is attribute=text, attribute=text* or attribute=*text, or an expression over event.`,
		Example: `  pelton events subscribe https://example.com/hooks --name orders --type io.pelton.run.failed.v1 --filter workflow=orders
  pelton events subscribe https://example.com/hooks --type 'io.pelton.run.*' --filter 'event.data.duration_ms > 60000'
  pelton events subscribe http://broker-ingress.knative-eventing/default/default --sink cloudevents
  pelton events subscribe --sink broker --type io.pelton.run.completed.v1
  pelton events subscribe amqp://rabbit.example.com/shop --sink rabbitmq --exchange platform --secret - < user-and-password.txt`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				o.URL = args[0]
			}
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return o.subscribe(cmd)
		},
	}
	p := cmd.Flags()
	p.StringVar(&o.Name, "name", "", "name of the subscription (default: one is made)")
	p.StringVar(&o.Sink, "sink", "webhook", "webhook (signed, structured mode), cloudevents (binary mode), rabbitmq, or broker: that of the project, without a URL")
	p.StringVar(&o.Exchange, "exchange", "", "with --sink rabbitmq: the exchange that events go to")
	p.StringVar(&o.Key, "key", "", "with --sink rabbitmq: the routing key (default: the type of the event)")
	p.StringArrayVar(&o.Types, "type", nil, "type of events, or the beginning of types with a * at its end; may be given again (default: all)")
	p.StringArrayVar(&o.Filters, "filter", nil, "condition that has to hold; may be given again")
	p.StringVar(&o.SecretFrom, "secret", "", "- reads the secret from standard input (default: one is made); with --sink rabbitmq it is USER:PASSWORD")
	p.DurationVar(&o.Timeout, "timeout", 30*time.Second, "how long to wait until the subscription is active")
	return cmd
}

// clause reads a filter.
func clause(text string) map[string]any {
	name, value, ok := strings.Cut(text, "=")
	if !ok || name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789") != "" || strings.HasPrefix(value, "=") {
		return map[string]any{"cel": text}
	}
	kind := "exact"
	if v, begins := strings.CutSuffix(value, "*"); begins {
		kind, value = "prefix", v
	} else if v, ends := strings.CutPrefix(value, "*"); ends {
		kind, value = "suffix", v
	}
	return map[string]any{kind: map[string]string{name: value}}
}

func (o *Options) subscribe(cmd *cobra.Command) error {
	if err := factory.OneOf("sink", o.Sink, "webhook", "cloudevents", "rabbitmq", "broker"); err != nil {
		return err
	}
	if (o.URL == "") != (o.Sink == "broker") {
		return factory.Usage("give the URL that events go to, or --sink broker without one")
	}
	sink := map[string]string{"kind": o.Sink}
	for name, v := range map[string]string{"url": o.URL, "exchange": o.Exchange, "key": o.Key} {
		if v != "" {
			sink[name] = v
		}
	}
	in := map[string]any{"sink": sink, "types": o.Types}
	if o.Types == nil {
		in["types"] = []string{}
	}
	if o.Name != "" {
		in["name"] = o.Name
	}
	filters := []map[string]any{}
	for _, f := range o.Filters {
		filters = append(filters, clause(f))
	}
	in["filter"] = filters
	switch o.SecretFrom {
	case "":
	case "-":
		data, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), 1<<10))
		if err != nil {
			return err
		}
		in["secret"] = strings.TrimSpace(string(data))
	default:
		return factory.Usage("--secret takes - alone, and reads the secret from standard input: it would show in the list of processes")
	}
	c, err := o.Client(cmd.Context())
	if err != nil {
		return err
	}
	var s bridge.Subscription
	raw, err := c.JSON(cmd.Context(), "POST", c.Path("bridge", "subscriptions"), in, &s)
	if err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	err = factory.Poll(cmd.Context(), o.Timeout, "subscription "+s.Name+" (what happens to runs is told only once it is active)", func() (bool, error) {
		if s.State != "arming" {
			return true, nil
		}
		secret := s.Secret
		_, err := c.Get(cmd.Context(), c.Path("bridge", "subscriptions", s.ID), &s)
		s.Secret = secret
		return false, err
	})
	if perr := o.Print(raw, []string{s.Name}, func(w io.Writer) {
		to := s.Sink.URL
		if to == "" {
			to = "the Broker of the project"
		}
		fmt.Fprintf(w, "subscription %s is %s: events go to %s\n", s.Name, s.State, to)
		if s.Secret != "" && o.SecretFrom == "" {
			fmt.Fprintf(w, "  secret   %s   (told this once)\n", s.Secret)
		}
	}); perr != nil {
		return perr
	}
	return err
}

// NewCmdList makes the command; runF replaces its work in tests.
func NewCmdList(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Factory: f}
	return &cobra.Command{
		Use: "list", Short: "List the subscriptions and how they fare", Args: factory.ExactArgs(),
		Example: "  pelton events list",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			c, err := o.Client(cmd.Context())
			if err != nil {
				return err
			}
			var all sdk.List[bridge.Subscription]
			raw, err := c.Get(cmd.Context(), c.Path("bridge", "subscriptions"), &all)
			if err != nil {
				return err
			}
			var names []string
			var rows [][]string
			for _, s := range all.Items {
				names = append(names, s.Name)
				rows = append(rows, []string{s.Name, s.State, s.Sink.Kind, s.Sink.URL, orAll(s.Types), fmt.Sprint(s.Delivered), fmt.Sprint(s.Waiting), fmt.Sprint(s.Dead)})
			}
			return o.Print(raw, names, func(w io.Writer) {
				factory.Table(w, "No subscriptions. Add one with `pelton events subscribe URL`.", []string{"SUBSCRIPTION", "STATE", "SINK", "URL", "TYPES", "DELIVERED", "WAITING", "DEAD"}, rows)
			})
		},
	}
}

func orAll(types []string) string {
	if len(types) == 0 {
		return "all"
	}
	return strings.Join(types, ",")
}

// NewCmdShow makes the command; runF replaces its work in tests.
func NewCmdShow(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Factory: f}
	return &cobra.Command{
		Use: "show NAME", Short: "Show a subscription", Args: factory.ExactArgs("NAME"),
		Example: "  pelton events show orders",
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.Name = args[0]; runF != nil {
				return runF(cmd.Context(), o)
			}
			c, err := o.Client(cmd.Context())
			if err != nil {
				return err
			}
			var s bridge.Subscription
			raw, err := c.Get(cmd.Context(), c.Path("bridge", "subscriptions", o.Name), &s)
			if err != nil {
				return err
			}
			return o.Print(raw, []string{s.Name}, func(w io.Writer) {
				filter, _ := json.Marshal(s.Filter)
				fmt.Fprintf(w, "subscription  %s\nstate         %s\nsink          %s %s\ntypes         %s\nfilter        %s\ndelivered     %d\nwaiting       %d\ndead          %d\n",
					s.Name, strings.TrimSpace(s.State+" "+s.Reason), s.Sink.Kind, s.Sink.URL, orAll(s.Types), filter, s.Delivered, s.Waiting, s.Dead)
				if s.LastError != "" {
					fmt.Fprintf(w, "last error    %s\n", s.LastError)
				}
			})
		},
	}
}

// NewCmdTypes makes the command; runF replaces its work in tests.
func NewCmdTypes(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Factory: f}
	return &cobra.Command{
		Use: "types", Short: "List the platform's events", Args: factory.ExactArgs(),
		Example: "  pelton events types",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			c, err := o.Client(cmd.Context())
			if err != nil {
				return err
			}
			var all sdk.List[bridge.EventType]
			raw, err := c.Get(cmd.Context(), "/bridge/v1/event-types", &all)
			if err != nil {
				return err
			}
			var names []string
			var rows [][]string
			for _, t := range all.Items {
				names = append(names, t.Type)
				rows = append(rows, []string{t.Type, t.Description})
			}
			return o.Print(raw, names, func(w io.Writer) { factory.Table(w, "", []string{"TYPE", "WHAT IT TELLS"}, rows) })
		},
	}
}

// verb is an order about one subscription.
type verb struct{ name, short, method, path, done string }

func newCmdVerb(f *factory.Factory, v verb) *cobra.Command {
	return &cobra.Command{
		Use: v.name + " NAME", Short: v.short, Args: factory.ExactArgs("NAME"), Example: "  pelton events " + v.name + " orders",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := f.Client(cmd.Context())
			if err != nil {
				return err
			}
			path := c.Path("bridge", "subscriptions", args[0])
			if v.path != "" {
				path = c.Path("bridge", "subscriptions", args[0], v.path)
			}
			if _, err := c.JSON(cmd.Context(), v.method, path, nil, nil); err != nil {
				return fmt.Errorf("%s %s: %w", v.name, args[0], err)
			}
			fmt.Fprintf(f.Out, "subscription %s is %s\n", args[0], v.done)
			return nil
		},
	}
}
