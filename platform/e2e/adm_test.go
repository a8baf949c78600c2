package e2e

import (
	"encoding/json"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/e2e/harness"
)

// TestDoctor: the data of a platform that works is well; a file that a run mentions and that is gone is told.
func TestDoctor(t *testing.T) {
	p := start(t)
	deploy(t, p, workspace(t, map[string]string{
		"workflows/keep.yaml": workflowYAML("keep", "  inputs: [{name: doc, type: file}]\n  steps: [{id: ok, wait: {signal: ok}}]\n"),
	}), "keep")
	ctx := deadline(t, 3*time.Minute)
	resp, err := p.Do(ctx, http.MethodPost, "/runner/v1/projects/default/files?name=a.txt", "text/plain", strings.NewReader("hello, file"))
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusCreated, resp.StatusCode)
	var doc json.RawMessage
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&doc))
	_, err = p.StartRun(ctx, "keep", map[string]any{"doc": doc})
	require.NoError(t, err)
	type report struct {
		Well   bool
		Checks []struct{ Name, State, Detail, Remedy string }
	}
	look := func() (r report, err error) {
		said, err := harness.Adm(ctx, p.Options(), "doctor", "--json", "--home", p.Home)
		require.NoError(t, json.Unmarshal([]byte(said), &r), said)
		return r, err
	}
	r, err := look()
	require.NoError(t, err)
	require.True(t, r.Well, "%+v", r.Checks)
	if os.Getenv("PELTON_E2E_FILES") != "" { // there is no folder to take from
		return
	}
	gone := 0
	require.NoError(t, filepath.WalkDir(filepath.Join(p.Home, "files", "default", "sha256"), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		gone++
		return os.Remove(path)
	}))
	require.Positive(t, gone)
	r, err = look()
	require.Error(t, err)
	require.False(t, r.Well)
	for _, c := range r.Checks {
		if c.Name == "files of runs" {
			require.Equal(t, "wrong", c.State)
			require.Contains(t, c.Detail, "are not in the filestore: default sha256:")
			require.NotEmpty(t, c.Remedy)
		}
	}
}

// TestInstallRefuses: what stands in the way of an installation is told in words, before anything is changed.
func TestInstallRefuses(t *testing.T) {
	unsplit(t, "it starts no platform")
	ctx := deadline(t, 2*time.Minute)
	enough := []string{"--set", "image.reference=r/p@sha256:00", "--set", "publicURL=http://p", "--set", "registry.address=r/p", "--set", "s3.endpoint=s:9000", "--set", "s3.accessKey=a", "--set", "s3.secretKey=b",
		"--set", "postgresql.host=d", "--set", "postgresql.adminPassword=c", "--set", "rabbitmq.host=q", "--set", "rabbitmq.managementURL=http://q:15672", "--set", "rabbitmq.adminPassword=e"}
	dead, broken := filepath.Join(t.TempDir(), "dead"), filepath.Join(t.TempDir(), "broken")
	write(t, dead, "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]\ncontexts: [{name: c, context: {cluster: c, user: u}}]\nusers: [{name: u, user: {}}]\ncurrent-context: c\n")
	write(t, broken, "hello: [\n")
	o := harness.Options{Home: t.TempDir()}
	for words, args := range map[string][]string{
		"image.reference is missing":                                  {"install", "--dry-run"},
		"imgae: is no value of the chart (did you mean image?)":       {"install", "--dry-run", "--set", "imgae.reference=x"},
		"none cannot be used: ":                                       append([]string{"install", "--kubeconfig", filepath.Join(t.TempDir(), "none")}, enough...),
		"cannot be used":                                              append([]string{"install", "--kubeconfig", broken}, enough...),
		"the cluster at http://127.0.0.1:1 does not answer":           append([]string{"install", "--kubeconfig", dead}, enough...),
		`has no context "other"`:                                      append([]string{"install", "--kubeconfig", dead, "--context", "other"}, enough...),
		"usage: pelton-adm uninstall [NAME] -n NAMESPACE":             {"uninstall", "a", "b"},
		"the values cannot be read":                                   append([]string{"install", "--dry-run", "-f", filepath.Join(t.TempDir(), "none.yaml")}, enough...),
		"unknown flag: --namspace":                                    {"doctor", "--namspace", "x"},
		"ingress.kind is Nginx: give Ingress, IngressRoute or none":   append([]string{"install", "--dry-run", "--set", "ingress.kind=Nginx"}, enough...),
		"knative.namespace is fixed: it must hold {project}, such as": append([]string{"install", "--dry-run", "--set", "knative.namespace=fixed"}, enough...),
	} {
		said, err := harness.Adm(ctx, o, args...)
		require.Error(t, err, "%v: %s", args, said)
		require.Contains(t, said, words, "%v", args)
	}
	said, err := harness.Adm(ctx, o, append([]string{"install", "-n", "there", "--dry-run"}, enough...)...)
	require.NoError(t, err, said)
	require.Contains(t, said, "kind: PodDisruptionBudget")
}
