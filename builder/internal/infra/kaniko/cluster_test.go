package kaniko

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pelton-run/pelton/builder/internal/app"
	"github.com/pelton-run/pelton/builder/internal/infra/kaniko/images"
	"github.com/pelton-run/pelton/functions/formats/action"
	"github.com/pelton-run/pelton/platform/kit/id"
)

// rig is a builder on the test cluster, in a namespace and below a prefix of the test's own.
type rig struct {
	t       testing.TB
	b       *Builder
	s       Settings
	sources *folders
	node    string
}

// folders are sources that the test serves itself, where pods reach the node.
type folders struct {
	mu   sync.Mutex
	tars map[string][]byte
	url  string
}

func (f *folders) Open(_ context.Context, _, digest string) (io.ReadCloser, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.tars[digest] == nil {
		return nil, fs.ErrNotExist
	}
	return io.NopCloser(bytes.NewReader(f.tars[digest])), nil
}

func (f *folders) Address(_ context.Context, _, digest string, _ time.Duration) (string, error) {
	return f.url + "/" + digest, nil
}

func (f *folders) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, _ = w.Write(f.tars[strings.TrimPrefix(r.URL.Path, "/")])
}

// env is a setting of the test cluster, which `config/testcluster/cluster env` prints.
func env(t *testing.T, name string) string {
	t.Helper()
	v := os.Getenv(name)
	require.NotEmpty(t, v, "%s is not set: run make test-cluster", name)
	return v
}

func onCluster(t *testing.T, change func(*Settings)) *rig {
	t.Helper()
	if os.Getenv("PELTON_CLUSTER_KUBECONFIG") == "" {
		t.Skip("needs a cluster: make test-cluster")
	}
	node := env(t, "PELTON_CLUSTER_NODE_IP")
	f := &folders{tars: map[string][]byte{}}
	l, err := net.Listen("tcp", node+":0")
	require.NoError(t, err)
	server := httptest.NewUnstartedServer(f)
	server.Listener.Close()
	server.Listener = l
	server.Start()
	t.Cleanup(server.Close)
	f.url = server.URL
	registry, bases := env(t, "PELTON_CLUSTER_REGISTRY"), env(t, "PELTON_CLUSTER_BASES")
	own := "pelton-test-" + strings.ToLower(id.New()[24:])
	s := Settings{Registry: registry + "/" + own, RegistryInsecure: []string{registry}, Kubeconfig: env(t, "PELTON_CLUSTER_KUBECONFIG"), Namespace: own,
		Executor: env(t, "PELTON_CLUSTER_EXECUTOR"), Images: Images{bases + "/python3:1", bases + "/nodejs:1", bases + "/static:1", bases + "/go:1"},
		Proxy: env(t, "PELTON_CLUSTER_PROXY"), NoProxy: []string{node}, NetworkPolicy: true, BuildEnv: env(t, "PELTON_CLUSTER_BUILDENV"),
		Limits: Limits{"2", "3Gi", "10Gi"}, Timeout: 10 * time.Minute, Pending: 2 * time.Minute, Home: t.TempDir(), Wrapper: filepath.Join(env(t, "PELTON_BIN"), "wrapper")}
	if change != nil {
		change(&s)
	}
	b, err := New(s, f, time.Now, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = b.cluster.client.CoreV1().Namespaces().Delete(context.Background(), own, metav1.DeleteOptions{})
	})
	return &rig{t: t, b: b, s: s, sources: f, node: node}
}

// order is an order for a folder of these files.
func (r *rig) order(files map[string]string) app.Order {
	r.t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	tree := folder(files)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		require.NoError(r.t, w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(files[name]))}))
		_, err := w.Write([]byte(files[name]))
		require.NoError(r.t, err)
	}
	require.NoError(r.t, w.Close())
	a, problems := action.Load(tree, ".", "sample")
	require.False(r.t, problems.Errors(), "%v", problems)
	build, err := action.Digest(tree, ".")
	require.NoError(r.t, err)
	sum := sha256.Sum256(out.Bytes())
	digest := "sha256:" + hex.EncodeToString(sum[:])
	r.sources.mu.Lock()
	r.sources.tars[digest] = out.Bytes()
	r.sources.mu.Unlock()
	return app.Order{ID: id.New(), Project: "default", Build: build, Action: a, Source: digest, Commit: "1f0c2d9", Log: func(line string) { r.t.Log(line) }}
}

func (r *rig) build(o app.Order) (app.Result, time.Duration) {
	r.t.Helper()
	start := time.Now()
	got, err := r.b.Build(r.t.Context(), o)
	took := time.Since(start)
	require.NoError(r.t, err)
	r.t.Logf("built in %s: %v", took.Round(time.Millisecond), got.Phases)
	return got, took
}

func (r *rig) failure(o app.Order) *app.Error {
	r.t.Helper()
	_, err := r.b.Build(r.t.Context(), o)
	var e *app.Error
	require.ErrorAs(r.t, err, &e)
	return e
}

// image reads a built image: its configuration, its layers' digests, and its files, the upper ones.
func (r *rig) image(artifact string) (c *v1.ConfigFile, layers []string, files map[string]string) {
	r.t.Helper()
	ref, ok := strings.CutPrefix(artifact, "image://")
	require.True(r.t, ok, artifact)
	d, err := name.NewDigest(ref, name.Insecure)
	require.NoError(r.t, err, "deployed by digest only")
	img, err := r.b.reg.Image(r.t.Context(), d)
	require.NoError(r.t, err)
	c, err = img.ConfigFile()
	require.NoError(r.t, err)
	all, err := img.Layers()
	require.NoError(r.t, err)
	files = map[string]string{}
	for _, l := range all {
		h, err := l.Digest()
		require.NoError(r.t, err)
		layers = append(layers, h.String())
		require.NoError(r.t, images.EachFile(l, func(h *tar.Header, in io.Reader) error {
			data, err := io.ReadAll(io.LimitReader(in, 1<<20))
			files[h.Name] = string(data)
			return err
		}))
	}
	return c, layers, files
}

func (r *rig) packages(artifact string) (out []string) {
	r.t.Helper()
	d, err := name.NewDigest(strings.TrimPrefix(artifact, "image://"), name.Insecure)
	require.NoError(r.t, err)
	all, err := r.b.reg.Packages(r.t.Context(), d)
	require.NoError(r.t, err)
	for _, p := range all {
		out = append(out, p.URL())
	}
	return out
}

func (r *rig) jobs() []batchv1.Job {
	r.t.Helper()
	all, err := r.b.cluster.client.BatchV1().Jobs(r.s.Namespace).List(r.t.Context(), metav1.ListOptions{})
	require.NoError(r.t, err)
	return all.Items
}

func meta(runtime string, more ...string) string {
	return "apiVersion: pelton.dev/v1\nkind: Processor\nspec:\n  runtime: " + runtime + "\n  inputs: [{name: text, type: string}]\n  outputs: [{name: words, type: integer}]\n" + strings.Join(more, "")
}

// handsOff: of what is handed to builds nothing is in the image.
func (r *rig) handsOff(c *v1.ConfigFile, files map[string]string) {
	r.t.Helper()
	text, err := json.Marshal(c)
	require.NoError(r.t, err)
	require.NotContains(r.t, string(text), "buildenv")
	require.NotContains(r.t, string(text), r.s.Proxy)
	for name, data := range files {
		require.False(r.t, strings.HasPrefix(name, "kaniko") || strings.HasPrefix(name, "out/"), name)
		if !strings.HasPrefix(name, "usr/") {
			require.NotContains(r.t, data, r.s.Proxy, name)
		}
	}
	require.Equal(r.t, "65532:65532", c.Config.User)
}

// TestClusterPython: dependencies and a system package, from mirrors that want credentials.
func TestClusterPython(t *testing.T) {
	var m *mirror
	r := onCluster(t, func(s *Settings) { m = mirrored(t, s) })
	files := map[string]string{"action.yaml": meta("python3", "  options: {apt: [hello]}\n"), "requirements.txt": "six==1.17.0\n", "handler.py": "import six\ndef handle(inputs):\n    return {'words': 1}\n"}
	first, _ := r.build(r.order(files))
	require.Contains(t, first.Notes, "installed without a lock: `pelton action lock` writes requirements.lock")
	c, layers, got := r.image(first.Artifact)
	r.handsOff(c, got)
	require.Contains(t, got, "pelton/deps/six.py")
	require.Contains(t, got["pelton/bundle/bundle.json"], `"interpreter": "python3"`)
	require.Contains(t, r.packages(first.Artifact), "pkg:pypi/six@1.17.0")
	require.Empty(t, r.jobs(), "a Job is removed once it is told")
	require.Contains(t, got, "usr/bin/hello")
	require.True(t, slices.ContainsFunc(r.packages(first.Artifact), func(p string) bool { return strings.HasPrefix(p, "pkg:deb/debian/hello@") }))
	require.Equal(t, "Hello, world!\n", r.says(first.Artifact, "hello"))
	m.leavesNothing(r, "pip.conf", "pelton/deps/six.py")

	same, took := r.build(r.order(files))
	require.True(t, same.Cached)
	require.Equal(t, first.Artifact, same.Artifact)
	t.Logf("unchanged: %s", took)

	files["handler.py"] += "# changed\n"
	second, took := r.build(r.order(files))
	t.Logf("code alone: %s", took)
	require.False(t, second.Cached)
	require.NotContains(t, second.Phases, "deps push", "no Job")
	_, changed, _ := r.image(second.Artifact)
	require.Equal(t, layers[:len(layers)-1], changed[:len(changed)-1])
	require.NotEqual(t, layers[len(layers)-1], changed[len(changed)-1])
	require.Contains(t, r.packages(second.Artifact), "pkg:pypi/six@1.17.0")

	gone, err := r.b.Drop(t.Context(), "default", digestOf(t, files), time.Now().Add(time.Hour))
	require.NoError(t, err)
	require.True(t, gone)
	again, _ := r.build(r.order(files))
	require.False(t, again.Cached)
}

func digestOf(t *testing.T, files map[string]string) string {
	t.Helper()
	d, err := action.Digest(folder(files), ".")
	require.NoError(t, err)
	return d
}

func TestClusterNodejs(t *testing.T) {
	var m *mirror
	r := onCluster(t, func(s *Settings) { m = mirrored(t, s) })
	files := map[string]string{"action.yaml": meta("nodejs"), "package.json": `{"type": "module", "dependencies": {"ms": "2.1.3"}}`,
		"handler.js": "import ms from 'ms'\nexport function handle() { return {words: ms('1s')} }\n"}
	first, _ := r.build(r.order(files))
	c, _, got := r.image(first.Artifact)
	r.handsOff(c, got)
	require.Contains(t, got, "pelton/deps/node_modules/ms/package.json")
	require.Contains(t, r.packages(first.Artifact), "pkg:npm/ms@2.1.3")
	files["handler.js"] += "// changed\n"
	_, took := r.build(r.order(files))
	t.Logf("code alone: %s", took)

	files["handler.ts"] = "import ms from 'ms'\nexport function handle(i: {text: string}) { return {words: ms('1s')} }\n"
	delete(files, "handler.js")
	typed, _ := r.build(r.order(files))
	_, _, got = r.image(typed.Artifact)
	require.Contains(t, got, "pelton/bundle/code/handler.compiled.mjs")
	require.Contains(t, got["pelton/bundle/bundle.json"], "code/handler.compiled.mjs")
	m.leavesNothing(r, "npmrc", "pelton/deps/node_modules/ms/package.json")

	files["handler.ts"] = "export function handle( {\n"
	e := r.failure(r.order(files))
	require.Equal(t, "compile", e.Kind)
	require.Equal(t, "handler.ts", e.File)

	files = map[string]string{"action.yaml": meta("nodejs"), "package.json": `{"dependencies": {"pelton-no-such-package-at-all": "1.0.0"}}`, "handler.js": "exports.handle = () => ({words: 1})\n"}
	e = r.failure(r.order(files))
	require.Equal(t, "dependency", e.Kind, e.Message)
}

func TestClusterGo(t *testing.T) {
	r := onCluster(t, nil)
	files := map[string]string{"action.yaml": meta("go"), "go.mod": "module example.com/words\n\ngo 1.24\n",
		"handler.go": "package action\n\nimport (\n\t\"context\"\n\t\"strings\"\n)\n\nfunc Handle(_ context.Context, in Input) (Output, error) {\n\treturn Output{Words: int64(len(strings.Fields(in.Text)))}, nil\n}\n"}
	first, _ := r.build(r.order(files))
	c, layers, got := r.image(first.Artifact)
	r.handsOff(c, got)
	require.Contains(t, got, "pelton/bundle/bin/action")
	require.Contains(t, got["pelton/bundle/bundle.json"], `"handler": "bin/action"`)
	require.True(t, slices.ContainsFunc(r.packages(first.Artifact), func(p string) bool { return strings.HasPrefix(p, "pkg:golang/stdlib@") }))
	files["handler.go"] += "// changed\n"
	second, took := r.build(r.order(files))
	t.Logf("code alone: %s", took)
	_, changed, _ := r.image(second.Artifact)
	require.Equal(t, layers[:len(layers)-1], changed[:len(changed)-1])

	files["handler.go"] = "package action\n\nimport \"context\"\n\nfunc Handle(_ context.Context, in Input) (Output, error) { return nope, nil }\n"
	e := r.failure(r.order(files))
	require.Equal(t, "compile", e.Kind, e.Message)
	require.Equal(t, "handler.go", e.File)
	require.Equal(t, 5, e.Line)
}

// TestClusterFence: what a build's commands reach of the cluster, with its network policy and without. An ordinary build
// passes with it: every other test of a cluster here has it.
func TestClusterFence(t *testing.T) {
	for _, fenced := range []bool{false, true} {
		t.Run(fmt.Sprint(fenced), func(t *testing.T) {
			r := onCluster(t, func(s *Settings) { s.NetworkPolicy = fenced })
			api, err := url.Parse(r.b.cluster.host)
			require.NoError(t, err)
			kubernetes, err := r.b.cluster.client.CoreV1().Services("default").Get(t.Context(), "kubernetes", metav1.GetOptions{})
			require.NoError(t, err)
			pods, err := r.b.cluster.client.CoreV1().Pods("knative-serving").List(t.Context(), metav1.ListOptions{LabelSelector: "app=autoscaler"})
			require.NoError(t, err)
			require.NotEmpty(t, pods.Items)
			l, err := net.Listen("tcp", r.node+":0") //nolint:noctx // a port to be reached, or not
			require.NoError(t, err)
			defer l.Close()
			proxy, err := url.Parse(r.s.Proxy)
			require.NoError(t, err)
			places := []string{"API server " + r.node + " " + api.Port(), "API service " + kubernetes.Spec.ClusterIP + " 443", "a pod " + pods.Items[0].Status.PodIP + " 8080",
				"another port of the node " + strings.ReplaceAll(l.Addr().String(), ":", " "), "the proxy " + proxy.Hostname() + " " + proxy.Port()}
			// The test cluster binds a pod by its policies only once the pod's address is known, which takes a moment; a
			// network that enforces them by itself does before anything runs.
			look := "import socket, time\ndef open_to(host, port):\n    s = socket.socket()\n    s.settimeout(3)\n    return s.connect_ex((host, port)) == 0\n"
			if fenced {
				look += fmt.Sprintf("late = time.time() + 60\nwhile time.time() < late and open_to(%q, %s):\n    time.sleep(0.5)\n", r.node, api.Port())
			}
			for _, p := range places {
				f := strings.Fields(p)
				look += fmt.Sprintf("print('reached' if open_to(%q, %s) else 'shut', %q, flush=True)\n", f[len(f)-2], f[len(f)-1], strings.Join(f[:len(f)-2], " "))
			}
			o := r.order(map[string]string{"action.yaml": meta("python3"), "handler.py": "def handle(inputs):\n    return {'words': 1}\n", "look.py": look,
				"Dockerfile": "FROM " + r.s.Images.Python3 + "\nCOPY look.py /look.py\nUSER root\nRUN python3 /look.py\n"})
			var mu sync.Mutex
			got := map[string]string{}
			o.Log = func(line string) {
				t.Log(line)
				mu.Lock()
				defer mu.Unlock()
				if said, what, ok := strings.Cut(strings.TrimSpace(line), " "); ok && (said == "reached" || said == "shut") {
					got[what] = said
				}
			}
			r.build(o)
			other := map[bool]string{true: "shut", false: "reached"}[fenced]
			require.Equal(t, map[string]string{"API server": other, "API service": other, "a pod": other, "another port of the node": other, "the proxy": "reached"}, got)
			_, err = r.b.cluster.client.NetworkingV1().NetworkPolicies(r.s.Namespace).Get(t.Context(), policyName, metav1.GetOptions{})
			require.Equal(t, fenced, err == nil, "%v", err)
		})
	}
}

// TestClusterDockerfile: an author's own image; what its commands see of the node and the platform.
func TestClusterDockerfile(t *testing.T) {
	const secret = "word-that-no-author-sees"
	r := onCluster(t, func(s *Settings) { // without credentials there would be none to be seen
		s.RegistryCredentials = filepath.Join(s.Home, "push.json")
		require.NoError(t, os.WriteFile(s.RegistryCredentials, []byte(`{"auths": {"registry.example.com": {"username": "pelton", "password": "`+secret+`"}}}`), 0o600))
	})
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a port to be reached, or not
	require.NoError(t, err)
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	files := map[string]string{"action.yaml": meta("python3"), "handler.py": "def handle(inputs):\n    return {'words': 1}\n",
		"look.py": fmt.Sprintf("import os, socket\ns = socket.socket()\ns.settimeout(3)\nassert s.connect_ex(('127.0.0.1', %s)) != 0, 'the loopback of the node'\n"+
			"assert not os.path.exists('/var/run/secrets/kubernetes.io'), 'a token'\nassert not os.path.exists('/pelton/credentials'), 'credentials'\n"+
			"print('sees', sorted(os.listdir('/kaniko')), flush=True)\n"+
			"for top, _, names in os.walk('/kaniko'):\n    for n in names:\n        p = os.path.join(top, n)\n        if os.path.isfile(p) and not p.endswith('look.py'):\n            assert %q + %q not in open(p, errors='ignore').read(), p\n", port, secret[:9], secret[9:]),
		"Dockerfile": "FROM " + r.s.Images.Python3 + "\nCOPY look.py /look.py\nUSER root\nRUN python3 /look.py && mkdir /made && echo yes >/made/by-the-author\nCOPY handler.py /made/\n"}
	first, _ := r.build(r.order(files))
	c, _, got := r.image(first.Artifact)
	r.handsOff(c, got)
	require.Equal(t, "yes\n", got["made/by-the-author"])
	require.Equal(t, []string{"/pelton/wrapper", "serve", "--bundle", "/pelton/bundle", "--state", "/tmp/pelton"}, c.Config.Entrypoint)

	same, _ := r.build(r.order(files))
	require.True(t, same.Cached, "unchanged")
	require.Equal(t, first.Artifact, same.Artifact)
	files["handler.py"] += "# changed\n"
	second, _ := r.build(r.order(files))
	require.False(t, second.Cached)
	require.Contains(t, second.Phases, "deps push", "the Dockerfile is built anew: it may use any file")
	_, _, got = r.image(second.Artifact)
	require.Equal(t, files["handler.py"], got["made/handler.py"], "by the Dockerfile")
	require.Equal(t, files["handler.py"], got["pelton/bundle/code/handler.py"])

	files["Dockerfile"] = "FROM " + r.s.Images.Python3 + "\nRUN echo something went wrong && exit 3\n"
	e := r.failure(r.order(files))
	require.Contains(t, e.Message, "something went wrong")
	files["Dockerfile"] = "FROM " + r.s.Images.Python3 + "-missing\n"
	e = r.failure(r.order(files))
	require.Equal(t, "network", e.Kind, e.Message)
	files["Dockerfile"] = "FRM x\n"
	e = r.failure(r.order(files))
	require.Equal(t, "compile", e.Kind, e.Message)

	files = map[string]string{"action.yaml": meta("container"), "Dockerfile": "FROM " + r.s.Images.Python3 + "\nUSER 1000\nENTRYPOINT [\"/serve\"]\n"}
	own, _ := r.build(r.order(files))
	c, _, _ = r.image(own.Artifact)
	require.Equal(t, []string{"/serve"}, c.Config.Entrypoint)
	require.Equal(t, "1000", c.Config.User)
}

// slow is an action whose build goes on until it is ended.
func (r *rig) slow() app.Order {
	return r.order(map[string]string{"action.yaml": meta("python3"), "handler.py": "def handle(inputs):\n    return {'words': 1}\n",
		"Dockerfile": "FROM " + r.s.Images.Python3 + "\nRUN echo it has begun && sleep 600\n", "unique": id.New()})
}

// begun starts a build and waits until its commands run.
func (r *rig) begun(ctx context.Context, b *Builder, o app.Order) <-chan error {
	r.t.Helper()
	done, began := make(chan error, 1), make(chan bool, 1)
	o.Log = func(line string) {
		r.t.Log(line)
		if line == "it has begun" {
			select {
			case began <- true:
			default:
			}
		}
	}
	go func() { _, err := b.Build(ctx, o); done <- err }()
	select {
	case <-began:
	case err := <-done:
		r.t.Fatalf("the build ended: %v", err)
	case <-time.After(3 * time.Minute):
		r.t.Fatal("the build did not begin")
	}
	return done
}

func TestClusterCancel(t *testing.T) {
	r := onCluster(t, nil)
	ctx, cancel := context.WithCancelCause(t.Context())
	done := r.begun(ctx, r.b, r.slow())
	cancel(app.ErrCancelled)
	var e *app.Error
	require.ErrorAs(t, <-done, &e)
	require.Equal(t, "cancelled", e.Kind)
	require.Eventually(t, func() bool { return len(r.jobs()) == 0 }, 30*time.Second, 200*time.Millisecond)
}

// TestClusterAgain: a builder that stops leaves the Job, one that starts again goes on with it, a pod that is
// deleted is made again, and an order that was cancelled meanwhile ends it.
func TestClusterAgain(t *testing.T) {
	r := onCluster(t, nil)
	o := r.slow()
	ctx, stop := context.WithCancel(t.Context())
	done := r.begun(ctx, r.b, o)
	stop()
	require.ErrorIs(t, <-done, context.Canceled)
	require.Len(t, r.jobs(), 1)
	name := r.jobs()[0].Name

	next, err := New(r.s, r.sources, time.Now, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	ctx, stop = context.WithCancel(t.Context())
	defer stop()
	done = r.begun(ctx, next, o)
	require.Len(t, r.jobs(), 1)
	require.Equal(t, name, r.jobs()[0].Name)

	pods := r.b.cluster.client.CoreV1().Pods(r.s.Namespace)
	all, err := pods.List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	require.Len(t, all.Items, 1)
	first := all.Items[0].Name
	require.NoError(t, pods.Delete(t.Context(), first, metav1.DeleteOptions{}))
	require.Eventually(t, func() bool {
		all, err := pods.List(t.Context(), metav1.ListOptions{})
		return err == nil && slices.ContainsFunc(all.Items, func(p corev1.Pod) bool { return p.Name != first && len(read(&p).logs) > 0 })
	}, 2*time.Minute, 500*time.Millisecond, "the Job makes another pod")

	require.NoError(t, next.Abandon(t.Context(), o.ID))
	var e *app.Error
	require.ErrorAs(t, <-done, &e)
	require.Contains(t, e.Message, "deleted from outside")
}

func TestClusterStuck(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Settings)
		says   string
	}{
		"no room":       {func(s *Settings) { s.Limits.Disk = "900Ti" }, "no node takes the build"},
		"no such image": {func(s *Settings) { s.Executor = path.Dir(s.Executor) + "/nothing:1" }, "cannot be fetched"},
		"image's name":  {func(s *Settings) { s.Executor = "UPPER CASE" }, "cannot be used"},
	} {
		t.Run(name, func(t *testing.T) {
			r := onCluster(t, func(s *Settings) { c.change(s); s.Pending = 10 * time.Second })
			e := r.failure(r.order(map[string]string{"action.yaml": meta("python3"), "requirements.txt": "six\n", "handler.py": "def handle(inputs):\n    return {'words': 1}\n"}))
			require.Contains(t, e.Message, c.says)
			require.Eventually(t, func() bool { return len(r.jobs()) == 0 }, 30*time.Second, 200*time.Millisecond)
		})
	}
}

func TestClusterLimits(t *testing.T) {
	r := onCluster(t, func(s *Settings) { s.Limits.Memory = "300Mi" })
	e := r.failure(r.order(map[string]string{"action.yaml": meta("python3"), "handler.py": "def handle(inputs):\n    return {'words': 1}\n",
		"Dockerfile": "FROM " + r.s.Images.Python3 + "\nRUN python3 -c 'x = bytearray(600 << 20)'\n"}))
	require.Equal(t, "limit", e.Kind, e.Message)

	r.b.s.Limits.Memory, r.b.s.Timeout = "3Gi", 20*time.Second
	e = r.failure(r.slow())
	require.Equal(t, "timeout", e.Kind, e.Message)
}
