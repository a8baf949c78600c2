package workflow

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pelton-run/pelton/platform/cli/factory"
	"github.com/pelton-run/pelton/platform/sdk"
)

// LiveOptions of `pelton workflow deploy` and `rollback`.
type LiveOptions struct {
	*factory.Factory
	Verb, Name string
	Revision   int
	Traffic    int         // deploy: how many of 100 new runs it takes, 0 = all
	Weights    []sdk.Share // traffic
	Wait       bool
	Timeout    time.Duration
}

func newCmdLive(f *factory.Factory, verb, short string, runF func(context.Context, *LiveOptions) error) *cobra.Command {
	o := &LiveOptions{Factory: f, Verb: verb}
	noWait := false
	cmd := &cobra.Command{
		Use: verb + " WORKFLOW", Short: short, Args: factory.ExactArgs("WORKFLOW"),
		Example: "  pelton workflow " + verb + " weather-report\n  pelton workflow " + verb + " weather-report --revision 2",
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Name, o.Wait = args[0], !noWait
			if _, err := os.Stat(o.Name); err == nil && (o.Name == "." || strings.Contains(o.Name, "/") || strings.HasSuffix(o.Name, ".yaml") || strings.HasSuffix(o.Name, ".yml")) {
				return factory.Usage("%s is a file or folder, not a workflow's name: `pelton apply %s` saves and deploys what is in it", o.Name, o.Name)
			}
			if o.Revision < 0 || o.Revision == 0 && cmd.Flags().Changed("revision") {
				return factory.Usage("--revision %d is none: revisions are counted from 1", o.Revision)
			}
			if cmd.Flags().Changed("traffic") && (o.Traffic < 1 || o.Traffic > 100) {
				return factory.Usage("--traffic %d is no share: give a whole number from 1 to 100", o.Traffic)
			}
			if o.Timeout <= 0 {
				return factory.Usage("--timeout %s is not above 0", o.Timeout)
			}
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return live(cmd.Context(), o)
		},
	}
	if verb == "deploy" {
		cmd.Example += "\n  pelton workflow deploy weather-report --traffic 10"
		cmd.Flags().IntVar(&o.Traffic, "traffic", 100, "of 100 new runs it takes as many; the live revision keeps the others")
	}
	which := "newest"
	if verb == "rollback" {
		which = "one before the live one"
	}
	cmd.Flags().IntVar(&o.Revision, "revision", 0, "which revision (default: the "+which+")")
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "do not wait until it is live")
	cmd.Flags().DurationVar(&o.Timeout, "timeout", 5*time.Minute, "wait at most this long")
	return cmd
}

// NewCmdDeploy makes `workflow deploy`; runF replaces its work in tests.
func NewCmdDeploy(f *factory.Factory, runF func(context.Context, *LiveOptions) error) *cobra.Command {
	return newCmdLive(f, "deploy", "Make a revision live", runF)
}

func live(ctx context.Context, o *LiveOptions) error {
	c, err := o.Client(ctx)
	if err != nil {
		return err
	}
	return Deploy(ctx, o, c)
}

// Deploy orders that a revision goes live and, with o.Wait, waits until it is or has failed.
func Deploy(ctx context.Context, o *LiveOptions, c *sdk.Client) error {
	d, raw, err := Order(ctx, o, c)
	if err != nil {
		return err
	}
	if err := o.Print(raw, []string{d.ID}, func(w io.Writer) {
		fmt.Fprintf(w, "workflow %s revision %s: %s\n", o.Name, split(&d), d.State)
	}); err != nil {
		return err
	}
	if d.State == "failed" {
		return fmt.Errorf("the deployment of %s failed: %s", o.Name, d.Reason)
	}
	return nil
}

// Order is Deploy without a word: how the deployment stands, and the answer that says so.
func Order(ctx context.Context, o *LiveOptions, c *sdk.Client) (d sdk.WorkflowDeployment, raw json.RawMessage, err error) {
	body := map[string]any{}
	if o.Revision > 0 {
		body["revision"] = o.Revision
	}
	if o.Traffic > 0 && o.Traffic < 100 {
		body["traffic"] = o.Traffic
	}
	method := "POST"
	if o.Weights != nil {
		method, body["weights"] = "PUT", weights(o.Weights)
	}
	order := func() (err error) {
		raw, err = c.JSON(ctx, method, c.Path("studio", "workflows", o.Name, o.Verb), body, &d)
		return err
	}
	if o.Wait {
		err = o.WhileBuilt(ctx, o.Timeout, o.Name, order)
	} else {
		err = order()
	}
	if err != nil {
		return d, nil, fmt.Errorf("%s %s: %w", o.Verb, o.Name, err)
	}
	if !o.Wait || d.ID == "" {
		return d, raw, nil
	}
	err = factory.Poll(ctx, o.Timeout, "the deployment of "+o.Name, func() (bool, error) {
		var now sdk.Deployment
		answer, err := c.Get(ctx, c.Path("runner", "deployments", d.ID), &now)
		if factory.ExitCode(err) == factory.ExitNotFound {
			return false, nil // ordered, and not yet taken up by the runner
		}
		if err == nil {
			raw, d.State, d.Reason = answer, now.State, now.Reason
			if now.Revision > 0 {
				d.Revision = now.Revision
			}
		}
		return d.State != "deploying" && d.State != "", err
	})
	return d, raw, err
}
