package workflow

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pelton-run/pelton/platform/cli/factory"
	"github.com/pelton-run/pelton/platform/sdk"
)

// NewCmdTraffic makes the command; runF replaces its work in tests.
func NewCmdTraffic(f *factory.Factory, runF func(context.Context, *LiveOptions) error) *cobra.Command {
	o := &LiveOptions{Factory: f, Verb: "traffic"}
	noWait := false
	cmd := &cobra.Command{
		Use: "traffic WORKFLOW REVISION=WEIGHT...", Short: "Share new runs between revisions",
		Long: `Shares the new runs of a workflow between revisions by weight: of 100 new runs each takes as many. The
weights sum to 100. A run keeps the revision that it was started with, and so do runs with one
idempotency or concurrency key while the weights stay. Triggers listen as the revision with the greatest
weight says, of equals the oldest.`,
		Example: "  pelton workflow traffic weather-report 7=90 8=10\n  pelton workflow traffic weather-report 8=100",
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) < 2 {
				return factory.Usage("WORKFLOW and REVISION=WEIGHT are wanted: pelton %s", strings.TrimPrefix(cmd.UseLine(), "pelton "))
			}
			o.Name, o.Wait = args[0], !noWait
			var err error
			if o.Weights, err = readWeights(args[1:]); err != nil {
				return err
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
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "do not wait until it is live")
	cmd.Flags().DurationVar(&o.Timeout, "timeout", 5*time.Minute, "wait at most this long")
	return cmd
}

// readWeights reads REVISION=WEIGHT; whether they make sense together is the server's to say.
func readWeights(args []string) ([]sdk.Share, error) {
	out := make([]sdk.Share, len(args))
	for i, a := range args {
		revision, weight, ok := strings.Cut(a, "=")
		n, rerr := strconv.Atoi(revision)
		w, werr := strconv.Atoi(strings.TrimSuffix(weight, "%"))
		if !ok || rerr != nil || werr != nil {
			return nil, factory.Usage("%q is not REVISION=WEIGHT, two whole numbers such as 7=90", a)
		}
		out[i] = sdk.Share{Revision: n, Weight: w}
	}
	return out, nil
}

func weights(list []sdk.Share) []map[string]int {
	out := make([]map[string]int, len(list))
	for i, s := range list {
		out[i] = map[string]int{"revision": s.Revision, "weight": s.Weight}
	}
	return out
}

// split tells which revision takes new runs, or which of several how many of 100.
func split(d *sdk.WorkflowDeployment) string {
	if len(d.Traffic) == 0 {
		return strconv.Itoa(d.Revision)
	}
	parts := make([]string, len(d.Traffic))
	for i, s := range d.Traffic {
		parts[i] = fmt.Sprintf("%d=%d", s.Revision, s.Weight)
	}
	return strings.Join(parts, " ")
}

// deployed tells what a deployment has to do with a revision.
func deployed(d *sdk.WorkflowDeployment, revision int) string {
	for _, s := range d.Traffic {
		switch {
		case s.Revision == revision && revision == d.Revision:
			return fmt.Sprintf("deployed, takes %d of 100 runs, its triggers listen", s.Weight)
		case s.Revision == revision:
			return fmt.Sprintf("deployed, takes %d of 100 runs", s.Weight)
		}
	}
	if revision == d.Revision {
		return "deployed"
	}
	return ""
}
