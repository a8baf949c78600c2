package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/pelton-run/pelton/platform/cli/factory"
	"github.com/pelton-run/pelton/platform/sdk"
)

// WatchOptions of `pelton run watch`.
type WatchOptions struct {
	*factory.Factory
	ID      string
	Timeout time.Duration
}

// NewCmdWatch makes the command; runF replaces its work in tests.
func NewCmdWatch(f *factory.Factory, runF func(context.Context, *WatchOptions) error) *cobra.Command {
	o := &WatchOptions{Factory: f}
	cmd := &cobra.Command{
		Use: "watch RUN", Short: "Follow a run until it has ended", Args: factory.ExactArgs("RUN"),
		Example: "  pelton run watch 0198a2c4-0000-7000-8000-000000000000 --timeout 10m",
		RunE: func(cmd *cobra.Command, args []string) error {
			o.ID = args[0]
			if o.Timeout < 0 {
				return factory.Usage("--timeout %s is negative", o.Timeout)
			}
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return watch(cmd.Context(), o)
		},
	}
	cmd.Flags().DurationVar(&o.Timeout, "timeout", 0, "watch at most this long (default: without end)")
	return cmd
}

func watch(ctx context.Context, o *WatchOptions) error {
	c, err := o.Client(ctx)
	if err != nil {
		return err
	}
	told := map[string]string{}
	r, err := wait(ctx, c, o.ID, o.Timeout, func(r sdk.Run) {
		if o.Output != "table" {
			return
		}
		for _, s := range r.Steps {
			name := stepName(s.Step, s.ItemPath)
			state := s.State
			if len(s.Attempts) > 1 {
				state += fmt.Sprintf(" (attempt %d)", len(s.Attempts))
			}
			if words := note(s); words != "" {
				state += ": " + words
			}
			if told[name] != state {
				told[name] = state
				fmt.Fprintf(o.Err, "  %-24s %s\n", name, state)
			}
		}
		if told[""] != r.State && (r.State == "waiting" || r.State == "paused") {
			next(o.Err, r)
		}
		told[""] = r.State
	})
	if err != nil {
		return err
	}
	if err := show(ctx, o.Factory, c, o.ID); err != nil {
		return err
	}
	return outcome(r)
}

// wait reads the run whenever the server tells that something happened to it, until it has
// ended. Events only wake it: what is true is what the run says, so a lost one does no harm.
func wait(ctx context.Context, c *sdk.Client, id string, timeout time.Duration, each func(sdk.Run)) (sdk.Run, error) {
	return waitFor(ctx, c, id, timeout, nil, each)
}

// waitFor also calls event (nil = not) with every event before the run is read; false ends the waiting.
func waitFor(ctx context.Context, c *sdk.Client, id string, timeout time.Duration, event func([]byte) bool, each func(sdk.Run)) (sdk.Run, error) {
	outer := ctx
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	var r sdk.Run
	read := func() error {
		r = sdk.Run{}
		if _, err := c.Get(ctx, c.Path("runner", "runs", id), &r); err != nil {
			return err
		}
		if each != nil {
			each(r)
		}
		return nil
	}
	for {
		var failure error
		stopped := false
		err := c.Events(ctx, c.Path("runner", "runs", id, "events"), func(data []byte) bool {
			if event != nil && !event(data) {
				stopped = true
				return false
			}
			if chatter(data) {
				return true
			}
			failure = read()
			return failure == nil && !r.Ended()
		})
		var away *sdk.Unreachable
		if failure != nil && !errors.As(failure, &away) {
			err = failure
		}
		if stopped {
			return r, nil
		}
		if err == nil && failure == nil && !r.Ended() {
			err = fmt.Errorf("the server ended the events of run %s although it is %s", id, r.State)
		}
		switch {
		case r.Ended():
			return r, nil
		case timeout > 0 && errors.Is(ctx.Err(), context.DeadlineExceeded) && outer.Err() == nil:
			return r, fmt.Errorf("run %s has not ended within %s: %w; `pelton run watch %s` goes on waiting", id, timeout, factory.ErrStillRunning, id)
		case err != nil:
			return r, err
		}
	}
}

// chatter is an event that cannot have changed a state.
func chatter(data []byte) bool {
	var e struct{ Kind, Type string }
	if data == nil || json.Unmarshal(data, &e) != nil {
		return false
	}
	for _, k := range []string{e.Kind, e.Type} {
		if k == "log" || k == "progress" || k == "phase" {
			return true
		}
	}
	return false
}

// LogsOptions of `pelton run logs`.
type LogsOptions struct {
	*factory.Factory
	ID, Step string
	Attempt  int
	Follow   bool
	Times    bool
}

// NewCmdLogs makes the command; runF replaces its work in tests.
func NewCmdLogs(f *factory.Factory, runF func(context.Context, *LogsOptions) error) *cobra.Command {
	o := &LogsOptions{Factory: f}
	cmd := &cobra.Command{
		Use: "logs RUN", Short: "Print what the steps of a run wrote", Args: factory.ExactArgs("RUN"),
		Example: "  pelton run logs 0198a2c4-0000-7000-8000-000000000000 --follow",
		RunE: func(cmd *cobra.Command, args []string) error {
			o.ID = args[0]
			if o.Attempt < 0 {
				return factory.Usage("--attempt %d is negative: attempts are counted from 1", o.Attempt)
			}
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return logs(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.Step, "step", "", "only this step")
	cmd.Flags().IntVar(&o.Attempt, "attempt", 0, "only this attempt, counted from 1")
	cmd.Flags().BoolVarP(&o.Follow, "follow", "f", false, "go on until the run has ended")
	cmd.Flags().BoolVar(&o.Times, "times", false, "with the time of each line")
	return cmd
}

func logs(ctx context.Context, o *LogsOptions) error {
	c, err := o.Client(ctx)
	if err != nil {
		return err
	}
	after := int64(0)
	drain := func() error {
		for {
			n, err := page(ctx, o, c, &after)
			if err != nil || n == 0 {
				return err
			}
		}
	}
	if !o.Follow {
		return drain()
	}
	return follow(ctx, o, c, &after, drain)
}

// follow drains whenever the server tells of something new, until the run has ended.
func follow(ctx context.Context, o *LogsOptions, c *sdk.Client, after *int64, drain func() error) error {
	var failure error
	_, err := waitFor(ctx, c, o.ID, 0, func(data []byte) bool {
		var e struct{ Log *sdk.LogRecord }
		if data != nil && json.Unmarshal(data, &e) == nil && e.Log != nil && e.Log.Cursor <= *after {
			return true // printed already
		}
		failure = drain()
		var away *sdk.Unreachable
		return failure == nil || errors.As(failure, &away)
	}, nil)
	if failure != nil {
		return failure
	}
	if err != nil {
		return err
	}
	return drain()
}

// page prints one page and moves after behind it; n is the number of its records.
func page(ctx context.Context, o *LogsOptions, c *sdk.Client, after *int64) (n int, err error) {
	attempt := ""
	if o.Attempt > 0 {
		attempt = strconv.Itoa(o.Attempt)
	}
	var p sdk.List[sdk.LogRecord]
	path := c.Path("runner", "runs", o.ID, "logs") + factory.Query("step", o.Step, "attempt", attempt, "after", strconv.FormatInt(*after, 10), "limit", "200")
	if _, err := c.Get(ctx, path, &p); err != nil {
		return 0, err
	}
	for _, l := range p.Items {
		if err := printLog(o, l); err != nil {
			return 0, err
		}
		*after = max(*after, l.Cursor)
	}
	return len(p.Items), nil
}

func printLog(o *LogsOptions, l sdk.LogRecord) error {
	if o.Output == "json" {
		return json.NewEncoder(o.Out).Encode(l)
	}
	at := ""
	if o.Times {
		at = l.At.Local().Format("15:04:05.000 ")
	}
	_, err := io.WriteString(o.Out, at+"["+stepName(l.Step, l.ItemPath)+"] "+l.Line+"\n")
	return err
}
