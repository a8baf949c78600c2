package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/e2e/harness"
)

// TestUndeployAfterFailure: while a new deployment fails the one before stays live, and `undeploy` means that one.
func TestUndeployAfterFailure(t *testing.T) {
	if onCluster() {
		t.Skip("takes the folder of bundles away, which local processes alone have")
	}
	home := newHome(t)
	p := startWith(t, harness.Options{Home: home})
	ctx := deadline(t, 2*time.Minute)
	require.NoError(t, p.AddFolder(ctx, "told", workspace(t, told(1))))
	require.NoError(t, p.WaitLive(ctx, "told"))
	require.Equal(t, map[int]int{1: 4}, versions(t, p, 4))

	bundles := filepath.Join(home, "bundles")
	require.NoError(t, os.Rename(bundles, bundles+".away"))
	code, out := cli(t, p, "workflow", "deploy", "told")
	require.NotZero(t, code, out)
	require.Contains(t, out, "the build of version@1.0 is no longer on this machine: scan its repository again")
	require.NoError(t, os.Rename(bundles+".away", bundles))
	require.Equal(t, map[int]int{1: 4}, versions(t, p, 4))

	code, out = cli(t, p, "workflow", "undeploy", "told")
	require.Zero(t, code, out)
	require.NoError(t, harness.Until(ctx, "it does not listen", func() (bool, error) {
		status, _, _ := post(t, p, "/told", "application/json", "{}")
		return status == http.StatusNotFound, nil
	}))
	code, out = cli(t, p, "workflow", "undeploy", "told")
	require.NotZero(t, code)
	require.Contains(t, out, `the workflow "told" is not deployed`)
}
