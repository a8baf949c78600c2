package cli_test

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// cache keeps what builds fetch once between tests.
func cache(t *testing.T) {
	t.Helper()
	_, file, _, _ := runtime.Caller(0)
	t.Setenv("XDG_CACHE_HOME", filepath.Join(filepath.Dir(file), "..", "..", "build", "test-cache"))
}

func put(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
}

func zipped(t *testing.T, path string, files [][2]string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	f, err := os.Create(path)
	require.NoError(t, err)
	defer f.Close()
	z := zip.NewWriter(f)
	for _, x := range files {
		w, err := z.Create(x[0])
		require.NoError(t, err)
		_, err = w.Write([]byte(x[1]))
		require.NoError(t, err)
	}
	require.NoError(t, z.Close())
}

// TestLockPython: the lock has versions and hashes; a second time it is unchanged, a newer wheel
// is taken with --upgrade alone. The packages come from a folder.
func TestLockPython(t *testing.T) {
	cache(t)
	t.Chdir(t.TempDir())
	wheels := t.TempDir()
	wheel := func(version string) {
		info := "pelton_sample-" + version + ".dist-info/"
		zipped(t, filepath.Join(wheels, "pelton_sample-"+version+"-py3-none-any.whl"), [][2]string{
			{"pelton_sample.py", "n = 1\n"},
			{info + "METADATA", "Metadata-Version: 2.1\nName: pelton-sample\nVersion: " + version + "\n"},
			{info + "WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"},
			{info + "RECORD", ""},
		})
	}
	wheel("1.0")
	t.Setenv("UV_FIND_LINKS", wheels)
	require.Zero(t, pelton(t, nil, "", "action", "new", "one").code)
	r := pelton(t, nil, "", "action", "lock", "actions/one")
	require.Equal(t, result{0, "", "actions/one has no dependencies: there is nothing to lock\n"}, r)

	put(t, "actions/one/requirements.txt", "pelton-sample>=1\n")
	t.Setenv("UV_NO_INDEX", "1")
	for _, c := range []struct{ args, state, version string }{
		{"", "written", "1.0"}, {"", "unchanged", "1.0"}, {"--upgrade", "updated", "2.0"},
	} {
		args := []string{"action", "lock", "actions"}
		if c.args != "" {
			args = append(args, c.args)
		}
		r = pelton(t, nil, "", args...)
		require.Zero(t, r.code, r.err)
		require.Equal(t, "actions/one/requirements.lock: "+c.state+"\n", r.out)
		text, err := os.ReadFile("actions/one/requirements.lock")
		require.NoError(t, err)
		require.Regexp(t, `(?s)pelton action lock.*pelton-sample==`+c.version+` \\\n +--hash=sha256:[0-9a-f]{64}\n`, string(text))
		wheel("2.0")
	}
	r = pelton(t, nil, "", "action", "lock", "actions/one", "-o", "name")
	require.Equal(t, "actions/one/requirements.lock\n", r.out)

	put(t, "actions/one/requirements.txt", "pelton-absent==1\n")
	r = pelton(t, nil, "", "action", "lock", "actions/one")
	require.Equal(t, 1, r.code)
	require.Contains(t, r.err, "pelton-absent was not found")

	require.NoError(t, os.Remove("actions/one/requirements.txt"))
	r = pelton(t, nil, "", "action", "lock", "actions/one")
	require.Equal(t, result{1, "", "pelton: lock actions/one: requirements.lock has no requirements.txt that it could be made of: write one with the packages that the action needs\n"}, r)

	require.NoError(t, os.Remove("actions/one/requirements.lock"))
	put(t, "actions/one/pyproject.toml", "[project]\nname = \"one\"\nversion = \"1\"\nrequires-python = \">=3.9\"\ndependencies = [\"pelton-sample\"]\n")
	r = pelton(t, nil, "", "action", "lock", "actions/one")
	require.Zero(t, r.code, r.err)
	require.Equal(t, "actions/one/uv.lock: written\n", r.out)

	t.Setenv("UV_NO_INDEX", "")
	t.Setenv("UV_HTTP_RETRIES", "0")
	t.Setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:1/simple")
	put(t, "actions/one/pyproject.toml", "[project]\nname = \"one\"\nversion = \"1\"\nrequires-python = \">=3.9\"\ndependencies = [\"pelton-other\"]\n")
	r = pelton(t, nil, "", "action", "lock", "actions/one")
	require.Equal(t, 1, r.code)
	require.Contains(t, r.err, "pelton: lock actions/one: 127.0.0.1 could not be reached: check the connection, or set PIP_INDEX_URL to a mirror that can\n")
	require.Contains(t, r.err, "actions/one is as it was\n")
}

func TestLockNode(t *testing.T) {
	cache(t)
	t.Chdir(t.TempDir())
	tarball := filepath.Join(t.TempDir(), "sample-1.0.0.tgz")
	f, err := os.Create(tarball)
	require.NoError(t, err)
	gz := gzip.NewWriter(f)
	w := tar.NewWriter(gz)
	text := []byte(`{"name":"sample","version":"1.0.0"}`)
	require.NoError(t, w.WriteHeader(&tar.Header{Name: "package/package.json", Mode: 0o644, Size: int64(len(text))}))
	_, err = w.Write(text)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	require.NoError(t, gz.Close())
	require.NoError(t, f.Close())

	require.Zero(t, pelton(t, nil, "", "action", "new", "one", "--lang", "nodejs").code)
	put(t, "actions/one/package.json", `{"type":"module","dependencies":{"sample":"file:`+tarball+`"}}`)
	for _, state := range []string{"written", "unchanged"} {
		r := pelton(t, nil, "", "action", "lock", "actions/one")
		require.Zero(t, r.code, r.err)
		require.Equal(t, "actions/one/package-lock.json: "+state+"\n", r.out)
	}
	lock, err := os.ReadFile("actions/one/package-lock.json")
	require.NoError(t, err)
	require.Contains(t, string(lock), `"integrity": "sha512-`)
	require.NoDirExists(t, "actions/one/node_modules")

	t.Setenv("npm_config_registry", "http://127.0.0.1:1/")
	t.Setenv("npm_config_fetch_retries", "0")
	put(t, "actions/one/package.json", `{"type":"module","dependencies":{"pelton-other":"1"}}`)
	r := pelton(t, nil, "", "action", "lock", "actions/one", "--upgrade")
	require.Equal(t, 1, r.code)
	require.Contains(t, r.err, "127.0.0.1 could not be reached: check the connection, or set npm_config_registry to a mirror that can\n")
	after, err := os.ReadFile("actions/one/package-lock.json")
	require.NoError(t, err)
	require.Equal(t, string(lock), string(after), "a lock that could not be made anew stays")
}

func TestLockGo(t *testing.T) {
	cache(t)
	t.Chdir(t.TempDir())
	proxy := t.TempDir()
	at := filepath.Join(proxy, "example.com", "sample", "@v")
	put(t, filepath.Join(at, "list"), "v1.0.0\n")
	put(t, filepath.Join(at, "v1.0.0.info"), `{"Version":"v1.0.0"}`)
	put(t, filepath.Join(at, "v1.0.0.mod"), "module example.com/sample\n\ngo 1.22\n")
	zipped(t, filepath.Join(at, "v1.0.0.zip"), [][2]string{
		{"example.com/sample@v1.0.0/go.mod", "module example.com/sample\n\ngo 1.22\n"},
		{"example.com/sample@v1.0.0/sample.go", "package sample\n\nconst N = 1\n"},
	})
	t.Setenv("GOPROXY", "file://"+proxy)
	t.Setenv("GOSUMDB", "off")
	require.Zero(t, pelton(t, nil, "", "action", "new", "one", "--lang", "go").code)
	put(t, "actions/one/more.go", "package action\n\nimport \"example.com/sample\"\n\nvar _ = sample.N\n")
	r := pelton(t, nil, "", "action", "lock", "actions/one")
	require.Zero(t, r.code, r.err)
	require.Equal(t, "actions/one/go.mod: updated\nactions/one/go.sum: written\n", r.out)
	r = pelton(t, nil, "", "action", "lock", "actions/one", "-o", "json")
	require.Zero(t, r.code, r.err)
	require.JSONEq(t, `{"items":[{"file":"actions/one/go.mod","state":"unchanged"},{"file":"actions/one/go.sum","state":"unchanged"}]}`, r.out)

	t.Setenv("GOPROXY", "http://127.0.0.1:1")
	put(t, "actions/one/more.go", "package action\n\nimport _ \"example.com/other\"\n")
	r = pelton(t, nil, "", "action", "lock", "actions/one")
	require.Equal(t, 1, r.code)
	require.Contains(t, r.err, "127.0.0.1 could not be reached: check the connection, or set GOPROXY to a mirror that can\n")
}

func TestLockRefuses(t *testing.T) {
	t.Chdir(t.TempDir())
	r := pelton(t, nil, "", "action", "lock")
	require.Equal(t, result{2, "", "pelton: DIR is missing: pelton action lock DIR… [flags]\n"}, r)
	require.Zero(t, pelton(t, nil, "", "action", "new", "one").code)
	put(t, "actions/one/action.yaml", "apiVersion: pelton.dev/v1\nkind: Processor\nspec: {runtim: python3}\n")
	r = pelton(t, nil, "", "action", "lock", ".")
	require.Equal(t, 1, r.code)
	require.Contains(t, r.err, "did you mean runtime?")
}
