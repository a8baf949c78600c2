package action

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pelton-run/pelton/platform/cli/factory"
	"github.com/pelton-run/pelton/platform/cli/localrun"
	"github.com/pelton-run/pelton/platform/cli/run"
	"github.com/pelton-run/pelton/platform/cli/suite"
)

// RunOptions of `pelton action run`.
type RunOptions struct {
	*factory.Factory
	Dir    string
	Inputs []string
	Object string
	Debug  bool
}

// NewCmdRun makes the command; runF replaces its work in tests.
func NewCmdRun(f *factory.Factory, runF func(context.Context, *RunOptions) error) *cobra.Command {
	o := &RunOptions{Factory: f}
	cmd := &cobra.Command{
		Use: "run DIR", Short: "Build one action and run it here, without a server", Args: factory.ExactArgs("DIR"),
		Long: `Builds the action and runs it behind the wrapper that runs it anywhere. Its outputs go to standard
output as JSON, what it prints to standard error.

--debug starts the handler under its language's debugger, which waits: debugpy for Python where it
is installed, else pdb on this terminal; Node.js' inspector; Delve for Go. How to attach is told,
and no timeout ends the run.`,
		Example: "  pelton action run actions/greet -i name=Ada\n  pelton action run actions/greet -i name=Ada --debug\n  pelton action run actions/monthly -i data=@weather.csv -i city=Seattle",
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.Dir = args[0]; runF != nil {
				return runF(cmd.Context(), o)
			}
			return runHere(cmd.Context(), o)
		},
	}
	cmd.Flags().StringArrayVarP(&o.Inputs, "input", "i", nil, "name=value, or name=@FILE")
	cmd.Flags().StringVar(&o.Object, "inputs", "", "all inputs as a JSON object, or @FILE")
	cmd.Flags().BoolVar(&o.Debug, "debug", false, "start the handler under a debugger that waits")
	return cmd
}

func startHere(ctx context.Context, o *RunOptions) (*localrun.Instance, error) {
	progress := func(line string) { fmt.Fprintln(o.Err, "  "+line) }
	if !o.Debug {
		return localrun.Start(ctx, o.Dir, progress)
	}
	return localrun.StartDebug(ctx, o.Dir, progress, localrun.DebugOptions{
		In: o.In, Out: o.Err, Tell: func(line string) { fmt.Fprintln(o.Err, line) },
	})
}

func runHere(ctx context.Context, o *RunOptions) error {
	i, err := startHere(ctx, o)
	if err != nil {
		return err
	}
	defer i.Close()
	inputs, err := run.ParseInputs(o.Object, o.Inputs, i.PutFile)
	if err != nil {
		return err
	}
	for _, it := range i.Action.Inputs { // -i name=7 of a string is the text "7"
		if v, ok := inputs[it.Name]; ok && len(v) > 0 && v[0] != '"' && slices.Contains([]string{"string", "longstring", "password", "enum"}, it.Type) {
			inputs[it.Name], _ = json.Marshal(string(v))
		}
	}
	r, err := i.Run(ctx, inputs, func(level, line string) { fmt.Fprintf(o.Err, "[%s] %s\n", level, line) })
	if err != nil {
		return err
	}
	return r.Print(o.Out, o.Err)
}

// TestOptions of `pelton action test`.
type TestOptions struct {
	*factory.Factory
	Dirs []string
}

// NewCmdTest makes the command; runF replaces its work in tests.
func NewCmdTest(f *factory.Factory, runF func(context.Context, *TestOptions) error) *cobra.Command {
	o := &TestOptions{Factory: f}
	return &cobra.Command{
		Use: "test DIR…", Short: "Run the tests in the metadata of actions, without a server", Args: atLeastOneDir,
		Example: "  pelton action test actions/greet",
		Long: `Builds the action in each folder and runs the tests of its metadata, one after the other. pelton
test runs those of a whole workspace at once.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.Dirs = args; runF != nil {
				return runF(cmd.Context(), o)
			}
			return testHere(cmd.Context(), o)
		},
	}
}

func testHere(ctx context.Context, o *TestOptions) error {
	passed, failed := 0, 0
	for _, dir := range o.Dirs {
		if _, err := os.Stat(dir); err != nil {
			return factory.Usage("%s is no folder: name the folder of an action", dir)
		}
		results, err := suite.Action(ctx, suite.Order{Dir: dir, Log: func(line string) { fmt.Fprintln(o.Err, "  "+line) }})
		if err != nil {
			return err
		}
		if len(results) == 0 {
			fmt.Fprintf(o.Out, "%s has no tests: add tests: to its action.yaml\n", dir)
		}
		for _, r := range results {
			if r.State == suite.Passed {
				passed++
				fmt.Fprintf(o.Out, "ok    %s: %s\n", r.Action, r.Test)
				continue
			}
			failed++
			fmt.Fprintf(o.Out, "FAIL  %s: %s\n      %s\n", r.Action, r.Test, strings.ReplaceAll(r.Message, "\n", "\n      "))
		}
	}
	fmt.Fprintf(o.Out, "%d passed, %d failed\n", passed, failed)
	if failed > 0 {
		return factory.ErrSilent
	}
	return nil
}
