package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/e2e/harness"
)

const nodeCounter = `import { setTimeout as pause } from "node:timers/promises";

export async function run(service, inputs) {
  console.log("counting on from", service.cursor);
  for (let n = service.cursor ?? 0; n < inputs.limit; ) {
    n++;
    const run = await service.createRun({ n }, { key: n, cursor: n });
    if (!/^[0-9a-f-]{36}$/.test(run)) throw new Error("no run: " + run);
    await pause(5, undefined, { signal: service.signal });
  }
  await new Promise(() => setInterval(() => {}, 1000)); // it does not look at its signal
}
`

const goCounter = `package action

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

func Run(ctx context.Context, source Source, in Input) error {
	fmt.Println("counting on from", string(source.Cursor))
	var n int64
	if source.Cursor != nil {
		if err := json.Unmarshal(source.Cursor, &n); err != nil {
			return err
		}
	}
	for n < in.Limit {
		n++
		run, err := source.CreateRun(ctx, Event{Output: Output{N: n}, Key: fmt.Sprint(n), Cursor: n})
		if err != nil {
			return err
		}
		if len(run) != 36 {
			return fmt.Errorf("no run: %q", run)
		}
		time.Sleep(5 * time.Millisecond)
	}
	<-ctx.Done()
	return ctx.Err()
}
`

// TestSourceLanguages: sources in JavaScript and Go start runs; a SIGKILL of the platform and of the source loses and
// doubles no event, the source gets its cursor back, and one that is no longer wanted ends.
func TestSourceLanguages(t *testing.T) {
	for language, files := range map[string]map[string]string{
		"nodejs": {"source.mjs": nodeCounter},
		"go":     {"source.go": goCounter, "go.mod": "module counter\n\ngo 1.22\n"},
	} {
		t.Run(language, func(t *testing.T) {
			dir := counted(t)
			folder := filepath.Join(dir, "actions", "count")
			require.NoError(t, os.RemoveAll(folder))
			write(t, filepath.Join(folder, "action.yaml"), fmt.Sprintf("apiVersion: pelton.dev/v1\nkind: Source\nspec:\n  id: counter\n  version: \"1.0\"\n  runtime: %s\n  inputs: [{name: limit, type: integer}]\n  outputs: [{name: n, type: integer}]\n", language))
			for name, text := range files {
				write(t, filepath.Join(folder, name), text)
			}
			p := start(t)
			building := deadline(t, 5*patience()/2) // the first Go build of a machine compiles the standard library
			require.NoError(t, p.AddFolder(building, "counted", dir))
			require.NoError(t, p.WaitLive(building, "counted"))
			ctx := deadline(t, 2*time.Minute)
			count := func() int { return countRuns(ctx, t, p) }
			require.NoError(t, harness.Until(ctx, "some runs have started", func() (bool, error) { return count() >= 20, nil }))
			p.Kill()
			killWrappers(t, p) // and the source with them; pods go on
			require.NoError(t, p.Restart(ctx))
			require.NoError(t, harness.Until(ctx, "every event has its run", func() (bool, error) { return count() >= 200, nil }))
			eachOnce(ctx, t, p)
			if !onCluster() { // the keys alone would hide a lost cursor
				require.Regexp(t, `counting on from [1-9]`, p.LogTail(500))
			}
			program := map[string]string{"nodejs": "pelton_shim.mjs", "go": "/bin/action"}[language]
			require.Equal(t, !onCluster(), runs(t, p.Home, program))
			code, out := cli(t, p, "workflow", "undeploy", "counted")
			require.Zero(t, code, out)
			if onCluster() {
				return
			}
			require.NoError(t, harness.Until(ctx, "the source has ended", func() (bool, error) { return !runs(t, p.Home, program), nil }))
		})
	}
}

// runs tells whether a process of a platform's home runs a program.
func runs(t *testing.T, home, program string) bool {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, file := range lines {
		if line, err := os.ReadFile(file); err == nil && strings.Contains(string(line), home) && strings.Contains(string(line), program) {
			return true
		}
	}
	return false
}
