package local

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestFetchTool: a program comes whole out of an index of either format, or not at all with the reason.
func TestFetchTool(t *testing.T) {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	f, err := z.Create("tool-1.data/scripts/tool")
	require.NoError(t, err)
	_, err = f.Write([]byte("program"))
	require.NoError(t, err)
	require.NoError(t, z.Close())
	sum := sha256.Sum256(b.Bytes())
	digest := hex.EncodeToString(sum[:])

	mux := http.NewServeMux()
	serve := func(path, body string) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			if user, password, _ := r.BasicAuth(); user != "u" || password != "hush" {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			_, _ = w.Write([]byte(body))
		})
	}
	serve("/json/tool/", `{"files":[{"filename":"other.whl","url":"no"},{"filename":"tool.whl","url":"../../files/tool.whl"}]}`)
	serve("/html/tool/", `<html><a href="no">other.whl</a><br/><a class="x" href="../../files/tool.whl?a=1&amp;b=2#sha256=00">tool.whl</a></html>`)
	serve("/empty/tool/", `{"files":[]}`)
	serve("/files/tool.whl", b.String())
	s := httptest.NewServer(mux)
	defer s.Close()
	base := strings.Replace(s.URL, "http://", "http://u:hush@", 1)

	for _, c := range []struct{ index, digest, member, err string }{
		{base + "/json", digest, "tool-1.data/scripts/tool", ""},
		{base + "/html/", digest, "tool-1.data/scripts/tool", ""},
		{base + "/json", strings.Repeat("0", 64), "tool-1.data/scripts/tool", "tool.whl has the digest sha256:" + digest + ", the pinned one is sha256:000"},
		{base + "/json", digest, "none", "open none: file does not exist"},
		{base + "/empty", digest, "tool-1.data/scripts/tool", "/empty/tool/ does not list tool.whl"},
		{s.URL + "/json", digest, "tool-1.data/scripts/tool", "/json/tool/ answered 401 Unauthorized"},
		{"http://u:hush@127.0.0.1:1", digest, "tool-1.data/scripts/tool", "connection refused"},
	} {
		dest := filepath.Join(t.TempDir(), "bin", "tool")
		err := fetchTool(t.Context(), c.index, "tool", wheel{"tool.whl", c.digest}, c.member, dest)
		if c.err != "" {
			require.ErrorContains(t, err, c.err)
			require.NotContains(t, err.Error(), "hush")
			require.NoFileExists(t, dest)
		} else {
			require.NoError(t, err)
			data, err := os.ReadFile(dest)
			require.NoError(t, err)
			require.Equal(t, "program", string(data))
		}
		left, _ := filepath.Glob(filepath.Join(filepath.Dir(dest), ".*"))
		require.Empty(t, left, "nothing partial stays")
	}
}

// TestUVWheels: a wheel of uv is pinned for every machine that Pelton is built for.
func TestUVWheels(t *testing.T) {
	for _, os := range []string{"linux", "darwin"} {
		for _, arch := range []string{"amd64", "arm64"} {
			w := uvWheels[fmt.Sprintf("%s/%s", os, arch)]
			require.Len(t, w.sha256, 64)
			require.True(t, strings.HasPrefix(w.file, "uv-"+uvVersion+"-"))
		}
	}
}
