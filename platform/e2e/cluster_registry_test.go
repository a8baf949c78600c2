package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"

	"github.com/pelton-run/pelton/platform/e2e/harness"
)

// TestClusterPrivateRegistry: images in a registry that wants credentials and whose certificate is a private authority's.
// They are pushed, pulled by the node and run; credentials that are wrong are told in words, and good ones need no more than
// their file and a deployment.
func TestClusterPrivateRegistry(t *testing.T) {
	if !onCluster() {
		t.Skip("needs a cluster: make test-cluster")
	}
	host, ca := privateRegistry(t, "builder", "push-word")
	dir := t.TempDir()
	push, pull := filepath.Join(dir, "push.json"), filepath.Join(dir, "pull.json")
	credentials(t, push, host, "builder", "push-word")
	credentials(t, pull, host, "builder", "of another time")
	p := startWith(t, harness.Options{Home: newHome(t), Env: []string{
		"PELTON_BUILDER_REGISTRY=" + host + "/private", "PELTON_BUILDER_REGISTRY_CREDENTIALS=" + push, "PELTON_BUILDER_REGISTRY_CA=" + ca, "PELTON_DEPLOYER=&pull-credentials=" + pull,
	}})
	ctx := deadline(t, patience())
	work := workspace(t, nil)
	require.NoError(t, os.CopyFS(work, os.DirFS(filepath.Join(harness.Root(), "functions", "examples", "hello"))))
	require.NoError(t, p.AddFolder(ctx, "hello", work))
	require.ErrorContains(t, p.WaitLive(ctx, "hello"), "the registry", "the node may not pull")

	credentials(t, pull, host, "builder", "push-word")
	code, out := cli(t, p, "workflow", "deploy", "hello")
	require.Zero(t, code, out)
	status, _, body := post(t, p, "/hello", "application/json", `{"name":"Ada"}`)
	require.Equal(t, http.StatusOK, status, body)
	require.Contains(t, body, "Hello, Ada!")

	handler := filepath.Join(work, "actions", "hello", "handler.py")
	text, err := os.ReadFile(handler)
	require.NoError(t, err)
	write(t, handler, "# the code layer alone is pushed\n"+string(text))
	require.NoError(t, harness.Until(ctx, "the second revision is live", func() (bool, error) {
		code, out := cli(t, p, "workflow", "show", "hello")
		return code == 0 && strings.Contains(out, "revision 2 is live"), nil
	}))
	status, _, body = post(t, p, "/hello", "application/json", `{"name":"Ada"}`)
	require.Equal(t, http.StatusOK, status, body)
}

// TestClusterPrivateRegistryJobs: what is built in Jobs, in a registry that wants credentials, with a certificate of a private
// authority: dependencies of Python, and a program in Go, which is compiled on an image that lies in that registry.
func TestClusterPrivateRegistryJobs(t *testing.T) {
	if !onCluster() {
		t.Skip("needs a cluster: make test-cluster")
	}
	host, ca := privateRegistry(t, "builder", "push-word")
	login := filepath.Join(t.TempDir(), "config.json")
	credentials(t, login, host, "builder", "push-word")
	p := startWith(t, harness.Options{Home: newHome(t), Env: []string{
		"PELTON_BUILDER_REGISTRY=" + host + "/private", "PELTON_BUILDER_REGISTRY_CREDENTIALS=" + login, "PELTON_BUILDER_REGISTRY_CA=" + ca, "PELTON_DEPLOYER=&pull-credentials=" + login,
	}})
	const described = "apiVersion: pelton.dev/v1\nkind: Processor\nspec:\n  runtime: %s\n  inputs: [{name: text, type: string}]\n  outputs: [{name: text, type: string}]\n"
	work := workspace(t, map[string]string{
		"actions/encode/action.yaml":      fmt.Sprintf(described, "python3"),
		"actions/encode/requirements.txt": "idna==3.10\n",
		"actions/encode/handler.py":       "import idna\n\n\ndef handle(inputs):\n    return {'text': idna.encode(inputs['text']).decode()}\n",
		"actions/shout/action.yaml":       fmt.Sprintf(described, "go"),
		"actions/shout/go.mod":            "module example.com/shout\n\ngo 1.22\n",
		"actions/shout/handler.go": "package action\n\nimport (\n\t\"context\"\n\t\"strings\"\n)\n\n" +
			"func Handle(_ context.Context, in Input) (Output, error) {\n\treturn Output{Text: strings.ToUpper(in.Text)}, nil\n}\n",
		"workflows/private.yaml": `apiVersion: pelton.dev/v1
kind: Workflow
metadata: {name: private}
spec:
  inputs:
    - {name: text, type: string}
  triggers:
    - {id: http, uses: http, with: {method: POST, path: /private, mode: sync, timeout: 60s, auth: key}}
  steps:
    - {id: encode, uses: ./actions/encode, with: {text: "${inputs.text}"}}
    - {id: shout, uses: ./actions/shout, with: {text: "${steps.encode.text}"}}
  result: {text: "${steps.shout.text}"}
`})
	ctx := deadline(t, 5*patience()/2) // a Go build in a registry that holds nothing compiles the standard library
	require.NoError(t, p.AddFolder(ctx, "private", work))
	require.NoError(t, p.WaitLive(ctx, "private"))
	status, _, body := post(t, p, "/private", "application/json", `{"text":"bücher"}`)
	require.Equal(t, http.StatusOK, status, body)
	require.Contains(t, body, "XN--BCHER-KVA")
}

// credentials writes a file as `docker login` does.
func credentials(t *testing.T, file, host, user, password string) {
	t.Helper()
	auth := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, `{"auths":{%q:{"auth":%q}}}`, host, auth), 0o600))
}

// privateRegistry starts a registry for one user on the node's address, and has the container runtime trust it.
func privateRegistry(t *testing.T, user, password string) (host, ca string) {
	t.Helper()
	node := os.Getenv("PELTON_CLUSTER_NODE_IP")
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", net.JoinHostPort(node, "0"))
	require.NoError(t, err)
	host = l.Addr().String()
	require.NoError(t, l.Close())
	dir := t.TempDir()
	ca = filepath.Join(dir, "ca.crt")
	certify(t, dir, node)
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "users"), []byte(user+":"+string(hash)+"\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "registry.yml"), fmt.Appendf(nil, `version: 0.1
log: {level: warn}
storage: {filesystem: {rootdirectory: %[1]s/images}}
http: {addr: %[2]q, tls: {certificate: %[1]s/server.crt, key: %[1]s/server.key}}
auth: {htpasswd: {realm: private, path: %[1]s/users}}
`, dir, host), 0o600))
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "docker-registry", "serve", filepath.Join(dir, "registry.yml"))
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	// As its administrator tells every node's runtime.
	hosts := filepath.Join(filepath.Dir(os.Getenv("PELTON_CLUSTER_KUBECONFIG")), "certs.d", host)
	require.NoError(t, os.MkdirAll(hosts, 0o755))
	t.Cleanup(func() { os.RemoveAll(hosts) })
	require.NoError(t, os.WriteFile(filepath.Join(hosts, "hosts.toml"), fmt.Appendf(nil, "server = \"https://%[1]s\"\n[host.\"https://%[1]s\"]\n  capabilities = [\"pull\", \"resolve\"]\n  ca = %[2]q\n", host, ca), 0o644))
	require.NoError(t, harness.Until(deadline(t, time.Minute), "the registry listens", func() (bool, error) {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", host)
		if err == nil {
			conn.Close()
		}
		return err == nil, nil
	}))
	return host, ca
}

// certify writes ca.crt, server.crt and server.key for an address.
func certify(t *testing.T, dir, address string) {
	t.Helper()
	one := func(name string, serial int64, template, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) *ecdsa.PrivateKey {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		require.NoError(t, err)
		template.SerialNumber, template.Subject = big.NewInt(serial), pkix.Name{CommonName: name}
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
		if parentKey == nil {
			parentKey = key
		}
		cert, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
		require.NoError(t, err)
		text, err := x509.MarshalECPrivateKey(key)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name+".crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o644))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name+".key"), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: text}), 0o600))
		return key
	}
	authority := &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	key := one("ca", 1, authority, authority, nil)
	one("server", 2, &x509.Certificate{IPAddresses: []net.IP{net.ParseIP(address)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, authority, key)
}
