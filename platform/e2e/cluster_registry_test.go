package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/e2e/harness"
	"github.com/pelton-run/pelton/platform/kit/registrytest"
)

// TestClusterPrivateRegistry: images in a registry that wants credentials and whose certificate is a private authority's.
// They are pushed, pulled by the node and run; credentials that are wrong are told in words, and good ones need no more than
// their file and a deployment.
func TestClusterPrivateRegistry(t *testing.T) {
	if !onCluster() {
		t.Skip("needs a cluster: make test-cluster")
	}
	registry := privateRegistry(t)
	push, pull := registry.Credentials(t, ""), registry.Credentials(t, "of another time")
	p := startWith(t, harness.Options{Home: newHome(t), Env: []string{
		"PELTON_BUILDER_REGISTRY=" + registry.Addr + "/private", "PELTON_BUILDER_REGISTRY_CREDENTIALS=" + push, "PELTON_BUILDER_REGISTRY_CA=" + registry.CA, "PELTON_DEPLOYER=&pull-credentials=" + pull,
	}})
	ctx := deadline(t, patience())
	work := workspace(t, nil)
	require.NoError(t, os.CopyFS(work, os.DirFS(filepath.Join(harness.Root(), "functions", "examples", "hello"))))
	require.NoError(t, p.AddFolder(ctx, "hello", work))
	require.ErrorContains(t, p.WaitLive(ctx, "hello"), "the registry", "the node may not pull")

	require.NoError(t, os.WriteFile(pull, registry.Login(registry.Password), 0o600))
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
	registry := privateRegistry(t)
	login := registry.Credentials(t, "")
	p := startWith(t, harness.Options{Home: newHome(t), Env: []string{
		"PELTON_BUILDER_REGISTRY=" + registry.Addr + "/private", "PELTON_BUILDER_REGISTRY_CREDENTIALS=" + login, "PELTON_BUILDER_REGISTRY_CA=" + registry.CA, "PELTON_DEPLOYER=&pull-credentials=" + login,
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

// privateRegistry starts a registry for one user on the node's address, which the container runtime trusts.
func privateRegistry(t *testing.T) *registrytest.Server {
	t.Helper()
	r := registrytest.Secured(t, os.Getenv("PELTON_CLUSTER_NODE_IP"))
	r.Trusted(t, filepath.Join(filepath.Dir(os.Getenv("PELTON_CLUSTER_KUBECONFIG")), "certs.d"))
	return r
}
