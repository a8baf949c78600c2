package e2e

import (
	"bytes"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/e2e/harness"
)

// TestClusterPlatform: the examples on Kubernetes. kaniko builds images of three languages with their
// dependencies, Knative runs them, and a saved line answers without a Job.
func TestClusterPlatform(t *testing.T) {
	if !onCluster() {
		t.Skip("needs a cluster: make test-cluster")
	}
	p := startWith(t, harness.Options{Home: newHome(t)})
	ctx := deadline(t, 10*time.Minute)
	dir := workspace(t, nil)
	require.NoError(t, os.CopyFS(filepath.Join(dir, "hello"), os.DirFS(filepath.Join(harness.Root(), "functions", "examples", "hello"))))
	begun := time.Now()
	require.NoError(t, p.AddFolder(ctx, "examples", dir))
	require.NoError(t, p.WaitLive(ctx, "hello"))
	t.Logf("figure: hello was live after %s", time.Since(begun).Round(time.Millisecond))
	greet := func() (string, time.Duration) {
		begun := time.Now()
		code, header, body := post(t, p, "/hello", "application/json", `{"name":"Ada"}`)
		took := time.Since(begun)
		require.Equal(t, http.StatusOK, code, body)
		run, err := p.Run(ctx, header.Get("Pelton-Run"))
		require.NoError(t, err)
		require.Equal(t, "completed", run.State)
		require.Len(t, run.Steps[0].Attempts, 1)
		return body, took
	}
	body, took := greet()
	require.Contains(t, body, "Hello, Ada!")
	t.Logf("figure: the first call took %s", took.Round(time.Millisecond))
	_, took = greet()
	t.Logf("figure: the second call took %s", took.Round(time.Millisecond))

	// Saved again and again: a caller that asks five times a second sees the new line.
	handler := filepath.Join(dir, "hello", "actions", "hello", "handler.py")
	text, err := os.ReadFile(handler)
	require.NoError(t, err)
	var times []time.Duration
	for _, word := range []string{"Good day, ", "Good evening, ", "Good night, "} {
		changed := strings.Replace(string(text), "Hello, ", word, 1)
		require.NotEqual(t, string(text), changed)
		saved := time.Now()
		write(t, handler, changed)
		require.NoError(t, harness.Until(ctx, "the changed line answers", func() (bool, error) {
			body, _ := greet()
			if strings.Contains(body, word+"Ada!") {
				return true, nil
			}
			wait(ctx, t, 200*time.Millisecond)
			return false, nil
		}))
		times = append(times, time.Since(saved).Round(time.Millisecond))
		wait(ctx, t, 3*time.Second)
	}
	slices.Sort(times)
	t.Logf("figure: a changed line answered after %s, median of %v", times[1], times)

	begun = time.Now()
	require.NoError(t, os.CopyFS(filepath.Join(dir, "weather-report"), os.DirFS(filepath.Join(harness.Root(), "functions", "examples", "weather-report"))))
	require.NoError(t, p.WaitLive(ctx, "weather-report"))
	t.Logf("figure: weather-report was live after %s", time.Since(begun).Round(time.Millisecond))
	csv, err := os.ReadFile(filepath.Join(dir, "weather-report", "data", "seattle-weather.csv"))
	require.NoError(t, err)
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	part, err := w.CreateFormFile("data", "seattle-weather.csv")
	require.NoError(t, err)
	_, err = part.Write(csv)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	code, header, body := post(t, p, "/weather/Seattle", w.FormDataContentType(), form.String())
	require.Equal(t, http.StatusOK, code, body)
	run, err := p.Run(ctx, header.Get("Pelton-Run"))
	require.NoError(t, err)
	require.Equal(t, "completed", run.State)
}
