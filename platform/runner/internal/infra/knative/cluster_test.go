package knative

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/app/apptest"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/dirfiles"
	pb "github.com/pelton-run/pelton/wrapper/wrapperpb"
)

// real is the test cluster, with a server that handlers report to.
type real struct {
	registry, node, gateway string
	prefix                  string
	log                     *ledger
	files                   dirfiles.Store
	keys                    string
}

// ledger counts what handlers tell it, by id, and lets them go.
type ledger struct {
	base string
	mu   sync.Mutex
	seen map[string]int // "begin/x" -> how often
	more chan struct{}  // closed at the next change
	free map[string]bool
}

func (l *ledger) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	verb, id, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	l.mu.Lock()
	defer l.mu.Unlock()
	if verb == "free" {
		if !l.free[id] {
			w.WriteHeader(http.StatusTooEarly)
		}
		return
	}
	l.seen[verb+"/"+id]++
	close(l.more)
	l.more = make(chan struct{})
}

func (l *ledger) count(key string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seen[key]
}

func (l *ledger) release(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.free[id] = true
}

// await waits until something was told.
func (l *ledger) await(t *testing.T, key string) {
	t.Helper()
	late := time.After(2 * time.Minute)
	for {
		l.mu.Lock()
		n, more := l.seen[key], l.more
		l.mu.Unlock()
		if n > 0 {
			return
		}
		select {
		case <-more:
		case <-late:
			t.Fatalf("%s was not told within two minutes", key)
		}
	}
}

// reports is a handler that tells when it begins and ends: its text is "<server> <id> <seconds>", or
// with "free" as seconds it goes on once it may.
const reports = `import time, urllib.request, urllib.error
def tell(url):
    for _ in range(50):
        try:
            return urllib.request.urlopen(url, timeout=5).read()
        except urllib.error.HTTPError:
            raise
        except OSError:
            time.sleep(0.1)
def handle(inputs):
    server, id, seconds = inputs["text"].split()
    tell(server + "/begin/" + id)
    if seconds == "free":
        while True:
            try:
                tell(server + "/free/" + id)
                break
            except urllib.error.HTTPError:
                time.sleep(0.05)
    else:
        time.sleep(float(seconds))
    tell(server + "/end/" + id)
    return {"text": id}
`

func openReal(t *testing.T) *real {
	kubeconfig := os.Getenv("PELTON_CLUSTER_KUBECONFIG")
	if kubeconfig == "" {
		t.Skip("needs a cluster: make test-cluster")
	}
	c, err := connect(&Settings{Kubeconfig: kubeconfig})
	require.NoError(t, err)
	svc, err := c.kube.CoreV1().Services("ingress").Get(t.Context(), "traefik-private", metav1.GetOptions{})
	require.NoError(t, err)
	k := &real{registry: os.Getenv("PELTON_CLUSTER_REGISTRY"), node: os.Getenv("PELTON_CLUSTER_NODE_IP"), gateway: svc.Spec.ClusterIP + ":80",
		prefix: "hk" + hex.EncodeToString([]byte{byte(time.Now().UnixNano() >> 8), byte(time.Now().UnixNano() >> 16)}), keys: t.TempDir(), files: dirfiles.Store{Dir: t.TempDir()}}
	l, err := net.Listen("tcp", k.node+":0")
	require.NoError(t, err)
	k.log = &ledger{base: "http://" + l.Addr().String(), seen: map[string]int{}, free: map[string]bool{}, more: make(chan struct{})}
	srv := &http.Server{Handler: k.log, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
	t.Cleanup(func() {
		list, err := c.kube.CoreV1().Namespaces().List(context.Background(), metav1.ListOptions{LabelSelector: labelInstallation + "=" + k.prefix})
		if err == nil {
			for _, ns := range list.Items {
				_ = c.kube.CoreV1().Namespaces().Delete(context.Background(), ns.Name, metav1.DeleteOptions{})
			}
		}
	})
	return k
}

func (k *real) runner(t *testing.T, more string) *Runner {
	set, err := Parse("deployer", "knative:?namespace="+k.prefix+"-{project}&kubeconfig="+os.Getenv("PELTON_CLUSTER_KUBECONFIG")+"&gateway="+k.gateway+"&cpu=100m&memory=256Mi&platform-networks="+k.node+"/32&window=6s"+more)
	require.NoError(t, err)
	r, err := Open(Config{Settings: set, Files: k.files, Transfers: transfers{files: k.files}, KeyDir: k.keys, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	require.NoError(t, err)
	t.Cleanup(r.Close)
	return r
}

// bundle is a build of a Python source without its image, and what its bundle.json says.
func (k *real) bundle(t *testing.T, handler string, concurrency int) (domain.Build, map[string]any) {
	t.Helper()
	sum := sha256.Sum256([]byte(handler + fmt.Sprint(concurrency)))
	digest := "sha256:" + hex.EncodeToString(sum[:])
	dir := t.TempDir()
	apptest.WriteBundle(t, dir, digest, handler, concurrency)
	text, err := os.ReadFile(filepath.Join(dir, "bundle.json"))
	require.NoError(t, err)
	var bundle map[string]any
	require.NoError(t, json.Unmarshal(text, &bundle))
	bundle["interpreter"] = "/usr/bin/python3"
	return domain.Build{Digest: digest, Action: "test@1.0", Kind: "Processor", Runtime: "python3", Concurrency: concurrency}, bundle
}

func (k *real) wrapper(t *testing.T) []byte {
	t.Helper()
	program, err := buildWrapper()
	require.NoError(t, err)
	text, err := os.ReadFile(program)
	require.NoError(t, err)
	return text
}

// build makes an image of a Python source: base, wrapper, bundle.
func (k *real) build(t *testing.T, handler string, concurrency int) domain.Build {
	t.Helper()
	b, bundle := k.bundle(t, handler, concurrency)
	text, err := json.Marshal(bundle)
	require.NoError(t, err)
	b.Artifact = "image://" + k.image(t, "base/python3:1", map[string][]byte{"pelton/wrapper": k.wrapper(t)}, map[string][]byte{"pelton/bundle/bundle.json": text, "pelton/bundle/code/handler.py": []byte(handler)})
	return b
}

// image pushes an image of a base and layers of files, and gives it by digest.
func (k *real) image(t *testing.T, base string, layers ...map[string][]byte) string {
	t.Helper()
	ref, err := name.ParseReference(k.registry+"/"+base, name.Insecure)
	require.NoError(t, err)
	img, err := remote.Image(ref)
	require.NoError(t, err)
	for _, files := range layers {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, path := range slices.Sorted(mapsKeys(files)) {
			require.NoError(t, w.WriteHeader(&tar.Header{Name: path, Mode: 0o755, Size: int64(len(files[path])), Typeflag: tar.TypeReg}))
			_, err := w.Write(files[path])
			require.NoError(t, err)
		}
		require.NoError(t, w.Close())
		layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
		require.NoError(t, err)
		img, err = mutate.AppendLayers(img, layer)
		require.NoError(t, err)
	}
	cfg, err := img.ConfigFile()
	require.NoError(t, err)
	config := cfg.Config
	config.Entrypoint, config.Cmd, config.User = []string{"/pelton/wrapper", "serve", "--bundle", "/pelton/bundle", "--state", "/tmp/pelton"}, nil, "65532:65532"
	img, err = mutate.Config(img, config)
	require.NoError(t, err)
	return push(t, k.registry+"/"+k.prefix+"/test", img)
}

func push(t *testing.T, repository string, img v1.Image) string {
	t.Helper()
	digest, err := img.Digest()
	require.NoError(t, err)
	to, err := name.ParseReference(repository+"@"+digest.String(), name.Insecure)
	require.NoError(t, err)
	require.NoError(t, remote.Write(to, img))
	return repository + "@" + digest.String()
}

func mapsKeys(m map[string][]byte) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func (k *real) text(id, seconds string) string { return k.log.base + " " + id + " " + seconds }

func TestClusterExecutions(t *testing.T) {
	k, whole := openReal(t), t
	r := k.runner(t, "&max-scale=2")
	b := k.build(t, reports, 1)
	begun := time.Now()
	require.NoError(t, r.Ensure(t.Context(), "acme", b))
	t.Logf("callable after %s", time.Since(begun))
	t.Run("one", func(t *testing.T) {
		sink := apptest.NewTold()
		r.Start(apptest.Attempt("one", b, k.text("one", "0")), sink)
		e := sink.End(t)
		require.Equal(t, app.Completed, e.Outcome, e.Error)
		require.Equal(t, "one", sink.Text(t))
	})
	t.Run("cancel reaches user code", func(t *testing.T) {
		sink := apptest.NewTold()
		r.Start(apptest.Attempt("cancel", b, k.text("cancel", "free")), sink)
		k.log.await(t, "begin/cancel")
		r.Cancel("cancel", "enough", time.Second)
		require.Equal(t, app.Cancelled, sink.End(t).Outcome)
		require.Zero(t, k.log.count("end/cancel"))
	})
	t.Run("a next process finds what is under way", func(t *testing.T) {
		sink := apptest.NewTold()
		r.Start(apptest.Attempt("find", b, k.text("find", "free")), sink)
		k.log.await(t, "begin/find")
		r.Close()
		r = k.runner(whole, "&max-scale=2")
		again := apptest.NewTold()
		begun := time.Now()
		r.Attach(apptest.Attempt("find", b, k.text("find", "free")), again)
		k.log.release("find")
		e := again.End(t)
		require.Equal(t, app.Completed, e.Outcome, e.Error)
		require.Equal(t, 1, k.log.count("begin/find"), "it ran once")
		t.Logf("found and ended after %s", time.Since(begun))
	})
	t.Run("a pod that is killed loses what it had", func(t *testing.T) {
		sink := apptest.NewTold()
		r.Start(apptest.Attempt("kill", b, k.text("kill", "free")), sink)
		k.log.await(t, "begin/kill")
		ns := r.set.namespaceOf("acme")
		for _, u := range r.backends["acme/"+b.Digest].lane(roleService).inFlight() {
			require.NoError(t, r.cluster.kube.CoreV1().Pods(ns).Delete(t.Context(), u.instance, metav1.DeleteOptions{GracePeriodSeconds: ptr(int64(0))}))
		}
		require.Equal(t, app.Lost, sink.End(t).Outcome)
	})
	t.Run("a long execution is a Job", func(t *testing.T) {
		sink := apptest.NewTold()
		x := apptest.Attempt("long", b, k.text("long", "free"))
		x.Limit = 40 * time.Minute
		begun := time.Now()
		r.Start(x, sink)
		k.log.await(t, "begin/long")
		t.Logf("a Job's handler began after %s", time.Since(begun))
		job, err := r.cluster.get(t.Context(), jobs, r.set.namespaceOf("acme"), jobName("long"))
		require.NoError(t, err)
		require.NotNil(t, job)
		r.Close()
		r = k.runner(whole, "&max-scale=2")
		again := apptest.NewTold()
		r.Attach(x, again)
		k.log.release("long")
		require.Equal(t, app.Completed, again.End(t).Outcome)
		require.Equal(t, 1, k.log.count("begin/long"))
		r.Forget("long")
		require.Eventually(t, func() bool {
			job, err := r.cluster.get(context.Background(), jobs, r.set.namespaceOf("acme"), jobName("long"))
			return err == nil && job == nil
		}, time.Minute, 100*time.Millisecond)
		never := apptest.NewTold()
		r.Attach(x, never)
		require.Equal(t, app.Unknown, never.End(t).Outcome)
	})
	t.Run("one project cannot call another's action", func(t *testing.T) {
		token, _, err := r.token(audienceOf("other", b.Digest))
		require.NoError(t, err)
		pods, _ := r.pods.of(r.set.namespaceOf("acme"), shortBuild(b.Digest))
		require.NotEmpty(t, pods)
		host := serviceName(b.Action, b.Digest) + "." + r.set.namespaceOf("acme") + ".svc.cluster.local"
		for _, target := range []string{k.gateway, hostPort(pods[0].ip, queuePort), hostPort(pods[0].ip, userPort)} {
			conn, err := grpc.NewClient("passthrough:///"+target, append(common(), grpc.WithAuthority(host))...)
			require.NoError(t, err)
			defer conn.Close()
			for _, token := range []string{token, ""} {
				ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token)
				_, err = pb.NewActionClient(conn).Describe(ctx, &pb.DescribeRequest{})
				require.Equal(t, codes.Unauthenticated, status.Code(err), "%s: %v", target, err)
			}
		}
	})
}

func TestClusterReasons(t *testing.T) {
	k := openReal(t)
	r := k.runner(t, "&deploy-timeout=60s&quota-pods=1")
	missing := k.build(t, reports, 1)
	missing.Artifact = "image://" + k.registry + "/" + k.prefix + "/missing@sha256:" + strings.Repeat("0", 64)
	selector := k.build(t, reports, 1)
	selector.Compute = []byte(`{"kubernetes":{"node_selector":{"disk":"none"}}}`)
	crash := k.build(t, reports, 1)
	crash.Artifact = "image://" + k.image(t, "base/python3:1", map[string][]byte{"pelton/wrapper": []byte("#!/bin/sh\necho I cannot go on\nexit 3\n")})
	fine := k.build(t, reports, 1)
	second := k.build(t, reports+"\n# another\n", 1)
	for _, c := range []struct {
		project string
		build   domain.Build
		want    string
	}{
		{"missing", missing, "is not in the registry"},
		{"selector", selector, "node selector"},
		{"crash", crash, "I cannot go on"},
		{"quota", fine, ""},
		{"quota", second, "quota is exhausted"},
	} {
		begun := time.Now()
		err := r.Ensure(t.Context(), c.project, c.build)
		t.Logf("%s: %v after %s", c.project, err, time.Since(begun).Round(time.Millisecond))
		if c.want == "" {
			require.NoError(t, err)
			continue
		}
		require.ErrorContains(t, err, c.want)
	}
}

// TestClusterRestart is two hundred executions under way or waiting when the runner is killed. What the
// next one does not find is attempted again, as the engine would.
func TestClusterRestart(t *testing.T) {
	k := openReal(t)
	r := k.runner(t, "&max-scale=2")
	b := k.build(t, reports, 8)
	require.NoError(t, r.Ensure(t.Context(), "acme", b))
	attempt := func(i, n int) app.Execution {
		x := apptest.Attempt(fmt.Sprint("r", i, "-", n), b, k.text(fmt.Sprint("r", i), "2"))
		x.Attempt = int32(n)
		return x
	}
	first := make([]*apptest.Told, 200)
	for i := range first {
		first[i] = apptest.NewTold()
		r.Start(attempt(i, 1), first[i])
	}
	k.log.await(t, "end/r5")
	r.Close()
	killed := time.Now()
	r = k.runner(t, "&max-scale=2")
	require.NoError(t, r.Inherit(t.Context(), r.Estate()))
	outcomes := map[string]int{}
	second := map[int]*apptest.Told{}
	for i := range first {
		if first[i].HasEnded() {
			outcomes["before"]++
			continue
		}
		second[i] = apptest.NewTold()
		r.Attach(attempt(i, 1), second[i])
	}
	third := map[int]*apptest.Told{}
	for i, sink := range second {
		e := waitLong(t, sink)
		if e.Outcome == app.Completed {
			outcomes["found"]++
			continue
		}
		require.Contains(t, []app.Outcome{app.Lost, app.Unknown}, e.Outcome, e.Error)
		outcomes["again"]++
		third[i] = apptest.NewTold()
		r.Start(attempt(i, 2), third[i])
	}
	for _, sink := range third {
		require.Equal(t, app.Completed, waitLong(t, sink).Outcome)
	}
	for i := range first {
		require.Equal(t, 1, k.log.count(fmt.Sprint("begin/r", i)), i)
		require.Equal(t, 1, k.log.count(fmt.Sprint("end/r", i)), i)
	}
	t.Logf("all ended %s after the kill: %v", time.Since(killed).Round(time.Millisecond), outcomes)
}

// TestClusterScaling is fifty executions of 20 to 55 s while the service scales up and down and a pod is
// deleted.
func TestClusterScaling(t *testing.T) {
	k := openReal(t)
	r := k.runner(t, "&max-scale=4")
	b := k.build(t, reports, 4)
	require.NoError(t, r.Ensure(t.Context(), "acme", b))
	var sinks []*apptest.Told
	ids := []string{}
	pause := func(d time.Duration) { <-time.After(d) }
	start := func(i int) {
		id := fmt.Sprint("s", i)
		sink := apptest.NewTold()
		sinks, ids = append(sinks, sink), append(ids, id)
		r.Start(apptest.Attempt(id, b, k.text(id, fmt.Sprint(20+(i*7)%36))), sink)
	}
	n := 0
	for wave := range 5 {
		for range 10 {
			start(n)
			n++
		}
		pause(12 * time.Second)
		if wave == 1 { // one with executions on it
			pods, _ := r.pods.of(r.set.namespaceOf("acme"), shortBuild(b.Digest))
			require.NotEmpty(t, pods)
			t.Logf("deleting %s of %d pods", pods[0].name, len(pods))
			require.NoError(t, r.cluster.kube.CoreV1().Pods(pods[0].namespace).Delete(t.Context(), pods[0].name, metav1.DeleteOptions{}))
		}
		if wave == 2 {
			pause(40 * time.Second) // let it scale down
		}
	}
	outcomes := map[app.Outcome]int{}
	for i, sink := range sinks {
		e := waitLong(t, sink)
		outcomes[e.Outcome]++
		require.Equal(t, app.Completed, e.Outcome, "%s: %v", ids[i], e.Error)
		require.Equal(t, 1, k.log.count("begin/"+ids[i]), ids[i])
		require.Equal(t, 1, k.log.count("end/"+ids[i]), ids[i])
	}
	t.Logf("outcomes: %v", outcomes)
}

func waitLong(t *testing.T, sink *apptest.Told) app.Ended {
	t.Helper()
	return sink.EndWithin(t, 4*time.Minute)
}
