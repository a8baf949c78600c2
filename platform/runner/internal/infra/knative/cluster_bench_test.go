package knative

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/app/apptest"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// bare makes a Knative Service of the program in testdata/bare, as it comes or without volumes.
func (k *real) bare(t *testing.T, r *Runner, ns, service, image, kind string, volumes bool) {
	t.Helper()
	o := orderOf(t, "acme", build(nil))
	o.image = image
	s := makeService(o, r.set)
	s.Name, s.Namespace = service, ns
	s.Labels = map[string]string{"networking.knative.dev/visibility": "cluster-local"}
	template := &s.Spec.Template
	template.Labels = map[string]string{"bare": service}
	c := &template.Spec.Containers[0]
	c.Env = []corev1.EnvVar{{Name: "KIND", Value: kind}}
	if kind == "http" {
		c.Ports = nil
	}
	if volumes {
		template.Spec.AutomountServiceAccountToken = nil
	}
	u, err := plain(&servingv1.Service{TypeMeta: s.TypeMeta, ObjectMeta: s.ObjectMeta, Spec: s.Spec})
	require.NoError(t, err)
	_, err = r.cluster.apply(t.Context(), u)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		u, err := r.cluster.get(context.Background(), services, ns, service)
		if err != nil || u == nil {
			return false
		}
		ready, _, _ := condition(u, u.GetGeneration())
		return ready == corev1.ConditionTrue
	}, 3*time.Minute, 100*time.Millisecond)
}

// coldPhases are those of an attempt whose pod came up for it, in the order in which most are gone through.
var coldPhases = []string{"queued", "scheduled", "pulled", "launched", "booted", "loaded", "started", "first_byte", "returned"}

// checkPhases: every phase of a cold start is told, once, between what the caller saw as its beginning and its end, and in
// order. Two come by ways of their own: that the image is there is an event, which may come later than the container
// starts; the runner hears of the pod while that still loads the code.
func checkPhases(t *testing.T, k *apptest.Told, begun, ended time.Time) {
	t.Helper()
	require.ElementsMatch(t, coldPhases, k.Phases)
	for _, way := range [][]string{
		{"queued", "scheduled", "pulled", "first_byte"},
		{"queued", "scheduled", "launched", "booted", "loaded", "started", "returned"},
		{"launched", "first_byte"},
	} {
		last := begun.Truncate(time.Microsecond) // as the wrapper tells times
		for _, p := range way {
			require.False(t, k.At[p].Before(last), "%s comes before what leads to it, of %v from %s: %v", p, way, begun, k.At)
			last = k.At[p]
		}
		require.False(t, last.After(ended), "%v until %s: %v", way, ended, k.At)
	}
}

// TestClusterCold measures cold starts and warm calls beside what Knative itself takes: with -test.v it
// prints them. All services of a round scale to zero together and are called one after the other. The phases of each
// cold start are told.
func TestClusterCold(t *testing.T) {
	k := openReal(t)
	r := k.runner(t, "&max-scale=1")
	const handler = "def handle(inputs):\n    return {'text': inputs['text']}\n"
	b, reused := k.build(t, handler, 1), k.isolated(t, handler+"# reused\n", 1, "reuse")
	require.NoError(t, r.Ensure(t.Context(), "acme", b))
	require.NoError(t, r.Ensure(t.Context(), "acme", reused))
	ns := r.set.namespaceOf("acme")
	image := k.image(t, "base/static:1", map[string][]byte{"pelton/wrapper": k.program(t, "bare")})
	k.bare(t, r, ns, "usual", image, "http", true)
	k.bare(t, r, ns, "lean", image, "http", false)
	k.bare(t, r, ns, "grpc", image, "grpc", false)

	n := 0
	run := func(b domain.Build) *apptest.Told {
		n++
		sink := apptest.NewTold()
		r.Start(apptest.Attempt(fmt.Sprint("x", n), b, "x"), sink)
		require.Equal(t, app.Completed, sink.End(t).Outcome)
		r.Forget(fmt.Sprint("x", n))
		return sink
	}
	since, early := map[string][]time.Duration{}, 0
	cold := func() {
		begun := time.Now()
		sink := run(b)
		checkPhases(t, sink, begun, time.Now())
		for _, p := range coldPhases {
			since[p] = append(since[p], sink.At[p].Sub(begun))
		}
		if !sink.At["pulled"].After(sink.At["launched"]) {
			early++
		}
	}
	get := func(service string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+k.gateway+"/", nil)
		require.NoError(t, err)
		req.Host = service + "." + ns + ".svc.cluster.local"
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, http.StatusOK, resp.StatusCode)
	}
	conn, err := grpc.NewClient("passthrough:///"+k.gateway, append(common(), grpc.WithAuthority("grpc."+ns+".svc.cluster.local"))...)
	require.NoError(t, err)
	defer conn.Close()
	check := func() {
		_, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
		require.NoError(t, err)
	}
	calls := []struct {
		name string
		call func()
		took []time.Duration
	}{{"python action", cold, nil}, {"bare HTTP service as it comes", func() { get("usual") }, nil}, {"bare HTTP service without volumes", func() { get("lean") }, nil}}
	for round := range 10 {
		require.Eventually(t, func() bool { return k.allAtZero(r, ns) }, 3*time.Minute, 200*time.Millisecond, "they scale to zero")
		for i := range calls {
			c := &calls[(i+round)%len(calls)]
			begun := time.Now()
			c.call()
			c.took = append(c.took, time.Since(begun))
		}
	}
	for _, c := range calls {
		t.Logf("cold start of a %s: median %s of %v", c.name, median(c.took), rounded(c.took))
	}
	line := ""
	for _, p := range coldPhases {
		line += fmt.Sprintf(" %s %s", p, median(since[p]).Round(time.Millisecond))
	}
	t.Logf("phases of a cold start, medians after its beginning:%s; the image was there before its container began %d times of %d", line, early, len(since["pulled"]))
	require.Positive(t, early)
	warm := []struct {
		name string
		call func()
		took []time.Duration
	}{{"bare gRPC call", check, nil}, {"execution in a process that is reused", func() { run(reused) }, nil}, {"execution in a forked process", func() { run(b) }, nil}}
	for round := range 301 {
		for i := range warm {
			begun := time.Now()
			warm[i].call()
			if round > 0 { // the first one wakes it
				warm[i].took = append(warm[i].took, time.Since(begun))
			}
		}
	}
	for _, w := range warm {
		t.Logf("warm: %s %s, %.2f of a bare call by the same path", w.name, median(w.took).Round(10*time.Microsecond), float64(median(w.took))/float64(median(warm[0].took)))
	}
}

// allAtZero tells that no revision of a namespace has pods, nor wants any.
func (k *real) allAtZero(r *Runner, ns string) bool {
	list, err := r.cluster.kube.AppsV1().Deployments(ns).List(context.Background(), metav1.ListOptions{})
	if err != nil {
		return false
	}
	for _, d := range list.Items {
		if *d.Spec.Replicas != 0 || d.Status.Replicas != 0 {
			return false
		}
	}
	return len(list.Items) > 0
}

func median(d []time.Duration) time.Duration {
	s := slices.Clone(d)
	slices.Sort(s)
	return s[len(s)/2]
}

func rounded(d []time.Duration) []time.Duration {
	out := make([]time.Duration, len(d))
	for i := range d {
		out[i] = d[i].Round(time.Millisecond)
	}
	return out
}
