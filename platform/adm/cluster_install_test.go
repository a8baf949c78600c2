package adm

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/pelton-run/pelton/platform/adm/install"
	"github.com/pelton-run/pelton/platform/e2e/harness"
)

// marker is an action that tells the test when it runs; it takes long enough to be under way when a pod dies.
const markerAction = `apiVersion: pelton.dev/v1
kind: Processor
spec:
  title: Tell the test
  runtime: python3
  concurrency: 20
  inputs: [{name: is, type: string}]
  outputs: [{name: is, type: string}]
`

const markerHandler = `import time, urllib.parse, urllib.request

def handle(request):
    time.sleep(0.5)
    urllib.request.urlopen("@MARKS@?is=" + urllib.parse.quote(request["is"]), timeout=20).read()
    return {"is": request["is"]}
`

const marksWorkflow = `apiVersion: pelton.dev/v1
kind: Workflow
metadata: {name: marks}
spec:
  inputs: [{name: is, type: string}]
  steps:
    - {id: a, uses: ./actions/marker, with: {is: "${inputs.is + '/a'}"}}
    - {id: b, uses: ./actions/marker, with: {is: "${inputs.is + '/b'}"}, needs: [a]}
    - {id: c, uses: ./actions/marker, with: {is: "${inputs.is + '/c'}"}, needs: [b]}
  result: {is: "${steps.c.is}"}
`

// TestClusterInstall: an installation on a cluster becomes ready, doctor finds it well, the examples work
// through its ingress, it outlives the death of a runner and an upgrade, and goes without a trace. Its own image and those that it
// builds lie in a registry that wants credentials.
func TestClusterInstall(t *testing.T) {
	if os.Getenv("PELTON_CLUSTER_KUBECONFIG") == "" {
		t.Skip("needs a cluster: make test-cluster")
	}
	registry := privateRegistry(t) // it outlives the installation
	p := newPlace(t)
	p.edge()
	p.private(registry)
	examples := filepath.Join("..", "..", "functions", "examples")
	p.serve(map[string]string{"marks/actions/marker/action.yaml": markerAction, "marks/actions/marker/handler.py": markerHandler, "marks/workflows/marks.yaml": marksWorkflow, "marks/workflows/asks.yaml": asksWorkflow},
		filepath.Join(examples, "hello"), filepath.Join(examples, "weather-report"))
	values := p.values(nil)
	_, err := p.kube.CoreV1().ConfigMaps("knative-serving").Patch(t.Context(), "config-features", types.MergePatchType, []byte(`{"data":{"kubernetes.podspec-affinity":null}}`), metav1.PatchOptions{})
	require.NoError(t, err)
	begun := time.Now()
	said, err := p.adm("install", "pelton", "-n", p.ns, "-f", values)
	require.NoError(t, err)
	require.Regexp(t, "features of Knative Serving turned on: .*kubernetes.podspec-affinity", said)
	require.Contains(t, said, "Pelton pelton is ready at http://"+p.ns+".example.com")
	p.figure("ready %s after install was called", time.Since(begun))
	p.login()

	var k kept
	for _, part := range []struct {
		name string
		run  func(*testing.T, *place)
	}{{"examples", examplesWork}, {"registry", registryIsPrivate}, {"fence", runnerIsFenced}, {"zero", scaleToZero}, {"doctor", doctorIsPleased}, {"faults", doctorTellsFaults}, {"first rights", nothingForbidden}, {"kill", killRunner}, {"upgrade", upgradeKeepsAnswering(values)}, {"backup", func(t *testing.T, p *place) { backUp(t, p, &k) }},
		{"rights", nothingForbidden}, {"uninstall", uninstallLeavesKeys}, {"restore", func(t *testing.T, p *place) { restoreElsewhere(t, p, &k) }}} {
		if !t.Run(part.name, func(t *testing.T) { part.run(t, p) }) {
			return
		}
	}
}

func (p *place) figure(format string, took time.Duration) {
	p.t.Logf("figure: "+format, took.Round(10*time.Millisecond))
}

// post calls a trigger and wants its run to be completed.
func (p *place) post(ctx context.Context, t *testing.T, path, contentType, body string) string {
	t.Helper()
	resp, err := p.p.Do(ctx, http.MethodPost, "/user-api/default"+path, contentType, strings.NewReader(body))
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode, "%s", text)
	run, err := p.p.Run(ctx, resp.Header.Get("Pelton-Run"))
	require.NoError(t, err)
	require.Equal(t, "completed", run.State)
	return string(text)
}

func (p *place) weather(ctx context.Context, t *testing.T) {
	t.Helper()
	csv, err := os.ReadFile(filepath.Join(p.dir, "weather-report", "data", "seattle-weather.csv"))
	require.NoError(t, err)
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	part, err := w.CreateFormFile("data", "seattle-weather.csv")
	require.NoError(t, err)
	_, err = part.Write(csv)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	var result struct{ Report struct{ URL string } }
	require.NoError(t, json.Unmarshal([]byte(p.post(ctx, t, "/weather/Seattle", w.FormDataContentType(), form.String())), &result))
	path, ok := strings.CutPrefix(result.Report.URL, p.p.URL)
	require.True(t, ok, "%s is an address of the installation", result.Report.URL)
	resp, err := p.p.Do(ctx, http.MethodGet, path, "", nil)
	require.NoError(t, err)
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Contains(t, string(page), "Weather of Seattle")
}

// examplesWork: a Git repository is added, kaniko builds what is in it, Knative runs it, triggers answer.
func examplesWork(t *testing.T, p *place) {
	ctx := deadline(t, 15*time.Minute)
	begun := time.Now()
	var repo struct{ ID string }
	require.NoError(t, p.p.JSON(ctx, http.MethodPost, "/repository/v1/projects/default/repositories", map[string]any{"name": "examples", "url": p.git, "auto_deploy": true}, &repo))
	var scan struct {
		State, Error string
		Problems     []any
	}
	require.NoError(t, p.p.JSON(ctx, http.MethodPost, "/repository/v1/projects/default/repositories/"+repo.ID+"/scans", nil, &scan))
	require.Equal(t, "finished", scan.State, "%+v", scan)
	for _, w := range []string{"hello", "asks", "marks", "weather-report"} {
		require.NoError(t, p.p.WaitLive(ctx, w))
		p.figure(w+" was live %s after its repository was added", time.Since(begun))
	}
	begun = time.Now()
	require.Contains(t, p.post(ctx, t, "/hello", "application/json", `{"name":"Ada"}`), "Hello, Ada!")
	p.figure("the first call of hello took %s", time.Since(begun))
	begun = time.Now()
	p.post(ctx, t, "/hello", "application/json", `{"name":"Ada"}`)
	p.figure("the second call of hello took %s", time.Since(begun))
	begun = time.Now()
	p.weather(ctx, t)
	p.figure("weather-report in three languages took %s", time.Since(begun))
}

// actionPods counts the pods of each action that are there and not about to go.
func (p *place) actionPods(ctx context.Context) (map[string]int, error) {
	pods, err := p.kube.CoreV1().Pods(p.ns+"-default").List(ctx, metav1.ListOptions{LabelSelector: "pelton.dev/role=service"})
	if err != nil {
		return nil, err
	}
	out := map[string]int{}
	for _, pod := range pods.Items {
		if pod.DeletionTimestamp == nil {
			out[pod.Annotations["pelton.dev/action"]]++
		}
	}
	return out, nil
}

// scaleToZero: pods of all three languages go when nobody calls, and come when somebody does.
func scaleToZero(t *testing.T, p *place) {
	ctx := deadline(t, 5*time.Minute)
	begun := time.Now()
	require.NoError(t, harness.Until(ctx, "no action has a pod", func() (bool, error) {
		n, err := p.actionPods(ctx)
		if err == nil && len(n) > 0 {
			err = fmt.Errorf("there are %v", n)
		}
		return err == nil, err
	}))
	p.figure("no action had a pod %s after the last call", time.Since(begun))
	begun = time.Now()
	seen, called := map[string]bool{}, make(chan struct{})
	go func() {
		defer close(called)
		p.weather(ctx, t)
	}()
	require.NoError(t, harness.Until(ctx, "weather-report has answered", func() (bool, error) { // the first pods may be gone by then
		n, err := p.actionPods(ctx)
		for action := range n {
			seen[action] = true
		}
		select {
		case <-called:
			return true, err
		default:
			return false, err
		}
	}))
	p.figure("weather-report from zero pods took %s", time.Since(begun))
	for _, action := range []string{"monthly-figures@1.0", "render-chart@2.1", "assemble-report@1.0"} { // Python, Node.js, Go
		require.Contains(t, seen, action, "it came back")
	}
}

// doctorIsPleased: every check is made, and every one is well.
func doctorIsPleased(t *testing.T, p *place) {
	begun := time.Now()
	said, err := p.adm("doctor", "pelton", "-n", p.ns)
	require.NoError(t, err)
	p.figure("doctor took %s", time.Since(begun))
	t.Log(said)
	for _, check := range []string{"Kubernetes", "installation", "Knative Serving", "features of Knative Serving", "services", "database of runner", "broker", "filestore", "files of runs", "builds", "registry",
		"ingress: 300 calls at once", "ingress: calls spread over pods", "ingress: a two-way stream of 1m10s"} {
		require.Regexp(t, `(?m)^ok +`+check+` `, said)
	}
	require.NotRegexp(t, `(?m)^(wrong|skipped)`, said)
	_, err = p.kube.BatchV1().Jobs(p.ns).Get(t.Context(), "pelton-doctor", metav1.GetOptions{})
	require.Error(t, err, "doctor leaves nothing")
}

// runnerIsFenced: what the runner's token lets do, it lets do in namespaces of projects alone, and it reads no secret.
func runnerIsFenced(t *testing.T, p *place) {
	ctx := deadline(t, time.Minute)
	cfg, err := install.Access{Kubeconfig: env(t, "PELTON_CLUSTER_KUBECONFIG")}.Config()
	require.NoError(t, err)
	cfg.Impersonate.UserName = "system:serviceaccount:" + p.ns + ":pelton-runner"
	runner, err := kubernetes.NewForConfig(cfg)
	require.NoError(t, err)
	job := func(namespace string) error {
		_, err := runner.BatchV1().Jobs(namespace).Create(ctx, &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "fence"}, Spec: batchv1.JobSpec{Suspend: new(bool),
			Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "c", Image: "none"}}}}}}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}
	require.NoError(t, job(p.ns+"-default"))
	for _, namespace := range []string{"default", "kube-system", p.ns, p.ns + "-builds"} {
		require.ErrorContains(t, job(namespace), "change what is in namespaces of its projects alone", namespace)
	}
	label := map[string]string{"pelton.dev/installation": "pelton"}
	_, err = runner.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "elsewhere", Labels: label}}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	require.ErrorContains(t, err, "make namespaces of projects alone: "+p.ns+"-{project}")
	for _, namespace := range []string{"kube-system", p.ns + "-builds"} {
		_, err = runner.CoreV1().Namespaces().Patch(ctx, namespace, types.MergePatchType, []byte(`{"metadata":{"labels":{"pelton.dev/installation":"pelton"}}}`), metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
		require.True(t, apierrors.IsForbidden(err) || apierrors.IsInvalid(err), "%v", err)
	}
	for _, namespace := range []string{p.ns, p.ns + "-default", "kube-system"} {
		_, err = runner.CoreV1().Secrets(namespace).List(ctx, metav1.ListOptions{})
		require.True(t, apierrors.IsForbidden(err), "%v", err)
	}
	_, err = runner.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	require.True(t, apierrors.IsForbidden(err), "%v", err)
}

// doctorTellsFaults: what is wrong is told by name, each with what mends it, and the rest is well.
func doctorTellsFaults(t *testing.T, p *place) {
	ctx := deadline(t, 5*time.Minute)
	secrets, features := p.kube.CoreV1().Secrets(p.ns), p.kube.CoreV1().ConfigMaps("knative-serving")
	spoil := func(name, key string) {
		s, err := secrets.Get(ctx, name, metav1.GetOptions{})
		require.NoError(t, err)
		old := s.Data[key]
		u, err := url.Parse(string(old))
		require.NoError(t, err)
		u.User = url.UserPassword(u.User.Username(), "wrong")
		s.Data[key] = []byte(u.String())
		_, err = secrets.Update(ctx, s, metav1.UpdateOptions{})
		require.NoError(t, err)
		t.Cleanup(func() {
			s, err := secrets.Get(p.t.Context(), name, metav1.GetOptions{})
			require.NoError(t, err)
			s.Data[key] = old
			_, err = secrets.Update(p.t.Context(), s, metav1.UpdateOptions{})
			require.NoError(t, err)
		})
	}
	spoil("pelton-studio", "PELTON_STORES_STUDIO")
	spoil("pelton-runner", "PELTON_BUS")
	const flag = "kubernetes.podspec-affinity"
	set := func(ctx context.Context, value string) {
		_, err := features.Patch(ctx, "config-features", types.MergePatchType, []byte(`{"data":{"`+flag+`":`+value+`}}`), metav1.PatchOptions{})
		require.NoError(t, err)
	}
	set(ctx, "null")
	t.Cleanup(func() { set(p.t.Context(), `"enabled"`) })
	image, file := p.loseImage(ctx, t), p.loseFile(ctx, t)
	said, err := p.adm("doctor", "pelton", "-n", p.ns)
	require.ErrorContains(t, err, "exit code 1")
	t.Log(said)
	require.Regexp(t, `(?m)^warn\S* +features of Knative Serving +off: `+flag, said)
	require.Regexp(t, `(?m)^wrong +database of studio +.*does not let \S+pelton_studio in`, said)
	require.Regexp(t, `(?m)^wrong +broker as runner `, said)
	require.Regexp(t, `(?m)^wrong +files of runs +1 of \d+ files that runs mention are not in the filestore: default `+file+`$`, said)
	require.Regexp(t, `(?m)^wrong +builds +1 builds that live deployments or unfinished runs need are not in the registry: `+regexp.QuoteMeta(image)+`$`, said)
	require.Regexp(t, `(?m)^ok +filestore `, said)
	require.Regexp(t, `(?m)^ok +registry `, said)
	require.Regexp(t, `(?m)^ok +database of runner `, said)
	require.Regexp(t, `(?m)^ok +ingress: 300 calls at once `, said)
}

// killRunner: a runner dies with 200 runs under way; the other takes them over, and no step is done twice.
func killRunner(t *testing.T, p *place) {
	ctx := deadline(t, 8*time.Minute)
	const runs = 200
	ids := make([]string, runs)
	var wg sync.WaitGroup
	errs := make(chan error, runs)
	next := make(chan int, runs)
	for i := range runs {
		next <- i
	}
	close(next)
	begun := time.Now()
	for range 8 {
		wg.Go(func() {
			for i := range next {
				r, err := p.p.StartRun(ctx, "marks", map[string]any{"is": fmt.Sprintf("kill-%d", i)})
				if err != nil {
					errs <- err
					return
				}
				ids[i] = r.ID
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	p.figure("200 runs were started in %s", time.Since(begun))
	pods, err := p.kube.CoreV1().Pods(p.ns).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=runner"})
	require.NoError(t, err)
	require.Len(t, pods.Items, 2)
	now := int64(0)
	require.NoError(t, p.kube.CoreV1().Pods(p.ns).Delete(ctx, pods.Items[0].Name, metav1.DeleteOptions{GracePeriodSeconds: &now}))
	killed := time.Now()
	unended := 0
	for _, id := range ids {
		if r, err := p.p.Run(ctx, id); err == nil && !r.Ended() {
			unended++
		}
	}
	require.Positive(t, unended, "runs were under way when the runner died")
	for _, id := range ids {
		r, err := p.p.WaitRun(ctx, id)
		require.NoError(t, err)
		require.Equal(t, "completed", r.State, "%s: %+v", id, r.Error)
	}
	p.figure("the last of 200 runs ended %s after a runner was killed", time.Since(killed))
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range runs {
		for _, step := range []string{"a", "b", "c"} {
			is := fmt.Sprintf("kill-%d/%s", i, step)
			require.Equal(t, 1, p.marks[is], "%s was done once", is)
		}
	}
}

// nothingForbidden: what the services may do in the cluster suffices.
func nothingForbidden(t *testing.T, p *place) {
	for name, text := range p.logs(t.Context(), 100_000) {
		for line := range strings.Lines(text) {
			require.NotContains(t, strings.ToLower(line), "forbidden", name)
		}
	}
}

// upgradeKeepsAnswering: a new image comes up beside the old one; secrets stay, and no reading call fails.
func upgradeKeepsAnswering(values string) func(*testing.T, *place) {
	return func(t *testing.T, p *place) {
		ctx := deadline(t, 8*time.Minute)
		secrets := p.secrets(ctx, t)
		image := p.image(ctx, t, p.ns)
		stop, done := make(chan struct{}), make(chan struct{})
		calls, failed := 0, []string{}
		go func() {
			defer close(done)
			for {
				select {
				case <-stop:
					return
				case <-time.After(20 * time.Millisecond):
				}
				for _, path := range []string{"/runner/v1/projects/default/runs?limit=1", "/repository/v1/projects/default/repositories", "/studio/v1/projects/default/workflows"} {
					calls++
					if err := p.p.JSON(ctx, http.MethodGet, path, nil, nil); err != nil {
						failed = append(failed, path+": "+err.Error())
					}
				}
			}
		}()
		begun := time.Now()
		said, err := p.adm("upgrade", "pelton", "-n", p.ns, "-f", values, "--set", "image.reference="+image)
		close(stop)
		<-done
		require.NoError(t, err)
		require.Contains(t, said, "revision 2 is applied")
		p.figure("an upgrade took %s", time.Since(begun))
		t.Logf("figure: %d calls were answered meanwhile", calls)
		require.Empty(t, failed, "%d of %d calls failed", len(failed), calls)
		require.Equal(t, secrets, p.secrets(ctx, t))
		pods, err := p.kube.CoreV1().Pods(p.ns).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=studio"})
		require.NoError(t, err)
		for _, pod := range pods.Items {
			if pod.DeletionTimestamp == nil {
				require.Equal(t, image, pod.Spec.Containers[0].Image)
			}
		}
		require.Contains(t, p.post(ctx, t, "/hello", "application/json", `{"name":"Grace"}`), "Hello, Grace!")
	}
}

// secrets are what is made once.
func (p *place) secrets(ctx context.Context, t *testing.T) map[string]map[string][]byte {
	t.Helper()
	out := map[string]map[string][]byte{}
	for _, name := range []string{"passwords", "authorization-keys", "runner-keys", "bridge-keys"} {
		s, err := p.kube.CoreV1().Secrets(p.ns).Get(ctx, "pelton-"+name, metav1.GetOptions{})
		require.NoError(t, err)
		out[name] = s.Data
	}
	return out
}

// uninstallLeavesKeys: what stays is what uninstall says.
func uninstallLeavesKeys(t *testing.T, p *place) {
	ctx := deadline(t, 5*time.Minute)
	said, err := p.adm("uninstall", "pelton", "-n", p.ns)
	require.NoError(t, err)
	t.Log(said)
	require.NoError(t, harness.Until(ctx, "pods and the builds' namespace are gone", func() (bool, error) {
		pods, err := p.kube.CoreV1().Pods(p.ns).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=pelton"})
		if err != nil {
			return false, err
		}
		var left []string
		for _, pod := range pods.Items {
			left = append(left, pod.Name)
		}
		if _, err := p.kube.CoreV1().Namespaces().Get(ctx, p.ns+"-builds", metav1.GetOptions{}); err == nil {
			left = append(left, "namespace")
		}
		if len(left) > 0 {
			return false, fmt.Errorf("there are %v", left)
		}
		return true, nil
	}))
	var left []string
	secrets, err := p.kube.CoreV1().Secrets(p.ns).List(ctx, metav1.ListOptions{})
	require.NoError(t, err)
	for _, s := range secrets.Items {
		if s.Type == corev1.SecretTypeOpaque {
			left = append(left, s.Name)
		}
	}
	require.ElementsMatch(t, []string{"pelton-passwords", "pelton-authorization-keys", "pelton-runner-keys", "pelton-bridge-keys"}, left)
	for _, name := range left {
		require.Contains(t, said, name)
	}
	roles, err := p.kube.RbacV1().ClusterRoles().List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=pelton"})
	require.NoError(t, err)
	for _, r := range roles.Items {
		require.NotContains(t, r.Name, p.ns)
	}
	jobs, err := p.kube.BatchV1().Jobs(p.ns).List(ctx, metav1.ListOptions{})
	require.NoError(t, err)
	require.Empty(t, jobs.Items)
}
