package adm

import (
	"bytes"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pelton-run/pelton/platform/e2e/harness"
	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/server"
)

// enough are settings of an installation, as far as the chart looks.
var enough = []string{"--set", "image.reference=r/p@sha256:00", "--set", "publicURL=http://p", "--set", "registry.address=r/p", "--set", "s3.endpoint=s:9000", "--set", "s3.accessKey=a", "--set", "s3.secretKey=b",
	"--set", "postgresql.host=d", "--set", "postgresql.adminPassword=c", "--set", "rabbitmq.host=q", "--set", "rabbitmq.managementURL=http://q:15672", "--set", "rabbitmq.adminPassword=e"}

// TestInstallWithoutKnative: a cluster that lacks what Pelton needs, or has it in a version that Pelton does
// not speak, is told so before anything is changed.
func TestInstallWithoutKnative(t *testing.T) {
	group := func(name string, versions ...string) metav1.APIGroup {
		g := metav1.APIGroup{Name: name}
		for _, v := range versions {
			g.Versions = append(g.Versions, metav1.GroupVersionForDiscovery{GroupVersion: name + "/" + v, Version: v})
		}
		return g
	}
	for name, c := range map[string]struct {
		groups []metav1.APIGroup
		set    []string
		words  string
	}{
		"no Knative":      {nil, nil, "Knative Serving is not installed in this cluster (it serves no serving.knative.dev): see https://knative.dev/docs/install"},
		"another version": {[]metav1.APIGroup{group("serving.knative.dev", "v1alpha1", "v1beta1")}, nil, "Knative Serving of this cluster serves serving.knative.dev in version v1alpha1, v1beta1, and Pelton speaks v1: upgrade it"},
		"no Traefik":      {[]metav1.APIGroup{group("serving.knative.dev", "v1")}, []string{"--set", "ingress.kind=IngressRoute"}, "the cluster does not know Traefik's IngressRoute (traefik.io/v1alpha1): install Traefik with its CRDs, or set ingress.kind to Ingress or none"},
		"Serving elsewhere": {[]metav1.APIGroup{group("serving.knative.dev", "v1")}, nil,
			"there is no config map config-features in the namespace knative-serving: give knative.servingNamespace, where Knative Serving runs"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodGet {
					t.Errorf("%s %s would have changed something", r.Method, r.URL)
				}
				w.Header().Set("Content-Type", "application/json")
				switch r.URL.Path {
				case "/version":
					_ = json.NewEncoder(w).Encode(map[string]string{"major": "1", "minor": "34", "gitVersion": "v1.34.0"})
				case "/api":
					_ = json.NewEncoder(w).Encode(metav1.APIVersions{Versions: []string{"v1"}})
				case "/apis":
					_ = json.NewEncoder(w).Encode(metav1.APIGroupList{Groups: c.groups})
				default:
					w.WriteHeader(http.StatusNotFound)
					_ = json.NewEncoder(w).Encode(metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: "Failure", Reason: metav1.StatusReasonNotFound, Code: 404})
				}
			}))
			defer server.Close()
			file := filepath.Join(t.TempDir(), "kubeconfig")
			require.NoError(t, os.WriteFile(file, []byte("apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: '"+server.URL+"'}}]\ncontexts: [{name: c, context: {cluster: c, user: u}}]\nusers: [{name: u, user: {}}]\ncurrent-context: c\n"), 0o600))
			var out, said bytes.Buffer
			args := append(append([]string{"install", "--kubeconfig", file}, enough...), c.set...)
			require.Equal(t, 1, Main(args, nil, strings.NewReader(""), &out, &said))
			require.Contains(t, said.String(), c.words)
		})
	}
}

// TestRegistryCheck: doctor pushes and pulls with the builder's credentials, and looks for what databases mention.
func TestRegistryCheck(t *testing.T) {
	real := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "pusher" || password != "right" {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		real.ServeHTTP(w, r)
	}))
	defer s.Close()
	host := strings.TrimPrefix(s.URL, "http://")
	of := func(password string) *imageStore {
		cfg := server.Config{}
		cfg.Builder.Backend, cfg.Builder.Registry, cfg.Builder.RegistryInsecure = "kaniko:", host+"/pelton", []string{host}
		cfg.Builder.RegistryCredentials = filepath.Join(t.TempDir(), "config.json")
		data, err := json.Marshal(map[string]any{"auths": map[string]any{host: map[string]string{"username": "pusher", "password": password}}})
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(cfg.Builder.RegistryCredentials, data, 0o600))
		r, err := registryOf(cfg)
		require.NoError(t, err)
		return r
	}
	pushed, err := of("right").pushAndPull(t.Context())
	require.NoError(t, err)
	require.Contains(t, pushed, host+"/pelton/doctor:probe@sha256:")
	_, err = of("wrong").pushAndPull(t.Context())
	require.True(t, fault.Is(err, fault.Forbidden), "%v", err)
	require.ErrorContains(t, err, "the registry does not take the credentials of registry.credentialsSecret (401)")

	_, digest, _ := strings.Cut(pushed, "@")
	there, gone := "image://"+host+"/pelton/doctor@"+digest, "image://"+host+"/pelton/doctor@sha256:"+strings.Repeat("0", 64)
	require.NoError(t, of("right").builtThere(t.Context(), []string{there}))
	err = of("right").builtThere(t.Context(), []string{there, gone})
	require.True(t, fault.Is(err, fault.NotFound), "%v", err)
	require.ErrorContains(t, err, "1 builds that live deployments or unfinished runs need are not in the registry: "+strings.TrimPrefix(gone, "image://"))
	require.ErrorContains(t, of("wrong").builtThere(t.Context(), []string{there}), "does not take the credentials")
	r, err := registryOf(server.Config{})
	require.NoError(t, err)
	require.Nil(t, r, "builds of local processes are in no registry")
}

// TestClusterIngressRoute: Traefik's own objects lead to every service of an installation, as an Ingress does.
func TestClusterIngressRoute(t *testing.T) {
	if os.Getenv("PELTON_CLUSTER_KUBECONFIG") == "" {
		t.Skip("needs a cluster: make test-cluster")
	}
	p := newPlace(t)
	p.edge()
	_, err := p.adm("install", "pelton", "-n", p.ns, "-f", p.values(map[string]any{"ingress": map[string]any{"kind": "IngressRoute"}}))
	require.NoError(t, err)
	p.login() // which waits for the way to each service
	ctx := deadline(t, time.Minute)
	var page string
	require.NoError(t, harness.Until(ctx, "the ingress leads to the page", func() (bool, error) {
		resp, err := p.p.Do(ctx, http.MethodGet, "/app/", "", nil)
		if err != nil {
			return false, err
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		page = string(text)
		return resp.StatusCode == http.StatusOK, err
	}))
	require.Contains(t, page, "<title>Pelton")
	ingresses, err := p.kube.NetworkingV1().Ingresses(p.ns).List(ctx, metav1.ListOptions{})
	require.NoError(t, err)
	require.Empty(t, ingresses.Items)
}

// TestClusterInstallRefuses: what the cluster does not give is told in words while it is waited for, and what
// will not come by itself ends the waiting.
func TestClusterInstallRefuses(t *testing.T) {
	if os.Getenv("PELTON_CLUSTER_KUBECONFIG") == "" {
		t.Skip("needs a cluster: make test-cluster")
	}
	p := newPlace(t)
	ctx := deadline(t, 10*time.Minute)
	_, err := p.kube.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: p.ns}}, metav1.CreateOptions{})
	require.NoError(t, err)
	values := p.values(nil)
	refused := func(words string, set ...string) {
		t.Helper()
		args := []string{"install", "pelton", "-n", p.ns, "-f", values, "--timeout", "90s"}
		for _, s := range set {
			args = append(args, "--set", s)
		}
		begun := time.Now()
		_, err := p.adm(args...)
		require.ErrorContains(t, err, words)
		p.figure("refused after %s: "+words, time.Since(begun))
		_, err = p.adm("uninstall", "pelton", "-n", p.ns)
		require.NoError(t, err)
	}
	missing := env(t, "PELTON_CLUSTER_REGISTRY") + "/" + p.ns + "/none@sha256:" + strings.Repeat("0", 64)
	refused("there is no image "+missing+": see image.reference", "image.reference="+missing)
	private := privateRegistry(t).Addr + "/pelton/pelton@sha256:" + strings.Repeat("0", 64)
	refused("the registry does not let the node pull "+private+": see image.pullSecret", "image.reference="+private)
	refused("no node takes the pod: ", "nodeSelector.disk=none")
	refused(" does not let "+p.db.User.Username()+" in (", "postgresql.adminPassword=wrong")
	refused("rabbitmq: the broker at ", "rabbitmq.adminPassword=wrong")
	refused("s3: ", "s3.secretKey=wrong")
	refused(`secret "nobodys" not found`, "s3.existingSecret=nobodys")
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "none"}, Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"pods": resource.MustParse("0")}}}
	_, err = p.kube.CoreV1().ResourceQuotas(p.ns).Create(ctx, quota, metav1.CreateOptions{})
	require.NoError(t, err)
	refused("the namespace's quota does not allow a pod: ")
}
