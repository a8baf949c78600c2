package suite

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pelton-run/pelton/functions/formats/action"
	"github.com/pelton-run/pelton/platform/cli/localrun"
)

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
