package adm

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/pelton-run/pelton/platform/kit/registrytest"
	"github.com/pelton-run/pelton/platform/kit/s3"
)

// Secrets of the installation's namespace, as an operator makes them.
const (
	imagePull    = "image-pull"
	registryPush = "registry-push"
	registryPull = "registry-pull"
)

// privateRegistry starts a registry for one user, with a certificate of an authority of its own, which the nodes trust.
func privateRegistry(t *testing.T) *registrytest.Server {
	t.Helper()
	r := registrytest.Secured(t, env(t, "PELTON_CLUSTER_NODE_IP"))
	r.Trusted(t, filepath.Join(filepath.Dir(env(t, "PELTON_CLUSTER_KUBECONFIG")), "certs.d"))
	return r
}

// private has the platform's image, and those that are built, lie in a registry that wants credentials.
func (p *place) private(r *registrytest.Server) {
	p.t.Helper()
	ctx := deadline(p.t, 3*time.Minute)
	p.registry = r
	for _, name := range []string{imagePull, registryPush, registryPull} {
		s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, Type: corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{corev1.DockerConfigJsonKey: r.Login(r.Password)}}
		_, err := p.kube.CoreV1().Secrets(p.ns).Create(ctx, s, metav1.CreateOptions{})
		require.NoError(p.t, err)
	}
	p.executor = p.image(ctx, p.t, "")
}

// asks is how the test speaks to the private registry, without credentials or with them.
func (p *place) asks(ctx context.Context, t *testing.T, auth authn.Authenticator) []remote.Option {
	t.Helper()
	pem, err := os.ReadFile(p.registry.CA)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(pem))
	way := http.DefaultTransport.(*http.Transport).Clone()
	way.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	return []remote.Option{remote.WithContext(ctx), remote.WithTransport(way), remote.WithAuth(auth)}
}

func (p *place) may() authn.Authenticator {
	return &authn.Basic{Username: p.registry.User, Password: p.registry.Password}
}

// image puts the platform's image into the private registry; with a label it is another, as that of a newer version is.
func (p *place) image(ctx context.Context, t *testing.T, label string) string {
	t.Helper()
	ref, err := name.NewDigest(env(t, "PELTON_CLUSTER_EXECUTOR"), name.Insecure)
	require.NoError(t, err)
	img, err := remote.Image(ref, remote.WithContext(ctx))
	require.NoError(t, err)
	if label != "" {
		cfg, err := img.ConfigFile()
		require.NoError(t, err)
		cfg = cfg.DeepCopy()
		if cfg.Config.Labels == nil {
			cfg.Config.Labels = map[string]string{}
		}
		cfg.Config.Labels["org.pelton.test"] = label
		img, err = mutate.ConfigFile(img, cfg)
		require.NoError(t, err)
	}
	d, err := img.Digest()
	require.NoError(t, err)
	repo, err := name.NewRepository(p.registry.Addr + "/pelton/pelton")
	require.NoError(t, err)
	require.NoError(t, remote.Write(repo.Digest(d.String()), img, p.asks(ctx, t, p.may())...))
	return repo.Digest(d.String()).String()
}

// registryIsPrivate: everything that runs was pulled with credentials, each from its own secret, and nobody has it without.
func registryIsPrivate(t *testing.T, p *place) {
	ctx := deadline(t, time.Minute)
	services := p.actions(ctx, t)
	require.NotEmpty(t, services)
	for _, image := range []string{p.executor, services[0].image} {
		ref, err := name.NewDigest(image)
		require.NoError(t, err)
		_, err = remote.Get(ref, p.asks(ctx, t, authn.Anonymous)...)
		var refused *transport.Error
		require.ErrorAs(t, err, &refused)
		require.Equal(t, http.StatusUnauthorized, refused.StatusCode)
	}
	for _, s := range services {
		require.True(t, strings.HasPrefix(s.image, p.registry.Addr+"/"), s.image)
		require.Equal(t, []any{map[string]any{"name": "pelton-pull"}}, s.secrets)
	}
	pods, err := p.kube.CoreV1().Pods(p.ns).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=pelton"})
	require.NoError(t, err)
	require.NotEmpty(t, pods.Items)
	for _, pod := range pods.Items {
		require.Equal(t, p.executor, pod.Spec.Containers[0].Image, pod.Name)
		require.Equal(t, []corev1.LocalObjectReference{{Name: imagePull}}, pod.Spec.ImagePullSecrets, pod.Name)
	}
	for copied, of := range map[[2]string]string{{p.ns + "-default", "pelton-pull"}: registryPull, {p.ns + "-builds", "builder-executor"}: imagePull} {
		was, err := p.kube.CoreV1().Secrets(p.ns).Get(ctx, of, metav1.GetOptions{})
		require.NoError(t, err)
		is, err := p.kube.CoreV1().Secrets(copied[0]).Get(ctx, copied[1], metav1.GetOptions{})
		require.NoError(t, err)
		require.Equal(t, was.Data, is.Data, copied)
		require.Equal(t, was.Type, is.Type, copied)
	}
}

// actionService is a Knative Service of an action.
type actionService struct {
	image   string
	secrets []any
}

func (p *place) actions(ctx context.Context, t *testing.T) (out []actionService) {
	t.Helper()
	list, err := p.dyn.Resource(schema.GroupVersionResource{Group: "serving.knative.dev", Version: "v1", Resource: "services"}).Namespace(p.ns+"-default").List(ctx, metav1.ListOptions{})
	require.NoError(t, err)
	for _, s := range list.Items {
		containers, _, err := unstructured.NestedSlice(s.Object, "spec", "template", "spec", "containers")
		require.NoError(t, err)
		secrets, _, err := unstructured.NestedSlice(s.Object, "spec", "template", "spec", "imagePullSecrets")
		require.NoError(t, err)
		image, _, err := unstructured.NestedString(containers[0].(map[string]any), "image")
		require.NoError(t, err)
		out = append(out, actionService{image, secrets})
	}
	return out
}

// loseImage takes the image of a live action away until the test ends, and gives its name.
func (p *place) loseImage(ctx context.Context, t *testing.T) string {
	t.Helper()
	ref, err := name.NewDigest(p.actions(ctx, t)[0].image)
	require.NoError(t, err)
	opts := p.asks(ctx, t, p.may())
	was, err := remote.Get(ref, opts...)
	require.NoError(t, err)
	all, err := remote.List(ref.Context(), opts...)
	require.NoError(t, err)
	var tags []name.Tag
	for _, one := range all { // which go with the image
		tag := ref.Context().Tag(one)
		d, err := remote.Head(tag, opts...)
		require.NoError(t, err)
		if d.Digest == was.Digest {
			tags = append(tags, tag)
		}
	}
	require.NotEmpty(t, tags)
	require.NoError(t, remote.Delete(ref, opts...))
	t.Cleanup(func() {
		for _, tag := range tags {
			require.NoError(t, remote.Put(tag, was, p.asks(p.t.Context(), t, p.may())...))
		}
	})
	return ref.String()
}

// loseFile takes the table that weather-report was given away until the test ends, and gives its digest.
func (p *place) loseFile(ctx context.Context, t *testing.T) string {
	t.Helper()
	csv, err := os.ReadFile(filepath.Join(p.dir, "weather-report", "data", "seattle-weather.csv"))
	require.NoError(t, err)
	sum := sha256.Sum256(csv)
	digest := hex.EncodeToString(sum[:])
	key := "default/sha256/" + digest[:2] + "/" + digest[2:]
	files, err := url.Parse(env(t, "PELTON_FILES"))
	require.NoError(t, err)
	cfg, err := s3.Parse("files", "s3://"+files.Host+"/"+strings.Trim(files.Path, "/")+"/"+p.ns+"?tls=false")
	require.NoError(t, err)
	cfg.Credentials = env(t, "PELTON_CLUSTER_S3_CREDENTIALS")
	bucket, err := s3.Open(cfg)
	require.NoError(t, err)
	in, err := bucket.Read(ctx, key)
	require.NoError(t, err)
	was, err := io.ReadAll(in)
	require.NoError(t, errors.Join(err, in.Close()), "it lies in the bucket")
	require.NoError(t, bucket.Delete(ctx, key))
	t.Cleanup(func() {
		require.NoError(t, bucket.Write(p.t.Context(), key, strings.NewReader(string(was)), int64(len(was))))
	})
	return "sha256:" + digest
}
