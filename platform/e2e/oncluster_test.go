package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/e2e/harness"
	"github.com/pelton-run/pelton/platform/kit/id"
)

// onCluster tells whether platforms build and run their actions in the test cluster (PELTON_E2E=cluster): peltond is on
// this machine as ever.
func onCluster() bool { return os.Getenv("PELTON_E2E") == "cluster" }

// patience is how long workflows may take to become live: in the cluster their dependencies are built by Jobs.
func patience() time.Duration {
	if onCluster() {
		return 10 * time.Minute
	}
	return 2 * time.Minute
}

// tell runs config/testcluster/cluster, and gives what it printed.
func tell(ctx context.Context, t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(ctx, filepath.Join(harness.Root(), "config", "testcluster", "cluster"), args...)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	require.NoError(t, err, "cluster %s: %s", strings.Join(args, " "), errs.String())
	return string(out)
}

var exported = regexp.MustCompile(`(?m)^export (\w+)='?([^'\s]*)'?`)

// withDeployer is env with a test's own settings; what these say of the deployer ("PELTON_DEPLOYER=&key=value") adds to it.
func withDeployer(env, own []string) []string {
	for _, e := range own {
		more, ok := strings.CutPrefix(e, "PELTON_DEPLOYER=")
		if !ok {
			env = append(env, e)
			continue
		}
		for i := range env {
			if strings.HasPrefix(env[i], "PELTON_DEPLOYER=") {
				env[i] += more
			}
		}
	}
	return env
}

// clusterEnv makes a platform's own namespaces and bucket in the cluster, which end with the test, and gives the settings
// that lead there. What is built is shared by all tests of a run: PELTON_CLUSTER_EXECUTOR is the platform's image.
func clusterEnv(t *testing.T) (env []string, files harness.Files) {
	t.Helper()
	c := map[string]string{}
	for _, m := range exported.FindAllStringSubmatch(tell(deadline(t, time.Minute), t, "env"), -1) {
		c[m[1]] = m[2]
	}
	image := os.Getenv("PELTON_CLUSTER_EXECUTOR")
	require.NotEmpty(t, image, "PELTON_CLUSTER_EXECUTOR names no image: use make test-cluster")
	random := strings.ReplaceAll(id.New(), "-", "")
	name := "e" + random[len(random)-10:]
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		tell(ctx, t, "kubectl", "delete", "namespace", name+"-default", name+"-builds", "--ignore-not-found", "--wait=false")
		tell(ctx, t, "tenant", "-d", name)
	})
	for _, m := range exported.FindAllStringSubmatch(tell(deadline(t, 2*time.Minute), t, "tenant", name), -1) {
		switch m[1] {
		case "PELTON_FILES":
			files.URL = m[2]
		case "PELTON_S3_CREDENTIALS":
			files.Credentials = m[2]
		}
	}
	gateway := tell(deadline(t, time.Minute), t, "kubectl", "-n", "ingress", "get", "service", "traefik-private", "-o", "jsonpath={.spec.clusterIP}")
	registry, bases := c["PELTON_CLUSTER_REGISTRY"], c["PELTON_CLUSTER_BASES"]
	_, digest, _ := strings.Cut(image, "@sha256:")
	return []string{
		fmt.Sprintf("PELTON_DEPLOYER=knative:?namespace=%s-{project}&kubeconfig=%s&gateway=%s:80&platform-networks=%s/32&window=6s&cpu=20m", name, c["PELTON_CLUSTER_KUBECONFIG"], gateway, c["PELTON_CLUSTER_NODE_IP"]),
		"PELTON_BUILDER_BACKEND=kaniko:",
		"PELTON_BUILDER_KUBECONFIG=" + c["PELTON_CLUSTER_KUBECONFIG"],
		"PELTON_BUILDER_NAMESPACE=" + name + "-builds",
		"PELTON_BUILDER_EXECUTOR=" + image,
		"PELTON_BUILDER_REGISTRY=" + registry + "/e2e-" + digest[:min(8, len(digest))],
		"PELTON_BUILDER_REGISTRY_INSECURE=" + registry,
		"PELTON_BUILDER_IMAGES_PYTHON3=" + bases + "/python3:1",
		"PELTON_BUILDER_IMAGES_NODEJS=" + bases + "/nodejs:1",
		"PELTON_BUILDER_IMAGES_GO=" + bases + "/static:1",
		"PELTON_BUILDER_IMAGES_GO_BUILD=" + bases + "/go:1",
		"PELTON_BUILDER_PROXY=" + c["PELTON_CLUSTER_PROXY"],
		"PELTON_BUILDER_NO_PROXY=" + c["PELTON_CLUSTER_NODE_IP"],
		"PELTON_BUILDER_BUILD_ENV=" + c["PELTON_CLUSTER_BUILDENV"],
	}, files
}
