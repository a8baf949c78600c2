package action

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pelton-run/pelton/functions/formats/action"
	"github.com/pelton-run/pelton/platform/cli/factory"
	"github.com/pelton-run/pelton/platform/cli/localrun"
	"github.com/pelton-run/pelton/platform/cli/run"
)

// RunOptions of `pelton action run`.
type RunOptions struct {
	*factory.Factory
	Dir    string
	Inputs []string
	Object string
}

// NewCmdRun makes the command; runF replaces its work in tests.
func NewCmdRun(f *factory.Factory, runF func(context.Context, *RunOptions) error) *cobra.Command {
	o := &RunOptions{Factory: f}
	cmd := &cobra.Command{
		Use: "run DIR", Short: "Build one action and run it here, without a server", Args: factory.ExactArgs("DIR"),
		Example: "  pelton action run actions/greet -i name=Ada\n  pelton action run actions/monthly -i data=@weather.csv -i city=Seattle",
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.Dir = args[0]; runF != nil {
				return runF(cmd.Context(), o)
			}
			return runHere(cmd.Context(), o)
		},
	}
	cmd.Flags().StringArrayVarP(&o.Inputs, "input", "i", nil, "name=value, or name=@FILE")
	cmd.Flags().StringVar(&o.Object, "inputs", "", "all inputs as a JSON object, or @FILE")
	return cmd
}

func runHere(ctx context.Context, o *RunOptions) error {
	i, err := localrun.Start(ctx, o.Dir, func(line string) { fmt.Fprintln(o.Err, "  "+line) })
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
	if r.Failed != nil {
		if r.Failed.Stack != "" {
			fmt.Fprintln(o.Err, r.Failed.Stack)
		}
		return fmt.Errorf("%s: %s", r.Failed.Kind, r.Failed.Message)
	}
	var v any = r.Outputs
	if !r.List && len(r.Outputs) == 1 {
		v = r.Outputs[0]
	}
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	fmt.Fprintf(o.Out, "%s\n", data)
	fmt.Fprintf(o.Err, "%d ms\n", r.Took.Milliseconds())
	return nil
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
		Use: "test DIR…", Short: "Run the tests in the metadata of actions, without a server", Args: cobra.MinimumNArgs(1),
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
		i, err := localrun.Start(ctx, dir, func(line string) { fmt.Fprintln(o.Err, "  "+line) })
		if err != nil {
			return err
		}
		if len(i.Action.Tests) == 0 {
			fmt.Fprintf(o.Out, "%s has no tests: add tests: to its action.yaml\n", i.Action.ID)
		}
		for _, t := range i.Action.Tests {
			why, err := one(ctx, i, t)
			if err != nil {
				i.Close()
				return err
			}
			if why == "" {
				passed++
				fmt.Fprintf(o.Out, "ok    %s: %s\n", i.Action.ID, t.Name)
				continue
			}
			failed++
			fmt.Fprintf(o.Out, "FAIL  %s: %s\n      %s\n", i.Action.ID, t.Name, strings.ReplaceAll(why, "\n", "\n      "))
		}
		i.Close()
	}
	fmt.Fprintf(o.Out, "%d passed, %d failed\n", passed, failed)
	if failed > 0 {
		return factory.ErrSilent
	}
	return nil
}

// one runs a test; why says how it failed, "" when it did not.
func one(ctx context.Context, i *localrun.Instance, t action.Test) (why string, err error) {
	inputs := map[string]json.RawMessage{}
	if t.Inputs != nil {
		if err := json.Unmarshal(t.Inputs, &inputs); err != nil {
			return "inputs is no mapping", nil //nolint:nilerr // told as the test's failure
		}
	}
	var lines []string
	r, err := i.Run(ctx, inputs, func(_, line string) { lines = append(lines, line) })
	if err != nil {
		return "", err
	}
	defer func() {
		if why != "" && len(lines) > 0 {
			why += "\nit printed:\n" + strings.Join(lines, "\n")
		}
	}()
	if t.Error != nil {
		return wantError(t, r), nil
	}
	if r.Failed != nil {
		return fmt.Sprintf("it failed with %s: %s", r.Failed.Kind, r.Failed.Message), nil
	}
	return wantOutputs(t, r), nil
}

func wantError(t action.Test, r localrun.Result) string {
	var want struct{ Kind, Field, Code, Message string }
	if err := json.Unmarshal(t.Error, &want); err != nil {
		return "error is no mapping of kind, field, code and message"
	}
	if r.Failed == nil {
		return fmt.Sprintf("it was to fail with %s and it completed", want.Kind)
	}
	for _, c := range []struct{ name, want, got string }{
		{"kind", want.Kind, r.Failed.Kind}, {"field", want.Field, r.Failed.Field}, {"code", want.Code, r.Failed.Code},
	} {
		if c.want != "" && c.want != c.got {
			return fmt.Sprintf("the error's %s is %q and was to be %q: %s", c.name, c.got, c.want, r.Failed.Message)
		}
	}
	if !strings.Contains(r.Failed.Message, want.Message) {
		return fmt.Sprintf("the error's message is %q and was to hold %q", r.Failed.Message, want.Message)
	}
	return ""
}

func wantOutputs(t action.Test, r localrun.Result) string {
	var want map[string]json.RawMessage
	if err := json.Unmarshal(t.Expect, &want); err != nil {
		return "expect is no mapping"
	}
	if len(r.Outputs) != 1 {
		return fmt.Sprintf("it gave %d results", len(r.Outputs))
	}
	var wrong []string
	for _, name := range slices.Sorted(maps.Keys(want)) {
		got, ok := r.Outputs[0][name]
		if string(want[name]) == `"exists"` && ok && string(got) != "null" {
			continue
		}
		if !ok || !sameJSON(got, want[name]) {
			wrong = append(wrong, fmt.Sprintf("%s is %s and was to be %s", name, got, want[name]))
		}
	}
	return strings.Join(wrong, "\n")
}

func sameJSON(a, b []byte) bool {
	var x, y any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return false
	}
	p, err1 := json.Marshal(x)
	q, err2 := json.Marshal(y)
	return err1 == nil && err2 == nil && bytes.Equal(p, q)
}
