package knative

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/app/apptest"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/actiongrpc"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/dirfiles"
)

// site is a cluster of fakes around what is real: wrappers on TCP, and a proxy with HTTP/2 as gateway.
type site struct {
	t       *testing.T
	program string
	dir     string
	kube    *fake.Clientset
	dyn     *dynamicfake.FakeDynamicClient
	cluster *cluster
	key     *actiongrpc.Key
	files   app.Files
	gateway string
	cap     int

	mu      sync.Mutex
	bundles map[string]string    // short build -> its folder
	ports   map[string]string    // pod IP:port -> where it is
	pods    map[string]*exec.Cmd // name -> its wrapper
	calls   map[context.Context]context.CancelFunc
	missing atomic.Int32 // answers 404 that many times
	swallow atomic.Int32 // cuts that many calls before they reach a pod
	hold    atomic.Int32 // keeps that many calls in line
	inLine  atomic.Int32
	letGo   chan struct{} // closed, those in line are passed on
	late    time.Duration // how long a call is in line at the longest
	times   times
	named   func(context.Context) (app.Named, error)
	refuses atomic.Pointer[string] // for which reason a service is not ready that is applied; nil = it is
	more    string                 // settings
	watches chan struct{}          // one for each watch of the services that has begun
	n       int
}

// transfers serves blobs over HTTP; uploads are not needed here.
type transfers struct {
	app.Transfers
	files app.Files
	base  string
}

func (f transfers) Fetch(ctx context.Context, project, digest string) (string, int64, error) {
	r, size, err := f.files.Open(ctx, project, digest)
	if err == nil {
		_ = r.Close()
	}
	return f.base + "/" + project + "/" + digest, size, err
}

func newSite(t *testing.T, program string) *site {
	s := &site{t: t, program: program, dir: t.TempDir(), kube: fake.NewClientset(), cap: 2, letGo: make(chan struct{}), late: time.Minute, times: times{start: 2 * time.Second, skew: 200 * time.Millisecond}, bundles: map[string]string{}, ports: map[string]string{}, pods: map[string]*exec.Cmd{},
		calls: map[context.Context]context.CancelFunc{}, watches: make(chan struct{}, 100)}
	dyn := dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{services: "ServiceList", jobs: "JobList", statefulSets: "StatefulSetList",
		resources["Namespace"]: "NamespaceList", resources["ResourceQuota"]: "ResourceQuotaList", resources["LimitRange"]: "LimitRangeList", resources["NetworkPolicy"]: "NetworkPolicyList"})
	dyn.PrependReactor("patch", "*", s.apply(dyn.Tracker()))
	dyn.PrependWatchReactor("services", func(action clienttesting.Action) (bool, watch.Interface, error) {
		w, err := dyn.Tracker().Watch(services, action.GetNamespace())
		select {
		case s.watches <- struct{}{}:
		default:
		}
		return true, w, err
	})
	s.dyn, s.cluster = dyn, &cluster{kube: s.kube, dyn: dyn}
	s.files = dirfiles.Store{Dir: filepath.Join(s.dir, "files")}
	var err error
	s.key, err = actiongrpc.OpenKey(filepath.Join(s.dir, "keys"))
	require.NoError(t, err)
	s.serve()
	t.Cleanup(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, cmd := range s.pods {
			_ = cmd.Process.Kill()
		}
	})
	return s
}

// apply does what the API and Knative's controllers do: the object is kept, and a service is ready.
func (s *site) apply(tracker clienttesting.ObjectTracker) clienttesting.ReactionFunc {
	return func(action clienttesting.Action) (bool, runtime.Object, error) {
		p := action.(clienttesting.PatchAction)
		if p.GetPatchType() != types.ApplyPatchType {
			return false, nil, nil
		}
		u := &unstructured.Unstructured{}
		if err := u.UnmarshalJSON(p.GetPatch()); err != nil {
			return true, nil, err
		}
		u.SetGeneration(1)
		if u.GetKind() == "Service" {
			u.Object["status"] = map[string]any{"observedGeneration": int64(1), "conditions": []any{s.ready()}}
		}
		err := tracker.Create(p.GetResource(), u, p.GetNamespace())
		if err != nil {
			err = tracker.Update(p.GetResource(), u, p.GetNamespace())
		}
		return true, u, err
	}
}

// ready is the condition of a service that has been applied.
func (s *site) ready() map[string]any {
	if why := s.refuses.Load(); why != nil {
		return map[string]any{"type": "Ready", "status": "False", "reason": *why, "message": "because of " + *why}
	}
	return map[string]any{"type": "Ready", "status": "True"}
}

// serve is the gateway: it starts a pod for a service that has none, as the activator does.
func (s *site) serve() {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.missing.Add(-1) >= 0 {
			http.NotFound(w, r)
			return
		}
		if s.swallow.Add(-1) >= 0 {
			panic(http.ErrAbortHandler)
		}
		if s.hold.Add(-1) >= 0 {
			s.inLine.Add(1)
			select {
			case <-s.letGo:
			case <-time.After(s.late):
			case <-r.Context().Done():
				return
			}
		}
		name, _, _ := strings.Cut(r.Host, ".")
		target := s.podFor(name)
		ctx, cut := context.WithCancel(r.Context())
		s.mu.Lock()
		s.calls[ctx] = cut
		s.mu.Unlock()
		defer func() {
			s.mu.Lock()
			delete(s.calls, ctx)
			s.mu.Unlock()
			cut()
		}()
		proxy := &httputil.ReverseProxy{Transport: h2c(), FlushInterval: -1, ErrorLog: nil,
			Rewrite:      func(p *httputil.ProxyRequest) { p.Out.URL.Scheme, p.Out.URL.Host = "http", target },
			ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }}
		proxy.ServeHTTP(w, r.WithContext(ctx))
	})
	srv := httptest.NewUnstartedServer(h)
	srv.Config.Protocols = &http.Protocols{}
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Config.Protocols.SetHTTP1(true)
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	srv.Start()
	s.t.Cleanup(srv.CloseClientConnections)
	s.gateway = srv.Listener.Addr().String()
}

func h2c() *http.Transport {
	t := &http.Transport{Protocols: &http.Protocols{}}
	t.Protocols.SetUnencryptedHTTP2(true)
	return t
}

// cutCalls breaks every call at the gateway.
func (s *site) cutCalls() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, cut := range s.calls {
		cut()
	}
}

// podFor gives the address of a pod of a service, started if there is none.
func (s *site) podFor(service string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	short := ""
	for b := range s.bundles {
		if strings.HasSuffix(service, b[:12]) {
			short = b
		}
	}
	for name := range s.pods {
		if strings.HasPrefix(name, service) {
			return s.ports[name]
		}
	}
	s.n++
	name := fmt.Sprintf("%s-pod-%d", service, s.n)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	address := l.Addr().String()
	_, port, _ := net.SplitHostPort(address)
	_ = l.Close()
	digest, err := os.ReadFile(filepath.Join(s.bundles[short], "digest"))
	if err != nil {
		panic(err)
	}
	cmd := exec.Command(s.program, "serve", "--bundle", s.bundles[short], "--state", filepath.Join(s.dir, name), "--instance", name)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "PORT=" + port, "PELTON_CALL_KEY=" + string(s.key.Public()), "PELTON_AUDIENCE=" + audienceOf("acme", string(digest))}
	out, err := cmd.StdoutPipe()
	if err != nil {
		panic(err)
	}
	if err := cmd.Start(); err != nil {
		panic(err)
	}
	_, _ = io.ReadFull(out, make([]byte, len("ready batch\n")))
	s.pods[name], s.ports[name] = cmd, address
	ip := "10.9.0." + strconv.Itoa(s.n)
	s.ports[hostPort(ip, userPort)], s.ports[hostPort(ip, queuePort)] = address, address
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "pelton-acme", UID: types.UID(name), CreationTimestamp: metav1.Now(),
		Labels: map[string]string{labelManaged: "pelton", labelInstallation: "pelton", labelRole: roleService, labelBuild: short}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: ip, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}, {Type: corev1.PodScheduled, Status: corev1.ConditionTrue}}}}
	if _, err := s.kube.CoreV1().Pods("pelton-acme").Create(context.Background(), pod, metav1.CreateOptions{}); err != nil {
		panic(err)
	}
	return address
}

// killPods ends every pod at once, as when their machine fails.
func (s *site) killPods() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, cmd := range s.pods {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		delete(s.pods, name)
		if err := s.kube.CoreV1().Pods("pelton-acme").Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil {
			panic(err)
		}
	}
}

// sees waits until a runner has seen a pod of acme. The watch of a fake does not tell what came between its list and its
// begin: the pod is touched until it is seen.
func (s *site) sees(r *Runner, pod string) {
	s.t.Helper()
	touches := 0
	s.eventually(func() bool {
		touches++
		_, err := s.kube.CoreV1().Pods("pelton-acme").Patch(s.t.Context(), pod, types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"annotations":{"touched":"%d"}}}`, touches), metav1.PatchOptions{})
		require.NoError(s.t, err)
		p, _ := r.pods.get("pelton-acme", pod)
		return p != nil
	}, "the pod "+pod)
}

func (s *site) runner(t *testing.T) *Runner {
	set, err := Parse("deployer", "knative:?gateway="+s.gateway+"&max-scale=1"+s.more)
	require.NoError(t, err)
	blobs := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		project, digest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		f, _, err := s.files.Open(r.Context(), project, digest)
		if err != nil {
			http.NotFound(w, r)
			return
		}
		defer f.Close()
		http.ServeContent(w, r, "", time.Time{}, f)
	}))
	t.Cleanup(blobs.Close)
	r, err := open(Config{Settings: set, Files: s.files, Transfers: transfers{files: s.files, base: blobs.URL}, Named: s.named, Log: slog.New(slog.DiscardHandler)}, s.cluster, s.key, s.times)
	require.NoError(t, err)
	// A watch of the fakes begins with what happens from then on, whatever version it is told to begin with: what a test
	// changed before it would never be seen.
	select {
	case <-s.watches:
	case <-time.After(30 * time.Second):
		require.FailNow(t, "the runner does not watch the services")
	}
	r.reach = func(ip string, port int) string {
		s.mu.Lock()
		defer s.mu.Unlock()
		if at := s.ports[hostPort(ip, port)]; at != "" {
			return at
		}
		return "127.0.0.1:1"
	}
	t.Cleanup(r.Close)
	return r
}

// build makes a build of a Python source: its image is a bundle that pods here read from the disk.
func (s *site) build(t *testing.T, handler string) domain.Build {
	sum := sha256.Sum256([]byte(handler))
	digest := "sha256:" + hex.EncodeToString(sum[:])
	dir := filepath.Join(s.dir, "bundle-"+hex.EncodeToString(sum[:6]))
	apptest.WriteBundle(t, dir, digest, handler, s.cap)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "digest"), []byte(digest), 0o600))
	s.mu.Lock()
	s.bundles[shortBuild(digest)] = dir
	s.mu.Unlock()
	return domain.Build{Digest: digest, Artifact: "image://registry.example/acme/test@" + digest, Action: "test@1.0", Kind: "Processor", Runtime: "python3", Concurrency: s.cap}
}

var buildWrapper = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "knative-test-")
	if err != nil {
		return "", err
	}
	program := filepath.Join(dir, "wrapper")
	out, err := exec.Command("go", "build", "-trimpath", "-o", program, "github.com/pelton-run/pelton/wrapper/cmd/wrapper").CombinedOutput()
	if err != nil {
		return "", errors.New(string(out))
	}
	return program, nil
})

func TestExecutor(t *testing.T) {
	program, err := buildWrapper()
	require.NoError(t, err)
	apptest.Executors(t, func(t *testing.T) apptest.Compute {
		s := newSite(t, program)
		r := s.runner(t)
		return apptest.Compute{Deployer: r, Executor: r, Cap: s.cap, Build: s.build, Kill: func(string) { s.killPods() },
			Restart: func(t *testing.T) app.Executor {
				r.Close()
				next := s.runner(t)
				require.NoError(t, next.Inherit(context.Background(), r.Estate()))
				return next
			}}
	})
}

const waits = `import os, time
def handle(inputs):
    with open(inputs["text"] + ".begun", "a") as f:
        f.write("x")
    print("begun", flush=True)
    while not os.path.exists(inputs["text"]):
        time.sleep(0.01)
    return {"text": "done"}
`

func ready(t *testing.T, handler string) (*site, *Runner, domain.Build) {
	program, err := buildWrapper()
	require.NoError(t, err)
	s := newSite(t, program)
	r := s.runner(t)
	b := s.build(t, handler)
	require.NoError(t, r.Ensure(t.Context(), "acme", b))
	return s, r, b
}

func TestACallThatBreaksIsTakenUpAtItsPod(t *testing.T) {
	s, r, b := ready(t, waits)
	k := apptest.NewTold()
	file := filepath.Join(t.TempDir(), "go")
	r.Start(apptest.Attempt("x1", b, file), k)
	k.Logged(t)
	s.cutCalls()
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	e := k.End(t)
	require.Equal(t, app.Completed, e.Outcome, e.Error)
	text, err := os.ReadFile(file + ".begun")
	require.NoError(t, err)
	require.Equal(t, "x", string(text), "it ran once")
}

func TestARouteThatIsNotThereYetIsTriedAgain(t *testing.T) {
	s, r, b := ready(t, "def handle(inputs):\n    return {'text': inputs['text']}\n")
	s.missing.Store(3)
	k := apptest.NewTold()
	r.Start(apptest.Attempt("x1", b, "hi"), k)
	require.Equal(t, app.Completed, k.End(t).Outcome)
	require.Equal(t, "hi", k.Text(t))
	require.Contains(t, k.Phases, "launched", "its pod came up for it")
	require.Contains(t, k.Phases, "first_byte")
}

func TestACallThatMayHaveReachedAPodIsSentAgainOnlyOnceItCannotHave(t *testing.T) {
	s, r, b := ready(t, "def handle(inputs):\n    return {'text': inputs['text']}\n")
	s.swallow.Store(1)
	k := apptest.NewTold()
	begun := time.Now()
	r.Start(apptest.Attempt("x1", b, "hi"), k)
	require.Equal(t, app.Completed, k.End(t).Outcome)
	require.GreaterOrEqual(t, time.Since(begun), 2*time.Second, "until its token had run out, it might have begun yet")
}

func TestAServiceThatSomebodyDeletesOrChangesIsMadeGood(t *testing.T) {
	_, r, b := ready(t, waits)
	list := func() *unstructured.Unstructured {
		u, err := r.cluster.get(t.Context(), services, "pelton-acme", serviceName(b.Action, b.Digest))
		require.NoError(t, err)
		return u
	}
	require.NotNil(t, list())
	require.NoError(t, r.cluster.remove(t.Context(), services, "pelton-acme", serviceName(b.Action, b.Digest)))
	require.Eventually(t, func() bool { return list() != nil }, 30*time.Second, 20*time.Millisecond)
	u := list()
	require.NoError(t, unstructured.SetNestedField(u.Object, int64(9), "spec", "template", "spec", "containerConcurrency"))
	_, err := r.cluster.in(services, "pelton-acme").Update(t.Context(), u, metav1.UpdateOptions{})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		n, _, _ := unstructured.NestedInt64(list().Object, "spec", "template", "spec", "containerConcurrency")
		return n == 2
	}, 30*time.Second, 20*time.Millisecond)
	require.NoError(t, r.Release(t.Context(), "acme", b.Digest))
	require.Nil(t, list(), "what is released stays away")
}

func TestANamespaceOfSomebodyElseIsLeftAlone(t *testing.T) {
	s, r, b := ready(t, waits)
	_, err := s.cluster.in(resources["Namespace"], "").Create(t.Context(), &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": "pelton-theirs"}}}, metav1.CreateOptions{})
	require.NoError(t, err)
	require.ErrorContains(t, r.Ensure(t.Context(), "theirs", b), "the namespace pelton-theirs is not this Pelton's")
}
