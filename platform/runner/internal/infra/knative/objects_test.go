package knative

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/slug"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

var update = flag.Bool("update", false, "write the golden files anew")

const (
	someDigest = "sha256:3f2a9c0d1e4b5a69788776655443322110ffeeddccbbaa99887766554433221100"
	someImage  = "image://registry.example:5000/acme/hello@sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
)

func build(change func(*domain.Build)) domain.Build {
	b := domain.Build{Digest: someDigest[:71], Artifact: someImage, Action: "hello@1.0", Kind: "Processor", Runtime: "python3"}
	if change != nil {
		change(&b)
	}
	return b
}

func orderOf(t *testing.T, project string, b domain.Build) *order {
	t.Helper()
	o, err := newOrder(project, b, []byte("-----BEGIN PUBLIC KEY-----\nkey\n-----END PUBLIC KEY-----\n"))
	require.NoError(t, err)
	return o
}

func settings(t *testing.T, text string) *Settings {
	t.Helper()
	s, err := Parse("deployer", text)
	require.NoError(t, err)
	return &s
}

// golden compares objects with a file of YAML documents.
func golden(t *testing.T, name string, objects ...runtime.Object) {
	t.Helper()
	var docs []string
	for _, o := range objects {
		u, err := plain(o)
		require.NoError(t, err)
		text, err := yaml.Marshal(u.Object)
		require.NoError(t, err)
		docs = append(docs, string(text))
	}
	got := strings.Join(docs, "---\n")
	file := filepath.Join("testdata", name+".yaml")
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(got), 0o600))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), got)
}

func TestObjects(t *testing.T) {
	full := build(func(b *domain.Build) {
		b.CPU, b.MemoryBytes, b.Concurrency, b.TimeoutMillis = 0.5, 256<<20, 4, 20_000
		b.Compute = []byte(`{"gpu":{"count":1,"model":"A100"},"kubernetes":{"labels":{"team":"a","app.kubernetes.io/managed-by":"me"},"node_selector":{"disk":"fast"},
			"annotations":{"autoscaling.knative.dev/max-scale":"3","autoscaling.knative.dev/target-burst-capacity":"0","note":"x"},
			"service_account_name":"reader","runtime_class_name":"gvisor"}}`)
	})
	source := build(func(b *domain.Build) { b.Kind = "Source" })
	t.Run("service", func(t *testing.T) {
		golden(t, "service", makeService(orderOf(t, "acme", build(nil)), settings(t, "knative:")))
	})
	t.Run("service with everything", func(t *testing.T) {
		golden(t, "service-full", makeService(orderOf(t, "My Team", full), settings(t, "knative:?namespace=ha-{project}&min-scale=1&initial-scale=0&scale-down-delay=1m&window=6s&pull-secret=regcred&timeout=5m")))
	})
	t.Run("job", func(t *testing.T) {
		golden(t, "job", makeJob(orderOf(t, "acme", full), settings(t, "knative:"), "run-1/step/1"))
	})
	t.Run("source", func(t *testing.T) {
		golden(t, "source", makeSource(orderOf(t, "acme", source), settings(t, "knative:"), "source-d1-clock", "watch", "clock"))
	})
	t.Run("project", func(t *testing.T) {
		golden(t, "project", makeProject("acme", settings(t, "knative:?quota-cpu=4&quota-memory=8Gi&quota-pods=20&platform-networks=10.1.0.0/16"), []byte(`{"auths":{}}`))...)
	})
}

// TestPullCredentials: the secret that a project gets is the one that its pods name.
func TestPullCredentials(t *testing.T) {
	s := settings(t, "knative:?pull-credentials=testdata/pull.json")
	data, err := s.readPullCredentials()
	require.NoError(t, err)
	var made string
	for _, o := range makeProject("acme", s, data) {
		if secret, ok := o.(*corev1.Secret); ok {
			made = secret.Name
			require.Equal(t, data, secret.Data[corev1.DockerConfigJsonKey])
		}
	}
	require.NotEmpty(t, made)
	o := orderOf(t, "acme", build(nil))
	for _, spec := range []corev1.PodSpec{makeService(o, s).Spec.Template.Spec.PodSpec, makeJob(o, s, "x").Spec.Template.Spec, makeSource(o, s, "x", "w", "t").Spec.Template.Spec} {
		require.Equal(t, []corev1.LocalObjectReference{{Name: made}}, spec.ImagePullSecrets)
	}
}

func TestNoVolumeOfAnyKind(t *testing.T) {
	o, s := orderOf(t, "acme", build(nil)), settings(t, "knative:")
	for _, spec := range []any{makeService(o, s).Spec.Template.Spec.PodSpec, makeJob(o, s, "x").Spec.Template.Spec, makeSource(o, s, "x", "w", "t").Spec.Template.Spec} {
		text, err := json.Marshal(spec)
		require.NoError(t, err)
		require.NotContains(t, strings.ToLower(string(text)), "volume")
		require.Contains(t, string(text), `"automountServiceAccountToken":false`)
	}
}

func TestTheTimeLimitOfAService(t *testing.T) {
	s := settings(t, "knative:?long=1m&timeout=10m")
	require.Equal(t, 10*time.Minute, orderOf(t, "p", build(nil)).timeout(s), "none declared")
	require.Equal(t, 90*time.Second, orderOf(t, "p", build(func(b *domain.Build) { b.TimeoutMillis = 20_000 })).timeout(s))
	require.Equal(t, 10*time.Minute, orderOf(t, "p", build(func(b *domain.Build) { b.TimeoutMillis = 3_600_000 })).timeout(s), "those run as Jobs; a step may yet ask for less")
}

func TestNamespacesOfProjects(t *testing.T) {
	s := settings(t, "knative:")
	require.Equal(t, "pelton-acme", s.namespaceOf("acme"))
	seen := map[string]string{}
	for _, project := range []string{"acme", "Acme", "ACME", "a.b", "a b", "a_b", "a-b", "Émile", "日本", "builds", "builds ", "system", strings.Repeat("long ", 12) + "x", strings.Repeat("long ", 12) + "y", "acme-0a1b2c3d"} {
		ns := s.namespaceOf(project)
		require.Regexp(t, `^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`, ns)
		require.Empty(t, seen[ns], "%s and %s share %s", project, seen[ns], ns)
		require.NotContains(t, []string{"pelton-builds", "pelton-system"}, ns)
		seen[ns] = project
	}
	hashedName := slug.Of("My Team")
	require.NotEqual(t, hashedName, slug.Of(hashedName), "a project cannot be named so that it gets another's namespace")
}

func TestNamesOfServices(t *testing.T) {
	for action, want := range map[string]string{"hello@1.0": "hello-3f2a9c0d1e4b", "3d.render@2": "a-3d-render-3f2a9c0d1e4b", "": "a-3f2a9c0d1e4b", "a.very-long-name.of-an-action@1": "a-very-long-name-of-an-a-3f2a9c0d1e4b"} {
		require.Equal(t, want, serviceName(action, someDigest))
	}
}

func TestArtifactsThatCannotRun(t *testing.T) {
	for artifact, want := range map[string]string{"file:///x": "is no image", "image://r/x:latest": "not named by its digest", "": "is no image"} {
		_, err := newOrder("p", build(func(b *domain.Build) { b.Artifact = artifact }), nil)
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, "hello@1.0")
	}
}

// TestLabelsThatPoliciesGoBy: an author cannot label pods so that they leave the project's network policy.
func TestLabelsThatPoliciesGoBy(t *testing.T) {
	for label, refused := range map[string]bool{"team": false, "example.org/team": false, "app.kubernetes.io/part-of": false, "notknative.dev/x": false,
		"eventing.knative.dev/brokerRole": true, "serving.knative.dev/service": true, "pelton.dev/role": true, "kubernetes.io/x": true} {
		_, err := newOrder("p", build(func(b *domain.Build) { b.Compute = []byte(`{"kubernetes":{"labels":{"` + label + `":"x"}}}`) }), nil)
		if refused {
			require.ErrorContains(t, err, "addons.kubernetes.labels: hello@1.0 has "+label)
		} else {
			require.NoError(t, err, label)
		}
	}
}

func TestSettings(t *testing.T) {
	s := settings(t, "knative:?namespace=hk-{project}&gateway=10.0.0.1:80&max-scale=7&network-policy=false&callers=a,b&cpu=10m")
	require.Equal(t, "hk", s.Installation)
	require.Equal(t, 7, s.MaxScale)
	require.Equal(t, []string{"a", "b"}, s.Callers)
	require.False(t, s.Isolate)
	require.Equal(t, "pelton", settings(t, "knative:").Installation)
	for text, want := range map[string]string{
		"process:":                        "deployer: is \"process:\"",
		"knative:x":                       "deployer: is \"knative:x\"",
		"knative:?max-scale=0":            "deployer.max-scale: is \"0\" (give a number from 1 to 1000)",
		"knative:?namespace=pelton":       "deployer.namespace: is \"pelton\"",
		"knative:?gateway=host":           "deployer.gateway: is \"host\" (give HOST:PORT",
		"knative:?timeout=soon":           "deployer.timeout: is \"soon\" (give a time from 1s to 24h0m0s",
		"knative:?memory=much":            "deployer.memory: is \"much\"",
		"knative:?network-policy=perhaps": "deployer.network-policy: is \"perhaps\" (give true or false)",
		"knative:?pull-credentials=testdata/pull.json&pull-secret=own": "deployer.pull-secret: is given beside pull-credentials (give one of them)",
		"knative:?platform-networks=10.0.0.1":                          "deployer.platform-networks: holds \"10.0.0.1\"",
		"knative:?min-scale=5&max-scale=2":                             "deployer.min-scale: is 5 while max-scale is 2",
		"knative:?timeout=30s":                                         "deployer.timeout: is 30s while long is 1m0s: executions that may last as long as long would be cut before (make it at least long, or lower long)",
		"knative:?maxscale=1":                                          "deployer.maxscale: is not known (known are kubeconfig,",
		"knative:?max-scale=1&max-scale=2":                             "deployer.max-scale: is given twice",
		"knative:?cpu=x&memory=y":                                      "deployer.memory: is \"y\"",
		"knative:?installation=Pelton%20%2F%201":                       "deployer.installation: is",
	} {
		_, err := Parse("deployer", text)
		require.ErrorContains(t, err, want, text)
		require.True(t, fault.Is(err, fault.Invalid))
	}
}

// TestPullCredentialsAreTheRunnersAlone: the other services have its settings, and not the file.
func TestPullCredentialsAreTheRunnersAlone(t *testing.T) {
	for file, want := range map[string]string{
		"/nowhere/config.json": "deployer.pull-credentials: open /nowhere/config.json: no such file or directory (give a file as `docker login` writes it",
		"objects_test.go":      "deployer.pull-credentials: objects_test.go names no registry under auths",
	} {
		_, err := Open(Config{Settings: *settings(t, "knative:?pull-credentials="+file), KeyDir: t.TempDir()})
		require.ErrorContains(t, err, want)
		require.True(t, fault.Is(err, fault.Invalid))
	}
}
