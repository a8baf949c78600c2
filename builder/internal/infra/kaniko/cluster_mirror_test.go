package kaniko

import (
	"bytes"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pelton-run/pelton/builder/local"
	"github.com/pelton-run/pelton/platform/kit/id"
)

// mirror is a company's own index of Python's packages and registry of npm's, on the node, with a certificate authority and
// a password of its own. What it gives comes from where this machine's settings lead.
type mirror struct {
	calls map[string]*atomic.Int64 // that had the password, by file of the settings
	words [][]byte                 // what no image may hold
}

// mirrored lets builds use a mirror: its settings are laid over those of the test cluster.
func mirrored(t *testing.T, s *Settings) *mirror {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(s.BuildEnv)))
	s.BuildEnv = dir
	user, password := "builder", "word-"+id.New()
	basic := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
	m := &mirror{calls: map[string]*atomic.Int64{}, words: [][]byte{[]byte(password), []byte(basic)}}
	// set takes where a file of the settings leads, and has it lead to the mirror.
	set := func(file, key, otherwise string, own func(*url.URL) string) {
		text, err := os.ReadFile(filepath.Join(dir, file))
		require.NoError(t, err)
		from, kept := otherwise, ""
		for line := range strings.Lines(string(text)) {
			name, value, _ := strings.Cut(line, "=")
			if strings.TrimSpace(name) != key {
				kept += line
			} else if v := strings.TrimSpace(value); v != "" {
				from = v
			}
		}
		m.calls[file] = new(atomic.Int64)
		kept += own(guard(t, s.NoProxy[0], from, basic, m.calls[file]))
		require.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte(kept), 0o600))
	}
	set("pip.conf", "index-url", local.DefaultIndex, func(u *url.URL) string {
		u.User = url.UserPassword(user, password)
		return "index-url = " + u.String() + "\n"
	})
	set("npmrc", "registry", "https://registry.npmjs.org/", func(u *url.URL) string {
		at := strings.TrimSuffix(u.Host+u.Path, "/")
		return fmt.Sprintf("registry=http://%s/\n//%s/:_auth=%s\n", at, at, basic)
	})

	authority := httptest.NewUnstartedServer(http.NotFoundHandler())
	authority.StartTLS()
	defer authority.Close()
	cert := authority.Certificate().Raw
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	m.words = append(m.words, cert, bytes.Split(text, []byte("\n"))[3]) // a line of its own, not one that others begin with
	f, err := os.OpenFile(filepath.Join(dir, "ca.crt"), os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.Write(append([]byte("\n"), text...))
	require.NoError(t, err)
	require.NoError(t, f.Close())
	return m
}

// guard serves what another server does, to whoever has the credentials, and gives the address.
func guard(t *testing.T, node, from, basic string, calls *atomic.Int64) *url.URL {
	t.Helper()
	u, err := url.Parse(from)
	require.NoError(t, err)
	forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: u.Scheme, Host: u.Host})
		r.Out.Header.Del("Authorization")
		if password, ok := u.User.Password(); ok {
			r.Out.SetBasicAuth(u.User.Username(), password)
		}
	}}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", node+":0")
	require.NoError(t, err)
	server := &httptest.Server{Listener: l, Config: &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Basic "+basic {
			w.Header().Set("WWW-Authenticate", `Basic realm="mirror"`)
			http.Error(w, "no credentials", http.StatusUnauthorized)
			return
		}
		calls.Add(1)
		forward.ServeHTTP(w, r)
	})}}
	server.Start()
	t.Cleanup(server.Close)
	own := *u
	own.Scheme, own.Host, own.User = "http", l.Addr().String(), nil
	return &own
}

// leavesNothing: a build took from the mirror, by a file of the settings, and of all that lies in the project's repository
// (images and what they are made of, caches, what is attached) nothing holds a word of the settings.
func (m *mirror) leavesNothing(r *rig, file, installed string) {
	r.t.Helper()
	require.Positive(r.t, m.calls[file].Load(), "%s leads to the mirror", file)
	found := r.search(append([][]byte{[]byte(installed)}, m.words...))
	require.NotEmpty(r.t, found[installed], "what was installed is found")
	delete(found, installed)
	require.Empty(r.t, found)
}

// search looks for words in all bytes of the project's repository, and tells where each is.
func (r *rig) search(words [][]byte) map[string][]string {
	r.t.Helper()
	repo, err := r.b.reg.Repository("default")
	require.NoError(r.t, err)
	ctx := remote.WithContext(r.t.Context())
	tags, err := remote.List(repo, ctx)
	require.NoError(r.t, err)
	require.NotEmpty(r.t, tags)
	found, seen := map[string][]string{}, map[v1.Hash]bool{}
	look := func(where string, in io.Reader) {
		for _, w := range holds(r.t, in, words) {
			found[string(w)] = append(found[string(w)], where)
		}
	}
	var each func(ref name.Reference, tag string)
	each = func(ref name.Reference, tag string) {
		d, err := remote.Get(ref, ctx)
		require.NoError(r.t, err, ref.String())
		if seen[d.Digest] {
			return
		}
		seen[d.Digest] = true
		look("the manifest of "+tag, bytes.NewReader(d.Manifest))
		if d.MediaType.IsIndex() {
			index, err := d.ImageIndex()
			require.NoError(r.t, err)
			m, err := index.IndexManifest()
			require.NoError(r.t, err)
			for _, part := range m.Manifests {
				each(repo.Digest(part.Digest.String()), tag)
			}
			return
		}
		img, err := d.Image()
		require.NoError(r.t, err)
		config, err := img.RawConfigFile()
		require.NoError(r.t, err)
		look("the configuration of "+tag, bytes.NewReader(config))
		layers, err := img.Layers()
		require.NoError(r.t, err)
		for i, l := range layers {
			h, err := l.Digest()
			require.NoError(r.t, err)
			if seen[h] {
				continue
			}
			seen[h] = true
			in, err := l.Uncompressed()
			require.NoError(r.t, err)
			look(fmt.Sprintf("layer %d of %s", i, tag), in)
			require.NoError(r.t, in.Close())
		}
	}
	for _, tag := range tags {
		each(repo.Tag(tag), tag)
	}
	return found
}

// holds tells which words a stream holds.
func holds(t testing.TB, in io.Reader, words [][]byte) (out [][]byte) {
	t.Helper()
	longest := 0
	for _, w := range words {
		longest = max(longest, len(w))
	}
	have, buf, n := map[int]bool{}, make([]byte, longest+1<<20), 0
	for {
		more, err := io.ReadFull(in, buf[n:])
		n += more
		for i, w := range words {
			if !have[i] && bytes.Contains(buf[:n], w) {
				have[i] = true
				out = append(out, w)
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return out
		}
		require.NoError(t, err)
		n = copy(buf, buf[n-longest:n]) // a word may lie across
	}
}

func TestHolds(t *testing.T) {
	words := [][]byte{[]byte("needle"), []byte("nothing"), []byte("end")}
	hay := append(bytes.Repeat([]byte("x"), 1<<20+2), []byte("needle"+strings.Repeat("y", 3<<20)+"end")...)
	require.Equal(t, [][]byte{words[0], words[2]}, holds(t, bytes.NewReader(hay), words))
	require.Empty(t, holds(t, strings.NewReader("need"), words))
}

// says runs a program of an image in the cluster and gives what it printed.
func (r *rig) says(artifact string, command ...string) string {
	r.t.Helper()
	pods := r.b.cluster.client.CoreV1().Pods(r.s.Namespace)
	p, err := pods.Create(r.t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: "says-"}, Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, AutomountServiceAccountToken: new(false),
		Containers: []corev1.Container{{Name: "says", Image: strings.TrimPrefix(artifact, "image://"), Command: command}}}}, metav1.CreateOptions{})
	require.NoError(r.t, err)
	require.Eventually(r.t, func() bool {
		p, err = pods.Get(r.t.Context(), p.Name, metav1.GetOptions{})
		return err == nil && (p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed)
	}, 3*time.Minute, 200*time.Millisecond)
	text, err := pods.GetLogs(p.Name, &corev1.PodLogOptions{}).DoRaw(r.t.Context())
	require.NoError(r.t, err)
	require.Equal(r.t, corev1.PodSucceeded, p.Status.Phase, "%s", text)
	return string(text)
}
