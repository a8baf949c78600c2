package host_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	pb "github.com/pelton-run/pelton/wrapper/wrapperpb"
)

// The signal of an execution is aborted by a cancel, whether the handler had asked for it before or asks after.
func TestNodeSignal(t *testing.T) {
	a := action{runtime: "nodejs", isolation: "reuse", inputs: []map[string]any{item("notes", "string"), item("early", "boolean")},
		handler: `import { writeFileSync } from "node:fs";
export const handle = async ({ notes, early }, ctx) => {
  const before = early ? ctx.signal : null;
  let told = !early;
  before?.addEventListener("abort", () => (told = true));
  writeFileSync(notes + ".there", "");
  while (!ctx.cancelled) await new Promise((resolve) => setTimeout(resolve, 2));
  writeFileSync(notes, JSON.stringify([told, ctx.signal.aborted, ctx.signal.reason.message, ctx.signal === (before ?? ctx.signal)]));
  throw ctx.signal.reason;
};
`}
	for _, early := range []bool{true, false} {
		i, notes := a.start(t), filepath.Join(t.TempDir(), "notes")
		id := i.send(&pb.Start{Attempt: 1, Inputs: map[string][]byte{"notes": fmt.Appendf(nil, "%q", notes), "early": fmt.Append(nil, early)}})
		until(t, "it is under way", func() bool { _, err := os.Stat(notes + ".there"); return err == nil })
		require.NoError(t, i.stream.Send(&pb.ToAction{ExecutionId: id, Body: &pb.ToAction_Cancel{Cancel: &pb.Cancel{Reason: "enough"}}}))
		require.Equal(t, "cancelled", i.collect(id).failed.GetKind())
		text, err := os.ReadFile(notes)
		require.NoError(t, err)
		require.Equal(t, `[true,true,"the execution was cancelled",true]`, string(text))
	}
}

// Messages come whole, however many reads they take.
func TestNodeLargeInputs(t *testing.T) {
	a := action{runtime: "nodejs", isolation: "reuse", handler: `import { createHash } from "node:crypto";
export const handle = ({ a, b, c }) => ({ digest: createHash("sha256").update(a + b + c).digest("hex") });
`, inputs: []map[string]any{item("a", "string"), item("b", "string"), item("c", "string")}, outputs: []map[string]any{item("digest", "string")}}
	i := a.start(t)
	for _, n := range []int{1, 21_700, 21_845, 30_000, 60_000, 7} {
		in, all := map[string]string{}, ""
		for k, name := range []string{"a", "b", "c"} {
			value := strings.Repeat("é", n/2) + strings.Repeat("x", n%2+k) // bytes of one character on both sides of a cut
			in[name], all = strconv.Quote(value), all+value
		}
		o := i.run(in)
		require.NotNil(t, o.done, "%v", o.failed)
		require.Equal(t, fmt.Sprintf("\"%x\"", sha256.Sum256([]byte(all))), o.outputs[0]["digest"])
	}
}
