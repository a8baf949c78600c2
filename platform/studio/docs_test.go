package studio

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/functions/formats/workflow"
)

// TestDocsAreWorkflows: every example of the pages about workflows and events is one, for the reader and
// for the schema.
func TestDocsAreWorkflows(t *testing.T) {
	page, err := os.ReadFile("../docs/workflows.md")
	require.NoError(t, err)
	events, err := os.ReadFile("../docs/events.md")
	require.NoError(t, err)
	page = append(page, events...)
	schema := load(t, workflowSchema)
	found := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	require.Greater(t, len(found), 8)
	for _, m := range found {
		text := m[1]
		if !strings.HasPrefix(text, "apiVersion") {
			text = "apiVersion: pelton.dev/v1\nkind: Workflow\nmetadata: {name: w}\nspec:\n  " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n  ") + "\n"
		}
		_, problems := workflow.Parse("workflows.md", []byte(text))
		require.Empty(t, problems, text)
		require.NoError(t, accepts(t, schema, text), text)
	}
}
