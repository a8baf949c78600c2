package adm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/pelton-run/pelton/platform/adm/install"
	"github.com/pelton-run/pelton/platform/e2e/harness"
	"github.com/pelton-run/pelton/platform/kit/id"
	"github.com/pelton-run/pelton/platform/kit/registrytest"
)

// place is where a test installs: namespaces, databases and names of its own on the cluster of
// config/testcluster. All but the virtual host and the bucket is made by the installation itself.
type place struct {
	t    *testing.T
	ns   string // of the installation, and the beginning of its other namespaces
	kube kubernetes.Interface
	dyn  dynamic.Interface
	db   *url.URL // a superuser of PostgreSQL
	git  string   // URL of the repository that the test serves
	dir  string   // its working tree
	// registry is where images are, if it wants credentials; executor is the platform's.
	registry *registrytest.Server
	executor string
	// p speaks to the installation through its ingress.
	p *harness.Platform

	mu    sync.Mutex
	marks map[string]int // what actions told the test, and how often
}

// env is a setting of the test cluster, which `config/testcluster/cluster env` and `cluster tenant` print.
func env(t *testing.T, name string) string {
	t.Helper()
	v := os.Getenv(name)
	require.NotEmpty(t, v, "%s is not set: run platform/tools/testcluster.sh install", name)
	return v
}

func newPlace(t *testing.T) *place {
	t.Helper()
	cfg, err := install.Access{Kubeconfig: env(t, "PELTON_CLUSTER_KUBECONFIG")}.Config()
	require.NoError(t, err)
	p := &place{t: t, ns: "inst-" + strings.ReplaceAll(id.New(), "-", "")[24:], executor: env(t, "PELTON_CLUSTER_EXECUTOR"), marks: map[string]int{}}
	p.kube, err = kubernetes.NewForConfig(cfg)
	require.NoError(t, err)
	p.dyn, err = dynamic.NewForConfig(cfg)
	require.NoError(t, err)
	p.db, err = url.Parse(env(t, "PELTON_CLUSTER_POSTGRES"))
	require.NoError(t, err)
	t.Cleanup(p.clear)
	return p
}

// adm runs a command of pelton-adm and gives what it printed, its messages first.
func (p *place) adm(args ...string) (string, error) {
	var out, said bytes.Buffer
	code := Main(append(args, "--kubeconfig", os.Getenv("PELTON_CLUSTER_KUBECONFIG")), os.Environ(), strings.NewReader(""), &out, &said)
	text := said.String() + out.String()
	if code != 0 {
		return text, fmt.Errorf("exit code %d: %s", code, text)
	}
	return text, nil
}

// values writes the values of an installation; more are laid over them.
func (p *place) values(more map[string]any) string {
	t := p.t
	t.Helper()
	var keys struct {
		Access string `yaml:"access_key"`
		Secret string `yaml:"secret_key"`
	}
	data, err := os.ReadFile(env(t, "PELTON_CLUSTER_S3_CREDENTIALS"))
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(data, &keys))
	files, err := url.Parse(env(t, "PELTON_FILES"))
	require.NoError(t, err)
	broker, err := url.Parse(env(t, "PELTON_CLUSTER_RABBITMQ"))
	require.NoError(t, err)
	brokerPassword, _ := broker.User.Password()
	password, _ := p.db.User.Password()
	buildEnv := map[string]any{}
	entries, err := os.ReadDir(env(t, "PELTON_CLUSTER_BUILDENV"))
	require.NoError(t, err)
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(env(t, "PELTON_CLUSTER_BUILDENV"), e.Name()))
		require.NoError(t, err)
		buildEnv[e.Name()] = string(text)
	}
	registry, bases := env(t, "PELTON_CLUSTER_REGISTRY"), env(t, "PELTON_CLUSTER_BASES")
	v := map[string]any{
		"image":     map[string]any{"reference": p.executor},
		"publicURL": "http://" + p.ns + ".example.com",
		"ingress":   map[string]any{"className": p.ns},
		"postgresql": map[string]any{"host": p.db.Hostname(), "port": p.db.Port(), "sslmode": "disable", "prefix": p.prefix(),
			"adminUser": p.db.User.Username(), "adminPassword": password},
		"rabbitmq": map[string]any{"host": broker.Hostname(), "port": broker.Port(), "vhost": p.ns, "managementURL": env(t, "PELTON_CLUSTER_RABBITMQ_MANAGEMENT"),
			"adminUser": broker.User.Username(), "adminPassword": brokerPassword},
		"s3":       map[string]any{"endpoint": files.Host, "bucket": strings.Trim(files.Path, "/"), "prefix": p.ns, "tls": false, "accessKey": keys.Access, "secretKey": keys.Secret},
		"registry": map[string]any{"address": registry + "/" + p.ns, "insecure": []any{registry}},
		"knative":  map[string]any{"namespace": p.ns + "-{project}", "options": map[string]any{"window": "6s", "max-scale": "4", "cpu": "20m"}},
		"builds": map[string]any{"namespace": p.ns + "-builds", "proxy": env(t, "PELTON_CLUSTER_PROXY"), "noProxy": []any{env(t, "PELTON_CLUSTER_NODE_IP")}, "env": buildEnv, "limits": map[string]any{"cpu": "800m"},
			"images": map[string]any{"python3": bases + "/python3:1", "nodejs": bases + "/nodejs:1", "go": bases + "/static:1", "go_build": bases + "/go:1"}},
	}
	services := map[string]any{} // a small node, which others use, too
	for _, s := range install.Services {
		services[s] = map[string]any{"resources": map[string]any{"requests": map[string]any{"cpu": "5m", "memory": "48Mi"}}}
	}
	v["services"] = services
	if p.registry != nil {
		pem, err := os.ReadFile(p.registry.CA)
		require.NoError(t, err)
		v["caBundle"] = string(pem)
		v["image"] = map[string]any{"reference": p.executor, "pullSecret": imagePull}
		v["registry"] = map[string]any{"address": p.registry.Addr + "/" + p.ns, "insecure": []any{registry}, "credentialsSecret": registryPush, "pullSecret": registryPull}
	}
	for k, x := range more {
		if m, ok := v[k].(map[string]any); ok {
			for k, x := range x.(map[string]any) {
				m[k] = x
			}
		} else {
			v[k] = x
		}
	}
	text, err := yaml.Marshal(v)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "values.yaml")
	require.NoError(t, os.WriteFile(file, text, 0o600))
	return file
}

func (p *place) prefix() string { return strings.ReplaceAll(p.ns, "-", "") }

// edge starts the ingress controller of the installation, and leads the harness' calls to it.
func (p *place) edge() {
	t, ctx := p.t, p.t.Context()
	t.Helper()
	_, err := p.kube.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: p.ns}}, metav1.CreateOptions{})
	require.NoError(t, err)
	d, err := p.kube.AppsV1().Deployments("ingress").Get(ctx, "traefik", metav1.GetOptions{})
	require.NoError(t, err)
	text, err := os.ReadFile("testdata/edge.yaml")
	require.NoError(t, err)
	kinds := map[string]schema.GroupVersionResource{
		"ServiceAccount": {Version: "v1", Resource: "serviceaccounts"}, "Service": {Version: "v1", Resource: "services"}, "Deployment": {Group: "apps", Version: "v1", Resource: "deployments"},
		"ClusterRole": {Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterroles"}, "ClusterRoleBinding": {Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterrolebindings"},
		"IngressClass": {Group: "networking.k8s.io", Version: "v1", Resource: "ingressclasses"},
	}
	dec := yaml.NewDecoder(strings.NewReader(strings.NewReplacer("@NS@", p.ns, "@IMAGE@", d.Spec.Template.Spec.Containers[0].Image).Replace(string(text))))
	for {
		var o unstructured.Unstructured
		if err := dec.Decode(&o.Object); errors.Is(err, io.EOF) {
			break
		} else {
			require.NoError(t, err)
		}
		o.Object = plain(o.Object).(map[string]any)
		_, err := p.dyn.Resource(kinds[o.GetKind()]).Namespace(o.GetNamespace()).Create(ctx, &o, metav1.CreateOptions{})
		require.NoError(t, err, o.GetKind())
	}
	s, err := p.kube.CoreV1().Services(p.ns).Get(ctx, "edge", metav1.GetOptions{})
	require.NoError(t, err)
	to := net.JoinHostPort(s.Spec.ClusterIP, "80")
	p.p = &harness.Platform{URL: "http://" + p.ns + ".example.com", HTTP: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, to)
		},
	}}}
}

// plain makes whole numbers what the API's JSON makes of them.
func plain(v any) any {
	switch x := v.(type) {
	case int:
		return int64(x)
	case map[string]any:
		for k := range x {
			x[k] = plain(x[k])
		}
	case []any:
		for i := range x {
			x[i] = plain(x[i])
		}
	}
	return v
}

// login signs in as the first administrator.
func (p *place) login() {
	p.t.Helper()
	s, err := p.kube.CoreV1().Secrets(p.ns).Get(p.t.Context(), "pelton-passwords", metav1.GetOptions{})
	require.NoError(p.t, err)
	p.signIn(string(s.Data["admin"]))
}

func (p *place) signIn(password string) {
	p.t.Helper()
	ctx := deadline(p.t, 2*time.Minute)
	var token struct{ Token string }
	require.NoError(p.t, harness.Until(ctx, "the ingress leads to the installation", func() (bool, error) {
		err := p.p.JSON(ctx, http.MethodPost, "/authorization/v1/login", map[string]any{"username": "admin", "password": password}, &token)
		return err == nil, err
	}))
	p.p.Token = token.Token
	for _, service := range harness.Services { // an ingress may lag behind what it leads to
		require.NoError(p.t, harness.Until(ctx, "the ingress leads to "+service, func() (bool, error) {
			err := p.p.JSON(ctx, http.MethodGet, "/"+service+"/openapi.json", nil, nil)
			return err == nil, err
		}))
	}
}

// serve starts what pods reach on the node: a Git repository of files, and a counter of marks.
func (p *place) serve(files map[string]string, folders ...string) {
	t := p.t
	t.Helper()
	program, err := exec.LookPath("git")
	require.NoError(t, err)
	p.dir = t.TempDir()
	for _, f := range folders {
		require.NoError(t, os.CopyFS(filepath.Join(p.dir, filepath.Base(f)), os.DirFS(f)))
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(env(t, "PELTON_CLUSTER_NODE_IP"), "0"))
	require.NoError(t, err)
	address := listener.Addr().String()
	for name, text := range files {
		file := filepath.Join(p.dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, []byte(strings.ReplaceAll(text, "@MARKS@", "http://"+address+"/mark")), 0o644))
	}
	p.commit("first")
	mux := http.NewServeMux()
	mux.Handle("/git/", &cgi.Handler{Path: program, Root: "/git", Args: []string{"http-backend"},
		Env: []string{"GIT_PROJECT_ROOT=" + filepath.Dir(p.dir), "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"}})
	mux.HandleFunc("/mark", func(_ http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.marks[r.URL.Query().Get("is")]++
	})
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}}
	server.Start()
	t.Cleanup(server.Close)
	p.git = "http://" + address + "/git/" + filepath.Base(p.dir)
}

// commit commits the working tree as it is.
func (p *place) commit(message string) {
	p.t.Helper()
	for _, args := range [][]string{{"init", "-q", "-b", "main"}, {"add", "-A"}, {"-c", "user.name=Test", "-c", "user.email=test@example.com", "commit", "-q", "-m", message}} {
		cmd := exec.Command("git", args...)
		cmd.Dir = p.dir
		out, err := cmd.CombinedOutput()
		require.NoError(p.t, err, "%s", out)
	}
}

// clear removes what the test and its installation made.
// clearBroker removes the virtual host and the users that the installation made by RabbitMQ's management interface.
func (p *place) clearBroker(ctx context.Context) {
	broker, err := url.Parse(env(p.t, "PELTON_CLUSTER_RABBITMQ"))
	if err != nil {
		p.t.Errorf("remove the virtual host: %v", err)
		return
	}
	password, _ := broker.User.Password()
	paths := []string{"/api/vhosts/" + p.ns, "/api/vhosts/" + p.ns + "-again"}
	for _, s := range []string{"authorization", "repository", "builder", "studio", "runner", "bridge"} {
		paths = append(paths, "/api/users/pelton-"+s, "/api/users/again-"+s)
	}
	for _, path := range paths {
		req, err := http.NewRequestWithContext(ctx, http.MethodDelete, env(p.t, "PELTON_CLUSTER_RABBITMQ_MANAGEMENT")+path, http.NoBody)
		if err != nil {
			p.t.Errorf("remove %s: %v", path, err)
			continue
		}
		req.SetBasicAuth(broker.User.Username(), password)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			p.t.Errorf("remove %s: %v", path, err)
			continue
		}
		resp.Body.Close()
	}
}

func (p *place) clear() {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	rbac := p.kube.RbacV1()
	_ = rbac.ClusterRoleBindings().Delete(ctx, p.ns+"-edge", metav1.DeleteOptions{})
	_ = rbac.ClusterRoles().Delete(ctx, p.ns+"-edge", metav1.DeleteOptions{})
	_ = p.kube.NetworkingV1().IngressClasses().Delete(ctx, p.ns, metav1.DeleteOptions{})
	if p.t.Failed() {
		p.tell(ctx)
	}
	_, _ = p.adm("uninstall", "pelton", "-n", p.ns)
	_, _ = p.adm("uninstall", "again", "-n", p.ns)
	list, err := p.kube.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
	if err != nil {
		p.t.Errorf("list namespaces: %v", err)
		return
	}
	for _, n := range list.Items {
		if n.Name == p.ns || strings.HasPrefix(n.Name, p.ns+"-") {
			if err := p.kube.CoreV1().Namespaces().Delete(ctx, n.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
				p.t.Errorf("remove the namespace %s: %v", n.Name, err)
			}
		}
	}
	p.clearBroker(ctx)
	u := *p.db
	u.Path = "/postgres"
	conn, err := pgx.Connect(ctx, u.String())
	if err != nil {
		p.t.Errorf("remove the databases: %v", err)
		return
	}
	defer conn.Close(ctx)
	for _, prefix := range []string{p.prefix(), p.prefix() + "again"} {
		for _, s := range []string{"authorization", "repository", "studio", "runner", "bridge"} {
			name := pgx.Identifier{prefix + "pelton_" + s}.Sanitize()
			for _, sql := range []string{"DROP DATABASE IF EXISTS " + name + " WITH (FORCE)", "DROP ROLE IF EXISTS " + name} {
				if _, err := conn.Exec(ctx, sql); err != nil {
					p.t.Errorf("%s: %v", sql, err)
				}
			}
		}
	}
}

// tell shows the end of what the services logged.
func (p *place) tell(ctx context.Context) {
	for name, text := range p.logs(ctx, 30) {
		p.t.Logf("the end of the log of %s:\n%s", name, text)
	}
}

// logs are the ends of the logs of the installation's pods.
func (p *place) logs(ctx context.Context, lines int64) map[string]string {
	out := map[string]string{}
	pods, err := p.kube.CoreV1().Pods(p.ns).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=pelton"})
	if err != nil {
		return out
	}
	for _, pod := range pods.Items {
		data, err := p.kube.CoreV1().Pods(p.ns).GetLogs(pod.Name, &corev1.PodLogOptions{TailLines: &lines}).DoRaw(ctx)
		if err == nil {
			out[pod.Name] = string(data)
		}
	}
	return out
}

func deadline(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
