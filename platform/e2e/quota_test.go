package e2e

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestDiskQuota: an execution whose files grow beyond its limit is ended with that reason, whether or
// not it stops writing; the next one is not harmed.
func TestDiskQuota(t *testing.T) {
	p := start(t)
	deploy(t, p, workspace(t, merge(python("actions/fill", "[{name: files, type: integer}]", "[{name: files, type: integer}]", `import os, time


def handle(inputs, ctx):
    for n in range(inputs["files"]):
        with open(os.path.join(ctx.workdir, str(n)), "wb") as f:
            f.truncate(4 << 30)
    while inputs["files"] > 0:
        time.sleep(1)
    return {"files": 0}
`), map[string]string{"workflows/fill.yaml": workflowYAML("fill", "  inputs: [{name: files, type: integer}]\n  steps: [{id: f, uses: ./actions/fill, with: {files: \"${inputs.files}\"}}]\n")})), "fill")
	ctx := deadline(t, 2*time.Minute)
	for _, c := range []struct {
		files int
		state string
	}{{3, "failed"}, {0, "completed"}} {
		r, err := p.StartRun(ctx, "fill", map[string]any{"files": c.files})
		require.NoError(t, err)
		r, err = p.WaitRun(ctx, r.ID)
		require.NoError(t, err)
		require.Equal(t, c.state, r.State, "%+v", r.Error)
		if r.Error != nil {
			require.Equal(t, "disk_full", r.Error.Kind)
			require.Contains(t, r.Error.Message, "limit of 10240 MiB")
		}
	}
}
