package studio

import (
	"io/fs"
	"os"
	"path"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/functions/formats/wftest"
)

// TestWorkflowTestSchemaAgrees: schema and reader take the same tests and refuse the same.
func TestWorkflowTestSchemaAgrees(t *testing.T) {
	schema := load(t, workflowTestSchema)
	const head = "apiVersion: pelton.dev/v1\nkind: WorkflowTest\nworkflow: w\n"
	stub := func(answer string) string { return head + "expect: {}\nstubs: {a: [{" + answer + "}]}" }
	for _, c := range []struct {
		text string
		ok   bool
	}{
		{head + "expect: {status: failed, error: {kind: timeout}, result: {a: exists, b: {matches: x}}, steps: {a: {status: skipped, attempts: 2, items: 3, outputs: {n: 1}}}}", true},
		{head + "title: T\nnow: '2026-12-01T09:00:00Z'\ninputs: {n: 1}\nvariables: {v: [1]}\nsecrets: {S: made-up}\ncheck: ['true']", true},
		{stub("outputs: {n: 1}, delay: 1h30m, item: 0"), true},
		{stub("outputs: [{n: 1}], item: [0, 1]"), true},
		{stub("error: {kind: timeout, message: m, code: c, field: f, details: {a: 1}}"), true},
		{stub("signal: {payload: 3}"), true},
		{stub("decision: {approved: false, by: ada, comment: c, values: {n: 1}}"), true},
		{head + "expect: {}\nstubs: {a: []}", true},
		{head, false},
		{"apiVersion: pelton.dev/v1\nkind: WorkflowTest\nexpect: {}", false},
		{head + "expect: {status: running}", false},
		{head + "expect: {result: 3}", false},
		{head + "expect: {error: {what: x}}", false},
		{head + "expect: {steps: {a: {attempts: -1}}}", false},
		{head + "expect: {}\nsecrets: {S: 3}", false},
		{head + "expect: {}\nstub: {}", false},
		{stub(""), false},
		{stub("outputs: 3"), false},
		{stub("outputs: {}, error: {kind: k}"), false},
		{stub("error: {message: m}"), false},
		{stub("decision: {by: ada}"), false},
		{stub("outputs: {}, delay: soon"), false},
		{stub("outputs: {}, item: -1"), false},
	} {
		t.Run(c.text, func(t *testing.T) {
			_, problems := wftest.Parse("t.yaml", []byte(c.text))
			require.Equal(t, c.ok, !problems.Errors(), "the reader: %v", problems)
			err := accepts(t, schema, c.text)
			require.Equal(t, c.ok, err == nil, "the schema: %v", err)
		})
	}
	examples, found := os.DirFS("../../functions/examples"), 0
	require.NoError(t, fs.WalkDir(examples, ".", func(name string, _ fs.DirEntry, err error) error {
		if err != nil || path.Base(path.Dir(name)) != "tests" || path.Ext(name) != ".yaml" {
			return err
		}
		text, err := fs.ReadFile(examples, name)
		require.NoError(t, err)
		found++
		require.NoError(t, accepts(t, schema, string(text)), name)
		_, problems := wftest.Parse(name, text)
		require.Empty(t, problems)
		return nil
	}))
	require.Positive(t, found)
}
