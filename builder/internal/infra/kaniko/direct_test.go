package kaniko

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	ktesting "k8s.io/client-go/testing"

	"github.com/pelton-run/pelton/builder/internal/app"
	"github.com/pelton-run/pelton/builder/internal/infra/kaniko/images"
	"github.com/pelton-run/pelton/builder/internal/infra/kaniko/spec"
	"github.com/pelton-run/pelton/platform/kit/id"
	"github.com/pelton-run/pelton/platform/kit/registrytest"
)

func TestMain(m *testing.M) { registrytest.Main(m) }

const kubeconfig = `apiVersion: v1
kind: Config
clusters: [{name: none, cluster: {server: "http://127.0.0.1:1"}}]
contexts: [{name: none, context: {cluster: none, user: none}}]
users: [{name: none, user: {}}]
current-context: none
`

// direct is a builder on a registry, and on a cluster that does not answer: what it builds, it builds
// by itself.
func direct(t testing.TB, s *registrytest.Server, change func(*Settings)) *rig {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	l, err := images.Layer([]images.File{{Path: "usr/bin/python3", Mode: 0o755, Data: []byte("python")}})
	require.NoError(t, err)
	base, err := mutate.AppendLayers(empty.Image, l)
	require.NoError(t, err)
	base, err = mutate.Config(base, v1.Config{Env: []string{"PATH=/usr/bin"}, User: "root"})
	require.NoError(t, err)
	for _, n := range []string{"python3", "nodejs"} {
		ref, err := name.ParseReference(s.Addr+"/base/"+n+":1", name.Insecure)
		require.NoError(t, err)
		if s.User == "" {
			require.NoError(t, remote.Write(ref, base))
		}
	}
	set := usual()
	set.Registry, set.RegistryInsecure, set.Kubeconfig, set.Home = s.Addr+"/"+id.New()+"/direct", []string{s.Addr}, write("kubeconfig", kubeconfig), dir
	set.Images = Images{s.Addr + "/base/python3:1", s.Addr + "/base/nodejs:1", s.Addr + "/base/static:1", s.Addr + "/base/go:1"}
	set.Wrapper, set.Timeout = write("wrapper", "program"), time.Minute
	if change != nil {
		change(&set)
	}
	f := &folders{tars: map[string][]byte{}}
	b, err := New(set, f, time.Now, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	return &rig{t: t, b: b, s: set, sources: f}
}

func plainPython(code string) map[string]string {
	return map[string]string{"action.yaml": meta("python3"), "handler.py": "def handle(inputs):\n    return {'words': 1}\n" + code}
}

func TestDirect(t *testing.T) {
	r := direct(t, registrytest.Shared(t), nil)
	o := r.order(plainPython(""))
	first, _ := r.build(o)
	c, layers, files := r.image(first.Artifact)
	require.Len(t, layers, 3)
	require.Equal(t, []string{"/pelton/wrapper", "serve", "--bundle", "/pelton/bundle", "--state", "/tmp/pelton"}, c.Config.Entrypoint)
	require.Equal(t, "65532:65532", c.Config.User)
	require.Equal(t, o.Build, c.Config.Labels[images.LabelBuild])
	require.NotEmpty(t, c.Config.Labels[images.LabelMetadata])
	require.Equal(t, o.Commit, c.Config.Labels[images.LabelRevision])
	require.Equal(t, "program", files["pelton/wrapper"])
	require.Contains(t, files["pelton/bundle/bundle.json"], `"handler": "code/handler.py"`)
	require.Contains(t, files, "pelton/bundle/code/handler.py")
	require.Len(t, r.packages(first.Artifact), 1, "the base image")

	o.ID = "another"
	same, _ := r.build(o)
	require.True(t, same.Cached)
	require.Equal(t, first.Artifact, same.Artifact)
	o.Force = true
	forced, _ := r.build(o)
	require.False(t, forced.Cached)
	require.Equal(t, first.Artifact, forced.Artifact, "the same parts make the same image")

	second, _ := r.build(r.order(plainPython("# changed\n")))
	_, changed, _ := r.image(second.Artifact)
	require.Equal(t, layers[:2], changed[:2])
	require.NotEqual(t, layers[2], changed[2])

	node, _ := r.build(r.order(map[string]string{"action.yaml": meta("nodejs"), "handler.js": "exports.handle = () => ({words: 1})\n"}))
	_, _, files = r.image(node.Artifact)
	require.Contains(t, files["pelton/bundle/bundle.json"], `"interpreter": "node"`)
	left, err := filepath.Glob(filepath.Join(r.s.Home, "cache", "src", "*"))
	require.NoError(t, err)
	require.Empty(t, left)
}

// TestDirectFailures: what cannot be built is told in words, and soon.
func TestDirectFailures(t *testing.T) {
	shared, guarded := registrytest.Shared(t), registrytest.Guarded(t)
	for name, c := range map[string]struct {
		server  *registrytest.Server
		change  func(*Settings)
		files   map[string]string
		kind    string
		says    string
		setting string
	}{
		"registry refuses": {server: guarded, files: plainPython(""), kind: "network", says: "refuses the builder", setting: "builder.registry_credentials"},
		"wrong password":   {server: guarded, change: func(s *Settings) { s.RegistryCredentials = guarded.Credentials(t, "wrong") }, files: plainPython(""), kind: "network", says: "refuses the builder", setting: "builder.registry_credentials"},
		"no base image":    {server: shared, change: func(s *Settings) { s.Images.Python3 += "-missing" }, files: plainPython(""), kind: "internal", says: "does not exist or may not be seen"},
		"a package's name": {server: shared, files: map[string]string{"action.yaml": meta("python3", "  options: {apt: [\"no name\"]}\n"), "handler.py": "def handle(inputs):\n    return {}\n"}, kind: "dependency", says: "is no name of a Debian package"},
		"no Dockerfile":    {server: shared, files: map[string]string{"action.yaml": meta("container")}, kind: "compile", says: "add one"},
		"no cluster":       {server: shared, files: map[string]string{"action.yaml": meta("python3"), "requirements.txt": "six\n", "handler.py": "def handle(inputs):\n    return {}\n"}, kind: "network", says: "the cluster at http://127.0.0.1:1 cannot be reached", setting: "builder.kubeconfig"},
	} {
		t.Run(name, func(t *testing.T) {
			r := direct(t, c.server, c.change)
			e := r.failure(r.order(c.files))
			require.Equal(t, c.kind, e.Kind, e.Message)
			require.Contains(t, e.Message, c.says)
			require.Equal(t, c.setting, e.Setting)
		})
	}
}

func TestDirectEnds(t *testing.T) {
	r := direct(t, registrytest.Shared(t), nil)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(app.ErrCancelled)
	var e *app.Error
	for range 20 { // some end before the registry is asked
		_, err := r.b.Build(ctx, r.order(plainPython("")))
		require.ErrorAs(t, err, &e)
		require.Equal(t, "cancelled", e.Kind)
	}
	r.build(r.order(plainPython(""))) // the others' first contact with the registry is theirs

	stopping, stop := context.WithCancel(t.Context())
	stop()
	_, err := r.b.Build(stopping, r.order(plainPython("")))
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorAs(t, err, &e, "this process stops: the order is delivered again")
}

var needsJob = map[string]string{"action.yaml": meta("python3"), "requirements.txt": "six\n", "handler.py": "def handle(inputs):\n    return {'words': 1}\n"}

const goHandler = "package action\n\nimport \"context\"\n\nfunc Handle(_ context.Context, in Input) (Output, error) { return Output{}, nil }\n"

// refusing is a cluster that takes all but Jobs, and keeps the first that it was given.
func refusing(r *rig) (*fake.Clientset, func() *batchv1.Job) {
	kube := fake.NewClientset()
	var mu sync.Mutex
	var got *batchv1.Job
	kube.PrependReactor("create", "jobs", func(a ktesting.Action) (bool, runtime.Object, error) {
		mu.Lock()
		defer mu.Unlock()
		if j, ok := a.(ktesting.CreateAction).GetObject().(*batchv1.Job); ok && got == nil {
			got = j
		}
		return true, nil, apierrors.NewForbidden(batchv1.Resource("jobs"), "", errors.New("enough"))
	})
	r.b.cluster.client = kube
	return kube, func() *batchv1.Job { mu.Lock(); defer mu.Unlock(); return got }
}

// TestDirectGuarded: where the registry wants credentials, the image that a Go action is compiled with is fetched by the
// container that has them; where it wants none, there is no such container.
func TestDirectGuarded(t *testing.T) {
	guarded, shared := registrytest.Guarded(t), registrytest.Shared(t)
	for title, c := range map[string]struct {
		server *registrytest.Server
		auth   authn.Authenticator
		want   []string
	}{
		"credentials": {guarded, &authn.Basic{Username: guarded.User, Password: guarded.Password}, []string{"fetch", "build"}},
		"none":        {shared, authn.Anonymous, []string{"build"}},
	} {
		t.Run(title, func(t *testing.T) {
			r := direct(t, c.server, func(s *Settings) {
				if c.server.User != "" {
					s.RegistryCredentials = c.server.Credentials(t, "")
				}
			})
			for _, image := range []string{r.s.Images.Go, r.s.Images.GoBuild} {
				ref, err := name.ParseReference(image, name.Insecure)
				require.NoError(t, err)
				require.NoError(t, remote.Write(ref, empty.Image, remote.WithAuth(c.auth)))
			}
			kube, job := refusing(r)
			r.failure(r.order(map[string]string{"action.yaml": meta("go"), "go.mod": goMod, "handler.go": goHandler}))
			require.NotNil(t, job())
			var names []string
			for _, i := range job().Spec.Template.Spec.InitContainers {
				names = append(names, i.Name)
			}
			require.Equal(t, c.want, names)
			var b spec.Build
			for _, e := range job().Spec.Template.Spec.InitContainers[len(names)-1].Env {
				if e.Name == spec.BuildVariable {
					require.NoError(t, spec.Decode(e.Value, &b))
				}
			}
			require.Equal(t, len(names) == 2, b.Base != "" && strings.HasPrefix(b.Dockerfile, "FROM "+b.Base+"\n"), b.Base)
			pull, err := kube.CoreV1().Secrets(r.s.Namespace).Get(t.Context(), secretPull, metav1.GetOptions{})
			require.True(t, apierrors.IsNotFound(err) || pull.Data["config.json"] == nil, "the build has no credentials")
		})
	}
}

// TestDirectExecutor: nodes pull the executor with a secret of the right type, which the builder keeps.
func TestDirectExecutor(t *testing.T) {
	const login = `{"auths": {"registry.example.com": {"auth": "YTpi"}}}`
	r := direct(t, registrytest.Shared(t), func(s *Settings) {
		s.ExecutorCredentials = filepath.Join(s.Home, "executor.json")
		require.NoError(t, os.WriteFile(s.ExecutorCredentials, []byte(login), 0o600))
	})
	kube, job := refusing(r)
	r.failure(r.order(needsJob))
	require.Equal(t, secretExecutor, job().Spec.Template.Spec.ImagePullSecrets[0].Name)
	s, err := kube.CoreV1().Secrets(r.s.Namespace).Get(t.Context(), secretExecutor, metav1.GetOptions{})
	require.NoError(t, err)
	require.Equal(t, corev1.SecretTypeDockerConfigJson, s.Type)
	require.Equal(t, login, string(s.Data[corev1.DockerConfigJsonKey]))
	for _, v := range job().Spec.Template.Spec.Volumes {
		require.False(t, v.Secret != nil && v.Secret.SecretName == secretExecutor, "no container sees it")
	}
}

// TestDirectRenewed: the next Job has the credentials that were replaced, and the cluster is left alone where none were.
func TestDirectRenewed(t *testing.T) {
	s := registrytest.Shared(t)
	r := direct(t, s, func(s *Settings) {
		s.RegistryCredentials = filepath.Join(s.Home, "push.json")
		require.NoError(t, os.WriteFile(s.RegistryCredentials, []byte(`{"auths": {"a.example.com": {"auth": "YTpi"}}}`), 0o600))
	})
	kube, _ := refusing(r)
	written := func() (n int) {
		for _, a := range kube.Actions() {
			if a.Matches("create", "secrets") || a.Matches("update", "secrets") {
				n++
			}
		}
		return n
	}
	r.failure(r.order(needsJob))
	first := written()
	require.NotZero(t, first)
	r.failure(r.order(needsJob))
	require.Equal(t, first, written())
	const renewed = `{"auths": {"a.example.com": {"auth": "YTpj"}}}`
	require.NoError(t, os.WriteFile(r.s.RegistryCredentials, []byte(renewed), 0o600))
	r.failure(r.order(needsJob))
	got, err := kube.CoreV1().Secrets(r.s.Namespace).Get(t.Context(), secretPush, metav1.GetOptions{})
	require.NoError(t, err)
	require.Equal(t, renewed, string(got.Data["config.json"]))
}

// TestDirectNoted: dependencies are noted as used before they are made, by a build that then fails, too.
func TestDirectNoted(t *testing.T) {
	r := direct(t, registrytest.Shared(t), nil)
	refusing(r)
	o := r.order(needsJob)
	r.failure(o)
	repo, err := r.b.reg.Repository(o.Project)
	require.NoError(t, err)
	tags, err := remote.List(repo)
	require.NoError(t, err)
	require.Len(t, tags, 1)
	require.Regexp(t, "^use-[0-9a-f]{16}-"+strings.TrimPrefix(o.Build, "sha256:")+"$", tags[0])
	gone, err := r.b.Drop(t.Context(), o.Project, o.Build, time.Now())
	require.NoError(t, err)
	require.True(t, gone)
	tags, err = remote.List(repo)
	require.NoError(t, err)
	require.Empty(t, tags)
}

// TestDirectAgain: what was dropped is made again with all that belongs to it.
func TestDirectAgain(t *testing.T) {
	r := direct(t, registrytest.Shared(t), nil)
	o := r.order(plainPython(""))
	first, _ := r.build(o)
	gone, err := r.b.Drop(t.Context(), o.Project, o.Build, time.Now().Add(time.Hour))
	require.NoError(t, err)
	require.True(t, gone)
	require.Empty(t, r.packages(first.Artifact))
	again, _ := r.build(o)
	require.False(t, again.Cached)
	require.Equal(t, first.Artifact, again.Artifact)
	require.Len(t, r.packages(again.Artifact), 1, "the base image")
}

// BenchmarkCodeChange is an order for an action of which one line changed, to the pushed digest.
func BenchmarkCodeChange(b *testing.B) {
	r := direct(b, registrytest.Shared(b), nil)
	n := 0
	for b.Loop() {
		n++
		b.StopTimer()
		o := r.order(plainPython(fmt.Sprintf("# %d\n", n)))
		o.Log = nil
		b.StartTimer()
		_, err := r.b.Build(b.Context(), o)
		require.NoError(b, err)
	}
}
