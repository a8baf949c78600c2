package cli_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/cli"
	"github.com/pelton-run/pelton/platform/cli/factory"
	"github.com/pelton-run/pelton/platform/cli/manual"
)

var update = flag.Bool("update", false, "write the manual anew")

// TestManual: platform/docs/cli.md is what the commands say of themselves.
func TestManual(t *testing.T) {
	var got bytes.Buffer
	require.NoError(t, manual.Markdown(&got, cli.NewRoot(&factory.Factory{})))
	path := filepath.Join("..", "docs", "cli.md")
	if *update {
		require.NoError(t, os.WriteFile(path, got.Bytes(), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), got.String(), "the commands and the manual differ: go test ./platform/cli -run TestManual -update")
}

// TestHelp: every command says in a line what it does, and the ones that do something how; every
// example is a call that its command would take.
func TestHelp(t *testing.T) {
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		require.NotEmpty(t, c.Short, c.CommandPath())
		require.False(t, strings.HasSuffix(c.Short, "."), "%s: the short text ends without a full stop", c.CommandPath())
		if !c.HasSubCommands() {
			require.NotEmpty(t, c.Example, c.CommandPath())
		}
		for line := range strings.Lines(c.Example) {
			require.Regexp(t, `^  \S`, line, c.CommandPath())
			takes(t, strings.TrimSpace(line))
		}
		for _, s := range c.Commands() {
			walk(s)
		}
	}
	root := cli.NewRoot(&factory.Factory{})
	walk(root)
	r := pelton(t, nil, "", "--help")
	require.Zero(t, r.code)
	require.Contains(t, r.out, "Exit codes: 0 done, 1 failed, 2 wrong usage, 4 not authorised,\n5 not found, 8 the time to wait ran out and it still runs.")
}

// takes parses the first call of pelton in a line of a shell, without carrying it out.
func takes(t *testing.T, line string) {
	t.Helper()
	_, call, ok := strings.Cut(line, "pelton")
	require.True(t, ok, line)
	call = strings.NewReplacer("\\\"", "", "'", "").Replace(call)
	var args []string
	for _, word := range strings.Fields(call) {
		if word == "<" || word == ">" || word == "|" {
			break
		}
		args = append(args, strings.TrimSuffix(word, ")"))
	}
	root := cli.NewRoot(&factory.Factory{})
	cmd, rest, err := root.Find(args)
	require.NoError(t, err, line)
	require.NotEqual(t, root, cmd, line)
	require.NoError(t, cmd.ParseFlags(rest), line)
	if cmd.CommandPath() == "pelton variable set" {
		return // a quoted value with spaces
	}
	require.NoError(t, cmd.ValidateArgs(cmd.Flags().Args()), line)
}

func TestCompletion(t *testing.T) {
	for shell, want := range map[string]string{"bash": "__start_pelton", "zsh": "#compdef pelton", "fish": "complete -c pelton"} {
		r := pelton(t, nil, "", "completion", shell)
		require.Zero(t, r.code, r.err)
		require.Contains(t, r.out, want)
	}
	require.Equal(t, result{2, "", "pelton: \"tcsh\" is none of [bash zsh fish]\n"}, pelton(t, nil, "", "completion", "tcsh"))
	require.Equal(t, result{2, "", "pelton: bash|zsh|fish is missing: pelton completion bash|zsh|fish [flags]\n"}, pelton(t, nil, "", "completion"))
	r := pelton(t, nil, "", "__complete", "action", "lo")
	require.Contains(t, r.out, "lock\t")
	r = pelton(t, nil, "", "__complete", "run", "list", "-o", "")
	require.Contains(t, r.out, "json\nyaml\nname\n")
}

func TestVersion(t *testing.T) {
	r := pelton(t, nil, "", "version")
	require.Regexp(t, `^pelton \S+ \(go\S+, \w+/\w+\)\n$`, r.out)
	r = pelton(t, nil, "", "version", "-o", "json")
	var v struct{ Version, Go, Platform string }
	require.NoError(t, json.Unmarshal([]byte(r.out), &v))
	require.NotEmpty(t, v.Version)
	require.Equal(t, 2, pelton(t, nil, "", "version", "more").code)
}
