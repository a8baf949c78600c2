package knative

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/app/apptest"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
	pb "github.com/pelton-run/pelton/wrapper/wrapperpb"
)

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
			require.Eventually(t, u.hasBegun, 10*time.Second, time.Millisecond, "its handler may be quicker than the word of where it is")
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

// nodeSelectors is the flag of Knative's config map config-features that lets services choose nodes.
const nodeSelectors = "kubernetes.podspec-nodeselector"

func TestClusterReasons(t *testing.T) {
	k := openReal(t)
	r := k.runner(t, "&deploy-timeout=60s&quota-pods=1")
	missing := k.build(t, reports, 1)
	missing.Artifact = "image://" + k.registry + "/" + k.prefix + "/missing@sha256:" + strings.Repeat("0", 64)
	selector := k.build(t, reports, 1)
	selector.Compute = []byte(`{"kubernetes":{"node_selector":{"disk":"none"}}}`)
	crash := k.build(t, reports, 1)
	crash.Artifact = "image://" + k.image(t, "base/python3:1", map[string][]byte{"pelton/wrapper": []byte("#!/bin/sh\necho I cannot go on\nexit 3\n")})
	broken := k.build(t, "import no_such_module\n\n\n"+reports, 1)
	feature := func(value any) {
		text, err := json.Marshal(map[string]any{"data": map[string]any{nodeSelectors: value}})
		require.NoError(t, err)
		_, err = r.cluster.kube.CoreV1().ConfigMaps("knative-serving").Patch(context.Background(), "config-features", types.MergePatchType, text, metav1.PatchOptions{})
		require.NoError(t, err)
	}
	features, err := r.cluster.kube.CoreV1().ConfigMaps("knative-serving").Get(t.Context(), "config-features", metav1.GetOptions{})
	require.NoError(t, err)
	var before any
	if v, ok := features.Data[nodeSelectors]; ok {
		before = v
	}
	t.Cleanup(func() { feature(before) })
	// allowed waits until the webhook goes by the config map.
	allowed := func(want bool) {
		t.Helper()
		o, err := newOrder("dry", selector, nil)
		require.NoError(t, err)
		require.NoError(t, r.ensureProject(t.Context(), "dry"))
		u, err := plain(makeService(o, r.set))
		require.NoError(t, err)
		require.Eventually(t, func() bool {
			_, err := r.cluster.in(services, u.GetNamespace()).Create(context.Background(), u.DeepCopy(), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			return (err == nil) == want
		}, time.Minute, 500*time.Millisecond)
	}
	fine := k.build(t, reports, 1)
	second := k.build(t, reports+"\n# another\n", 1)
	for _, c := range []struct {
		project string
		build   domain.Build
		want    string
		feature string // of node selectors, "" = as it is
	}{
		{"missing", missing, "is not in the registry", ""},
		{"selector", selector, "the cluster's Knative allows no node selectors: set kubernetes.podspec-nodeselector: enabled", "disabled"},
		{"selector", selector, "no node of the cluster has the labels that its node selector asks for (disk=none)", "enabled"},
		{"crash", crash, "I cannot go on", ""},
		{"broken", broken, "its code cannot be loaded: ModuleNotFoundError: No module named 'no_such_module'", ""},
		{"quota", fine, "", ""},
		{"quota", second, "quota is exhausted", ""},
	} {
		if c.feature != "" {
			feature(c.feature)
			allowed(c.feature == "enabled")
		}
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

// TestClusterWaitsForANode: a pod that finds no node at first is waited for, also past Knative's word that it has failed.
func TestClusterWaitsForANode(t *testing.T) {
	k := openReal(t)
	r := k.runner(t, "&deploy-timeout=3m")
	nodes, err := r.cluster.kube.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	cordon := func(closed bool) {
		for _, n := range nodes.Items {
			_, err := r.cluster.kube.CoreV1().Nodes().Patch(context.Background(), n.Name, types.MergePatchType, fmt.Appendf(nil, `{"spec":{"unschedulable":%t}}`, closed), metav1.PatchOptions{})
			require.NoError(t, err)
		}
	}
	t.Cleanup(func() { cordon(false) })
	b := k.build(t, reports, 1)
	cordon(true)
	done := make(chan error, 1)
	go func() { done <- r.Ensure(t.Context(), "acme", b) }()
	select {
	case err := <-done:
		t.Fatalf("it did not wait: %v", err)
	case <-time.After(12 * time.Second):
	}
	cordon(false)
	require.NoError(t, <-done)
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

// TestClusterRuntime is two hundred executions, under way or waiting, while the node's container runtime is restarted twice:
// once while all pods are up, once while pods come and go. Nothing is attempted a second time: containers
// outlive their runtime.
func TestClusterRuntime(t *testing.T) {
	k := openReal(t)
	r := k.runner(t, "&max-scale=3")
	b, other := k.build(t, reports, 8), k.build(t, "# another\n"+reports, 8)
	require.NoError(t, r.Ensure(t.Context(), "acme", b))
	require.NoError(t, r.Ensure(t.Context(), "acme", other))
	sinks := make([]*apptest.Told, 200)
	start := func(from, to int, b domain.Build) {
		for i := from; i < to; i++ {
			sinks[i] = apptest.NewTold()
			r.Start(apptest.Attempt(fmt.Sprint("c", i), b, k.text(fmt.Sprint("c", i), fmt.Sprint(2+i%5))), sinks[i])
		}
	}
	restart := func() {
		t.Helper()
		began := time.Now()
		out, err := exec.CommandContext(t.Context(), filepath.Join("..", "..", "..", "..", "..", "config", "testcluster", "cluster"), "restart", "containerd").CombinedOutput()
		require.NoError(t, err, "%s", out)
		t.Logf("the container runtime was restarted in %s", time.Since(began).Round(time.Millisecond))
	}
	start(0, 100, b)
	k.log.await(t, "end/c5")
	restart()
	k.log.await(t, "end/c60")
	start(100, 200, other) // its pods have to come up
	restart()
	began := time.Now()
	for i, sink := range sinks {
		e := waitLong(t, sink)
		require.Equal(t, app.Completed, e.Outcome, "%d: %v", i, e.Error)
		require.Equal(t, 1, k.log.count(fmt.Sprint("begin/c", i)), i)
		require.Equal(t, 1, k.log.count(fmt.Sprint("end/c", i)), i)
	}
	t.Logf("all ended %s after the last restart", time.Since(began).Round(time.Millisecond))
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
