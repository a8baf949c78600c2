package dev

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseEnv(t *testing.T) {
	text := "\xef\xbb\xbf# a comment\r\n\r\nPLAIN=a b \r\nexport EXPORTED=x=y # told\nSINGLE='as $it is \\n # no comment' # told\n" +
		"DOUBLE=\"a\\n\\\"b\\\" \\\\ \\d\"\n  spaced = v\t# told\nHASH=a#b\nURL=https://example.com/#x\n"
	pairs, problems := parseEnv([]byte(text))
	require.Empty(t, problems)
	got := ""
	for _, p := range pairs {
		got += fmt.Sprintf("%d %s=%q\n", p.line, p.key, p.value)
	}
	require.Equal(t, `3 PLAIN="a b"
4 EXPORTED="x=y"
5 SINGLE="as $it is \\n # no comment"
6 DOUBLE="a\n\"b\" \\ \\d"
7 spaced="v"
8 HASH="a#b"
9 URL="https://example.com/#x"
`, got)
}

// TestParseEnvProblems: all at once, with their lines, and nothing of what might be a secret.
func TestParseEnvProblems(t *testing.T) {
	const secret = "hunter2"
	pairs, problems := parseEnv([]byte("A=1\n" + secret + "\n1" + secret + "=\nB=\nC='" + secret + "\nD=\"x\" " + secret + "\nA=" + secret + "\n_E=1\nF=# told\n"))
	require.Len(t, pairs, 1)
	require.Equal(t, []string{
		"line 2: is no KEY=VALUE: write the name, =, and the value",
		"line 3: what stands before = cannot be the name of a secret: use letters, digits and _, starting with a letter, at most 128",
		"line 4: B: is empty: give a value, or delete the line",
		"line 5: C: the quote is not closed in its line: close it, and write line breaks as \\n between double quotes",
		"line 6: D: something follows the closing quote: put all of the value between the quotes",
		"line 7: A is in line 1 already: delete one of them",
		"line 8: what stands before = cannot be the name of a secret: use letters, digits and _, starting with a letter, at most 128",
		"line 9: F: is empty: give a value, or delete the line",
	}, problems)
	require.NotContains(t, strings.Join(problems, ""), secret)
}

// TestSecrets: only what is new is sent; names are told, values never.
func TestSecrets(t *testing.T) {
	var sent []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		sent = append(sent, r.Method+" "+r.URL.Path+" "+string(body))
		if strings.HasSuffix(r.URL.Path, "/refused") {
			w.WriteHeader(403)
			_, _ = io.WriteString(w, `{"detail":"not yours"}`)
		}
	}))
	defer s.Close()
	dir := t.TempDir()
	var out bytes.Buffer
	x := secrets{file: filepath.Join(dir, envFile), project: "p", client: client{s.URL, "t"}, printer: newPrinter(&out, false), set: map[string]string{}}
	load := func(text, told string, want ...string) {
		t.Helper()
		require.NoError(t, os.WriteFile(x.file, []byte(text), 0o600))
		sent = nil
		out.Reset()
		x.load(t.Context())
		require.Equal(t, told, out.String())
		require.Equal(t, want, sent)
	}
	x.load(t.Context())
	require.Empty(t, out.String(), "without a file nothing is told")
	load("A=one\nB=two\n", "  secrets   A, B  from .env\n", `PUT /runner/v1/projects/p/secrets/A {"value":"one"}`, `PUT /runner/v1/projects/p/secrets/B {"value":"two"}`)
	load("A=one\nB=2\n", "  secrets   B  from .env\n", `PUT /runner/v1/projects/p/secrets/B {"value":"2"}`)
	load("A=one\nB=2\n", "")
	load("A=new\nB\n", "  error     .env: line 2: is no KEY=VALUE: write the name, =, and the value\n            no secret was changed\n")
	load("A=one\nrefused=1\n", "  error     .env: line 2: refused is not set: not yours\n  secrets   B is no longer in .env and stays set  pelton secret delete B\n",
		`PUT /runner/v1/projects/p/secrets/refused {"value":"1"}`)
}

// TestWarnsOnce: a file that git would take is told, once; an ignored one is not.
func TestWarnsOnce(t *testing.T) {
	dir := t.TempDir()
	out, err := exec.CommandContext(t.Context(), "git", "-C", dir, "init", "-q").CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.NoError(t, os.WriteFile(filepath.Join(dir, envFile), []byte("# none\n"), 0o600))
	told := func() string {
		var b bytes.Buffer
		x := secrets{file: filepath.Join(dir, envFile), printer: newPrinter(&b, false)}
		x.load(t.Context())
		x.load(t.Context())
		return b.String()
	}
	require.Equal(t, "  warning   .env is not ignored by git: add it to .gitignore, or its values get into the repository\n", told())
	require.NoError(t, os.WriteFile(filepath.Join(dir, ".gitignore"), []byte(".env\n"), 0o644))
	require.Empty(t, told())
}
