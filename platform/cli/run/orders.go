package run

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pelton-run/pelton/platform/cli/factory"
	"github.com/pelton-run/pelton/platform/sdk"
)

const exampleRun = "0198a2c4-0000-7000-8000-000000000000"

// SignalOptions of `pelton run signal`.
type SignalOptions struct {
	*factory.Factory
	ID, Name, Payload string
}

// NewCmdSignal makes the command; runF replaces its work in tests.
func NewCmdSignal(f *factory.Factory, runF func(context.Context, *SignalOptions) error) *cobra.Command {
	o := &SignalOptions{Factory: f}
	cmd := &cobra.Command{
		Use: "signal RUN NAME", Short: "Send a signal that a step of a run waits for", Args: factory.ExactArgs("RUN", "NAME"),
		Long: `Sends a signal to a run. A step that waits for a signal of this name takes it, now or when the
run gets there; its payload becomes the step's output.`,
		Example: "  pelton run signal " + exampleRun + ` payment --payload '{"paid":true}'` +
			"\n  pelton run signal " + exampleRun + " payment --payload @receipt.json",
		RunE: func(cmd *cobra.Command, args []string) error {
			o.ID, o.Name = args[0], args[1]
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return signal(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.Payload, "payload", "", "what the signal carries: JSON, @FILE that holds it, or - for standard input")
	return cmd
}

func signal(ctx context.Context, o *SignalOptions) error {
	body := map[string]json.RawMessage{}
	if o.Payload != "" {
		payload, err := readPayload(o.Payload, o.In)
		if err != nil {
			return err
		}
		body["payload"] = payload
	}
	return send(ctx, o.Factory, o.ID, []string{"signals", o.Name}, body, "the run has the signal "+o.Name)
}

func readPayload(text string, in io.Reader) (json.RawMessage, error) {
	data, err := []byte(text), error(nil)
	if file, isFile := strings.CutPrefix(text, "@"); isFile {
		data, err = os.ReadFile(file)
	} else if text == "-" {
		data, err = io.ReadAll(in)
	}
	if err != nil {
		return nil, factory.Usage("--payload: %v", err)
	}
	if !json.Valid(data) {
		return nil, factory.Usage(`--payload is not JSON: write text as '"text"'`)
	}
	return data, nil
}

// send sends an order to a run and tells what has become of it.
func send(ctx context.Context, f *factory.Factory, id string, path []string, body any, done string) error {
	c, err := f.Client(ctx)
	if err != nil {
		return err
	}
	var r sdk.Run
	raw, err := c.JSON(ctx, "POST", c.Path("runner", append([]string{"runs", id}, path...)...), body, &r)
	if err != nil {
		return err
	}
	return f.Print(raw, []string{r.ID}, func(w io.Writer) { fmt.Fprintf(w, "%s; run %s is %s\n", done, r.ID, r.State) })
}

// DecideOptions of `pelton run approve` and `pelton run reject`.
type DecideOptions struct {
	*factory.Factory
	ID, Step, Comment string
	Approved          bool
	Path              []int
	Inputs            []string // of the form: name=value, name=@file
}

// NewCmdApprove makes the command; runF replaces its work in tests.
func NewCmdApprove(f *factory.Factory, runF func(context.Context, *DecideOptions) error) *cobra.Command {
	o := &DecideOptions{Factory: f, Approved: true}
	cmd := newCmdDecide(o, runF)
	cmd.Use, cmd.Short = "approve RUN STEP", "Approve what a step of a run waits for"
	cmd.Long = `Approves what a step of a run waits for: an approval, the consent to its first attempt, or another
attempt after one with an irreversible effect was lost. ` + "`pelton run waits`" + ` lists what waits.

A value of the approval's form is given as an input of ` + "`pelton run start`" + ` is.`
	cmd.Example = "  pelton run approve " + exampleRun + ` review --comment fine -i price=12` + "\n  pelton run approve " + exampleRun + " review --item 0.1"
	cmd.Flags().StringArrayVarP(&o.Inputs, "input", "i", nil, "a value of the form: name=value or name=@FILE (repeatable)")
	return cmd
}

// NewCmdReject makes the command; runF replaces its work in tests.
func NewCmdReject(f *factory.Factory, runF func(context.Context, *DecideOptions) error) *cobra.Command {
	cmd := newCmdDecide(&DecideOptions{Factory: f}, runF)
	cmd.Use, cmd.Short = "reject RUN STEP", "Reject what a step of a run waits for"
	cmd.Long = "Rejects what a step of a run waits for: the step fails with the kind rejected."
	cmd.Example = "  pelton run reject " + exampleRun + ` review --comment expensive`
	return cmd
}

func newCmdDecide(o *DecideOptions, runF func(context.Context, *DecideOptions) error) *cobra.Command {
	item := ""
	cmd := &cobra.Command{
		Args: factory.ExactArgs("RUN", "STEP"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.ID, o.Step = args[0], args[1]
			var err error
			if o.Path, err = parsePath(item); err != nil {
				return err
			}
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return decide(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&item, "item", "", "which item, where the step runs once per item: 2, or 0.1 in nested lists")
	cmd.Flags().StringVar(&o.Comment, "comment", "", "what there is to say about it, kept in the history")
	return cmd
}

// parsePath reads an item path such as 0.1.
func parsePath(text string) ([]int, error) {
	path := []int{}
	if text == "" {
		return path, nil
	}
	for _, part := range strings.Split(text, ".") {
		n, err := strconv.ParseInt(part, 10, 32)
		if err != nil || n < 0 {
			return nil, factory.Usage("--item %q is no item: write the indices that stand in brackets behind the step, such as 2 or 0.1", text)
		}
		path = append(path, int(n))
	}
	return path, nil
}

func decide(ctx context.Context, o *DecideOptions) error {
	c, err := o.Client(ctx)
	if err != nil {
		return err
	}
	body := map[string]any{"step": o.Step, "item_path": o.Path, "approved": o.Approved}
	if o.Comment != "" {
		body["comment"] = o.Comment
	}
	if len(o.Inputs) > 0 {
		if body["values"], err = ParseInputs("", o.Inputs, func(file string) (json.RawMessage, error) { return Upload(ctx, c, file) }); err != nil {
			return err
		}
	}
	words := "rejected"
	if o.Approved {
		words = "approved"
	}
	return send(ctx, o.Factory, o.ID, []string{"decisions"}, body, stepName(o.Step, o.Path)+" is "+words)
}

// PauseOptions of `pelton run pause`.
type PauseOptions struct {
	*factory.Factory
	ID, Reason string
}

// NewCmdPause makes the command; runF replaces its work in tests.
func NewCmdPause(f *factory.Factory, runF func(context.Context, *PauseOptions) error) *cobra.Command {
	o := &PauseOptions{Factory: f}
	cmd := &cobra.Command{
		Use: "pause RUN", Short: "Let what is under way in a run end, and start nothing new", Args: factory.ExactArgs("RUN"),
		Example: "  pelton run pause " + exampleRun + ` --reason maintenance`,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.ID = args[0]
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			body := map[string]string{}
			if o.Reason != "" {
				body["reason"] = o.Reason
			}
			return send(cmd.Context(), o.Factory, o.ID, []string{"pause"}, body, "nothing new starts until `pelton run resume "+o.ID+"`")
		},
	}
	cmd.Flags().StringVar(&o.Reason, "reason", "", "why, kept in the history")
	return cmd
}

// ResumeOptions of `pelton run resume`.
type ResumeOptions struct {
	*factory.Factory
	ID string
}

// NewCmdResume makes the command; runF replaces its work in tests.
func NewCmdResume(f *factory.Factory, runF func(context.Context, *ResumeOptions) error) *cobra.Command {
	o := &ResumeOptions{Factory: f}
	return &cobra.Command{
		Use: "resume RUN", Short: "Let a paused run go on", Args: factory.ExactArgs("RUN"),
		Example: "  pelton run resume " + exampleRun,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.ID = args[0]
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return send(cmd.Context(), o.Factory, o.ID, []string{"resume"}, map[string]string{}, "the run goes on")
		},
	}
}

// RetryOptions of `pelton run retry`.
type RetryOptions struct {
	*factory.Factory
	ID, From, Key string
	Newest, Wait  bool
	Timeout       time.Duration
}

// NewCmdRetry makes the command; runF replaces its work in tests.
func NewCmdRetry(f *factory.Factory, runF func(context.Context, *RetryOptions) error) *cobra.Command {
	o := &RetryOptions{Factory: f}
	cmd := &cobra.Command{
		Use: "retry RUN", Short: "Start a run that goes on where an ended one failed", Args: factory.ExactArgs("RUN"),
		Long: `Starts a new run that keeps what an ended one has finished and goes on where it failed, or at the
step of --from. It follows the revision of the old run, or the live one with --newest.`,
		Example: "  pelton run retry " + exampleRun + " --wait\n  pelton run retry " + exampleRun + " --from report --newest",
		RunE: func(cmd *cobra.Command, args []string) error {
			o.ID = args[0]
			if o.Timeout < 0 {
				return factory.Usage("--timeout %s is negative", o.Timeout)
			}
			if cmd.Flags().Changed("timeout") && !o.Wait {
				return factory.Usage("--timeout bounds the waiting: it needs --wait")
			}
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return retry(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.From, "from", "", "the step from which on everything runs again (default: what failed)")
	cmd.Flags().BoolVar(&o.Newest, "newest", false, "follow the live revision instead of the run's own")
	cmd.Flags().StringVar(&o.Key, "idempotency-key", "", "the same key starts no second run")
	cmd.Flags().BoolVar(&o.Wait, "wait", false, "wait until it has ended; exit code 0 completed, 1 failed, 8 still running")
	cmd.Flags().DurationVar(&o.Timeout, "timeout", 0, "with --wait: wait at most this long (default: without end)")
	return cmd
}

func retry(ctx context.Context, o *RetryOptions) error {
	c, err := o.Client(ctx)
	if err != nil {
		return err
	}
	body := map[string]any{"newest": o.Newest}
	if o.From != "" {
		body["from"] = o.From
	}
	if o.Key != "" {
		body["idempotency_key"] = o.Key
	}
	var r sdk.Run
	raw, err := c.JSON(ctx, "POST", c.Path("runner", "runs", o.ID, "retry"), body, &r)
	if err != nil {
		return err
	}
	return o.started(ctx, c, raw, r)
}

func (o *RetryOptions) started(ctx context.Context, c *sdk.Client, raw json.RawMessage, r sdk.Run) error {
	if !o.Wait {
		return o.Print(raw, []string{r.ID}, func(w io.Writer) {
			fmt.Fprintf(w, "run %s goes on where %s ended; `pelton run watch %s` follows it\n", r.ID, o.ID, r.ID)
		})
	}
	return waitAndShow(ctx, o.Factory, c, r.ID, o.Timeout)
}

// waitAndShow waits until a run has ended, shows it, and is an error if it did not complete.
func waitAndShow(ctx context.Context, f *factory.Factory, c *sdk.Client, id string, timeout time.Duration) error {
	r, err := wait(ctx, c, id, timeout, nil)
	if err != nil {
		return err
	}
	if err := show(ctx, f, c, id); err != nil {
		return err
	}
	return outcome(r)
}
