package kaniko

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/builder/internal/app"
	"github.com/pelton-run/pelton/functions/formats/action"
)

var update = flag.Bool("update", false, "write the golden files anew")

const (
	someBuild = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	someBase  = "registry.example.com/base@sha256:1111111111111111111111111111111111111111111111111111111111111111"
	someTools = "registry.example.com/tools@sha256:2222222222222222222222222222222222222222222222222222222222222222"
)

func folder(files map[string]string) fstest.MapFS {
	out := fstest.MapFS{}
	for name, text := range files {
		out[name] = &fstest.MapFile{Data: []byte(text), Mode: 0o644}
	}
	return out
}

func given(runtime, handler string, files map[string]string, apt ...string) material {
	a := action.Action{ID: "sample", Version: "1.0", Kind: "Processor", Runtime: runtime, Handler: handler, Dependencies: apt,
		Inputs: []action.Item{{Name: "text", Type: "string"}}, Outputs: []action.Item{{Name: "words", Type: "integer"}}}
	return material{action: a, files: folder(files), source: "sha256:" + strings.Repeat("5", 64), ground: someBase, tools: someTools}
}

const goMod = "module example.com/words\n\ngo 1.26\n"

// TestRecipes holds what kaniko is given against testdata, for each language and each kind of lock.
func TestRecipes(t *testing.T) {
	for name, m := range map[string]material{
		"python-lock":         given("python3", "handler.py", map[string]string{"handler.py": "", "requirements.txt": "six\n", "requirements.lock": "six==1.17.0 --hash=sha256:0\n"}),
		"python-requirements": given("python3", "handler.py", map[string]string{"handler.py": "", "requirements.txt": "six\n"}),
		"python-uv":           given("python3", "handler.py", map[string]string{"handler.py": "", "pyproject.toml": "", "uv.lock": ""}),
		"python-project":      given("python3", "handler.py", map[string]string{"handler.py": "", "pyproject.toml": ""}),
		"python-apt":          given("python3", "handler.py", map[string]string{"handler.py": ""}, "ffmpeg", "libgdal32"),
		"python-apt-lock":     given("python3", "handler.py", map[string]string{"handler.py": "", "requirements.lock": "six==1.17.0\n"}, "ffmpeg"),
		"nodejs-lock":         given("nodejs", "handler.js", map[string]string{"handler.js": "", "package.json": `{"dependencies": {"a": "1"}}`, "package-lock.json": "{}"}),
		"nodejs-old-name":     given("nodejs", "handler.js", map[string]string{"handler.js": "", "packages.json": `{"dependencies": {"a": "1"}}`}),
		"go":                  given("go", "handler.go", map[string]string{"handler.go": "package action\n", "go.mod": goMod}),
		"typescript":          given("nodejs", "handler.ts", map[string]string{"handler.ts": "", "package.json": `{"dependencies": {"a": "1"}}`}),
		"own-dockerfile":      given("python3", "handler.py", map[string]string{"handler.py": "", "Dockerfile": "FROM x\n", "requirements.txt": "six\n"}),
	} {
		t.Run(name, func(t *testing.T) {
			got := recipe(t, m)
			file := filepath.Join("testdata", name+".txt")
			if *update {
				require.NoError(t, os.MkdirAll("testdata", 0o755))
				require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
			}
			want, err := os.ReadFile(file)
			require.NoError(t, err)
			require.Equal(t, string(want), got)
		})
	}
}

// recipe is every stage of a build as text; generated programs are named only.
func recipe(t *testing.T, m material) string {
	t.Helper()
	var out strings.Builder
	show := func(s *stage) {
		if s.Dockerfile != "" {
			first, _, _ := strings.Cut(s.Dockerfile, "\n")
			require.Equal(t, "FROM "+s.Base, strings.TrimSuffix(first, " AS build"), "what is fetched is what the build starts from")
		}
		fmt.Fprintf(&out, "== %s below=%q uv=%t\n%s", s.Kind, s.Below, s.UV, s.Dockerfile)
		if s.Dockerfile == "" {
			out.WriteString("(the author's Dockerfile)\n")
		}
		for _, name := range slices.Sorted(maps.Keys(s.Files)) {
			fmt.Fprintf(&out, "file %s\n", name)
		}
		for from, to := range s.Rename {
			fmt.Fprintf(&out, "rename %s %s\n", from, to)
		}
		for k, v := range s.Args {
			fmt.Fprintf(&out, "arg %s=%s\n", k, v)
		}
	}
	s, err := dependencies(m)
	require.NoError(t, err)
	if s != nil {
		show(s)
	}
	switch {
	case m.action.Runtime == "go":
		s, err = goCaches(m)
		require.NoError(t, err)
		show(s)
		s, err = goCompile(m, someBuild)
		require.NoError(t, err)
		show(s)
	case compiled(m.action):
		s, err = typescript(m, someBuild)
		require.NoError(t, err)
		show(s)
	default:
		files, err := bundle(m, someBuild)
		require.NoError(t, err)
		out.WriteString("== bundle\n")
		for _, f := range files {
			fmt.Fprintf(&out, "%s %o %s\n", f.Path, f.Mode, f.Link)
			if strings.HasSuffix(f.Path, "bundle.json") {
				fmt.Fprintf(&out, "%s\n", f.Data)
			}
		}
	}
	return out.String()
}

// TestKeys: what dependencies are made of names them, and nothing else does.
func TestKeys(t *testing.T) {
	files := map[string]string{"handler.py": "1", "requirements.lock": "six==1.17.0\n"}
	key := func(change func(*material)) string {
		m := given("python3", "handler.py", maps.Clone(files), "ffmpeg")
		if change != nil {
			change(&m)
		}
		s, err := dependencies(m)
		require.NoError(t, err)
		return s.Key
	}
	set := func(name, text string) func(*material) {
		return func(m *material) { m.files.(fstest.MapFS)[name] = &fstest.MapFile{Data: []byte(text), Mode: 0o644} }
	}
	same := key(nil)
	require.Equal(t, same, key(set("handler.py", "2")), "code")
	require.Equal(t, same, key(func(m *material) { m.action.Version = "2" }), "metadata")
	require.Equal(t, same, key(func(m *material) { m.source = "sha256:other" }), "source")
	require.NotEqual(t, same, key(set("requirements.lock", "six==1.16.0\n")), "lock")
	require.NotEqual(t, same, key(func(m *material) { m.ground = someTools }), "base image")
	require.NotEqual(t, same, key(func(m *material) { m.action.Dependencies = nil }), "system packages")

	gokey := func(mod, sum string) string {
		s, err := goCaches(given("go", "handler.go", map[string]string{"go.mod": mod, "go.sum": sum}))
		require.NoError(t, err)
		return s.Key
	}
	require.Equal(t, gokey("module a\n\ngo 1.26\n", ""), gokey("module b\n\ngo 1.26\n", ""), "the module's name")
	require.NotEqual(t, gokey(goMod, ""), gokey(goMod, "x v1 h1:1\n"))
}

func TestRefused(t *testing.T) {
	for name, c := range map[string]struct {
		m    material
		says string
	}{
		"package":  {given("python3", "handler.py", map[string]string{}, "ffmpeg", "a; rm -rf /"), `spec.options.apt[1]: "a; rm -rf /" is no name of a Debian package`},
		"newline":  {given("python3", "handler.py", map[string]string{}, "a\nRUN x"), "is no name of a Debian package"},
		"option":   {given("python3", "handler.py", map[string]string{}, "-oDebug=1"), "is no name of a Debian package"},
		"no image": {given("container", "", map[string]string{}), "needs a file Dockerfile"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := dependencies(c.m)
			require.ErrorContains(t, err, c.says)
			var e *app.Error
			require.ErrorAs(t, err, &e)
		})
	}
	_, err := goCaches(given("go", "handler.go", map[string]string{}))
	require.ErrorContains(t, err, "there is no go.mod")
	_, err = goCompile(given("go", "handler.go", map[string]string{"go.mod": "go 1.26\n"}), someBuild)
	require.ErrorContains(t, err, "names no module")
}
