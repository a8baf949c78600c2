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
	"os/exec"
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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/pelton-run/pelton/platform/runner/internal/app/apptest"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/dirfiles"
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

// program compiles one of testdata's programs for a container of nothing else.
func (k *real) program(t *testing.T, name string) []byte {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", file, "./testdata/"+name)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	return text
}

// build makes an image of a Python source: base, wrapper, bundle.
func (k *real) build(t *testing.T, handler string, concurrency int) domain.Build {
	t.Helper()
	return k.isolated(t, handler, concurrency, "fork")
}

// isolated is build with a choice of isolation.
func (k *real) isolated(t *testing.T, handler string, concurrency int, isolation string) domain.Build {
	t.Helper()
	b, bundle := k.bundle(t, handler, concurrency)
	bundle["isolation"] = isolation
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
