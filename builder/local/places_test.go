package local

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestPlaces: what does not compile is told with file and line, in every language, as the real
// compilers say it.
func TestPlaces(t *testing.T) {
	goMod := "module example.org/sample\n\ngo 1.24\n"
	for _, c := range []struct {
		name  string
		files map[string]string
		kind  string
		file  string
		line  int
		says  string
	}{
		{"python", map[string]string{"action.yaml": metadata("python3"), "handler.py": goodPython, "lib/deep.py": "x = 1\ndef f(:\n"}, "compile", "lib/deep.py", 2, "lib/deep.py:2: SyntaxError"},
		{"python tabs", map[string]string{"action.yaml": metadata("python3"), "handler.py": "def handle(inputs):\n    if inputs:\n\treturn {}\n"}, "compile", "handler.py", 3, "TabError"},
		{"node", map[string]string{"action.yaml": metadata("nodejs"), "handler.mjs": "export const handle = (i) => {\n  return {{}\n}\n"}, "compile", "handler.mjs", 2, "SyntaxError"},
		{"typescript", map[string]string{"action.yaml": metadata("nodejs"), "handler.ts": "export const handle = (i: {n: number}) => {\n  retur this is\n}\n"}, "compile", "handler.ts", 2, "handler.ts:2: "},
		{"go", map[string]string{"action.yaml": metadata("go"), "go.mod": goMod, "handler.go": "package action\n\nimport \"context\"\n\nfunc Handle(ctx context.Context, in Input) (Output, error) {\n\treturn Output{N: in.Nope}, nil\n}\n"}, "compile", "handler.go", 6, "in.Nope"},
		{"go module missing", map[string]string{"action.yaml": metadata("go"), "go.mod": goMod, "handler.go": "package action\n\nimport (\n\t\"context\"\n\n\t_ \"golang.org/x/text/width\"\n)\n\nfunc Handle(ctx context.Context, in Input) (Output, error) {\n\treturn Output{}, nil\n}\n"}, "dependency", "", 0, "pelton action lock"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, log, err := build(t, sharedBuilder(t), "places", c.files)
			var e *Error
			require.True(t, errors.As(err, &e), "%v", err)
			require.Equal(t, c.kind, e.Kind, "%s\n%s", e.Message, log)
			require.Equal(t, c.file, e.File, e.Message)
			require.Equal(t, c.line, e.Line, e.Message)
			require.Contains(t, e.Message, c.says)
		})
	}
}

// TestBuilds: every language builds as the project's user.
func TestBuilds(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"python":     {"action.yaml": metadata("python3"), "handler.py": goodPython},
		"node":       {"action.yaml": metadata("nodejs"), "handler.mjs": "export const handle = (i) => ({n: i.n})\n"},
		"typescript": {"action.yaml": metadata("nodejs"), "handler.ts": "import {same} from './same'\nexport const handle = (i: {n: number}) => same(i)\n", "same.ts": "export const same = (i: {n: number}) => ({n: i.n})\n"},
		"go":         {"action.yaml": metadata("go"), "go.mod": "module example.org/sample\n\ngo 1.24\n", "handler.go": "package action\n\nimport \"context\"\n\nfunc Handle(ctx context.Context, in Input) (Output, error) {\n\treturn Output{N: in.N}, nil\n}\n"},
	} {
		t.Run(name, func(t *testing.T) {
			r, log, err := build(t, sharedBuilder(t), "builds", files)
			require.NoError(t, err, log)
			require.False(t, r.Cached)
			requireOurs(t, r.Dir)
		})
	}
}

func TestNetwork(t *testing.T) {
	for out, host := range map[string]string{
		"error: Failed to fetch: `https://pypi.example.org/simple/x/`\n dns error": "pypi.example.org",
		"npm error code ENOTFOUND\nrequest to https://npm.example.org/x failed":    "npm.example.org",
		"dial tcp: lookup proxy.example.org: no such host":                         "the package registry",
	} {
		e := network(out, "SOME_SETTING")
		require.NotNil(t, e, out)
		require.Equal(t, "network", e.Kind)
		require.Equal(t, host, e.Host)
		require.Contains(t, e.Message, "SOME_SETTING")
	}
	require.Nil(t, network("SyntaxError: invalid syntax", "X"))
}
