package knative

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"knative.dev/serving/pkg/apis/autoscaling"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/app/apptest"
)

const visibility = "networking.knative.dev/visibility"

// TestClusterObjects: the pod and the revision of a service are in the cluster as they were meant, and what others take
// away comes back.
func TestClusterObjects(t *testing.T) {
	k := openReal(t)
	r := k.runner(t, "&max-scale=2")
	b := k.build(t, reports, 3)
	require.NoError(t, r.Ensure(t.Context(), "acme", b))
	ns, name := r.set.namespaceOf("acme"), serviceName(b.Action, b.Digest)
	service := func() *unstructured.Unstructured {
		u, err := r.cluster.get(context.Background(), services, ns, name)
		require.NoError(t, err)
		return u
	}
	t.Run("the pod", func(t *testing.T) {
		list, err := r.cluster.kube.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{LabelSelector: labelBuild + "=" + shortBuild(b.Digest)})
		require.NoError(t, err)
		require.NotEmpty(t, list.Items)
		spec := list.Items[0].Spec
		require.Empty(t, spec.Volumes)
		require.Equal(t, ptr(false), spec.AutomountServiceAccountToken)
		require.Equal(t, ptr(false), spec.EnableServiceLinks)
		require.False(t, spec.HostNetwork || spec.HostPID || spec.HostIPC)
		found := false
		for _, c := range spec.Containers {
			require.Empty(t, c.VolumeMounts, c.Name)
			if c.Name != containerName {
				continue
			}
			found = true
			s := c.SecurityContext
			require.NotNil(t, s)
			require.Equal(t, ptr(true), s.RunAsNonRoot)
			require.Equal(t, ptr(int64(65532)), s.RunAsUser)
			require.Equal(t, ptr(false), s.AllowPrivilegeEscalation)
			require.False(t, s.Privileged != nil && *s.Privileged)
			require.Equal(t, []corev1.Capability{"ALL"}, s.Capabilities.Drop)
			require.Empty(t, s.Capabilities.Add)
			require.Equal(t, corev1.SeccompProfileTypeRuntimeDefault, s.SeccompProfile.Type)
		}
		require.True(t, found, "the pod has the container %s", containerName)
	})
	t.Run("the revision", func(t *testing.T) {
		latest, _, _ := unstructured.NestedString(service().Object, "status", "latestReadyRevisionName")
		u, err := r.cluster.get(t.Context(), schema.GroupVersionResource{Group: services.Group, Version: "v1", Resource: "revisions"}, ns, latest)
		require.NoError(t, err)
		require.NotNil(t, u)
		var rev servingv1.Revision
		require.NoError(t, runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &rev))
		require.Equal(t, "100000", rev.Annotations[autoscaling.TargetBurstCapacityKey])
		require.Equal(t, "100", rev.Annotations[autoscaling.TargetUtilizationPercentageKey])
		require.Equal(t, "2", rev.Annotations[autoscaling.MaxScaleAnnotationKey])
		require.Equal(t, "0", rev.Annotations[autoscaling.MinScaleAnnotationKey])
		require.Equal(t, ptr(int64(3)), rev.Spec.ContainerConcurrency)
		require.Equal(t, ptr(int64(600)), rev.Spec.TimeoutSeconds)
		probe := rev.Spec.Containers[0].ReadinessProbe // queue-proxy asks in the container's place
		require.NotNil(t, probe)
		require.NotNil(t, probe.TCPSocket)
		require.EqualValues(t, 1, probe.PeriodSeconds)
	})
	local := func() bool {
		u := service()
		url, _, _ := unstructured.NestedString(u.Object, "status", "url")
		return u.GetLabels()[visibility] == "cluster-local" && strings.HasSuffix(url, ".svc.cluster.local")
	}
	t.Run("it is visible in the cluster only", func(t *testing.T) { require.True(t, local()) })
	t.Run("a policy and a quota come back with the next renewal", func(t *testing.T) {
		for _, kind := range []string{"NetworkPolicy", "ResourceQuota", "LimitRange"} {
			was, err := r.cluster.get(t.Context(), resources[kind], ns, "pelton")
			require.NoError(t, err)
			require.NotNil(t, was, kind)
			require.NoError(t, r.cluster.remove(t.Context(), resources[kind], ns, "pelton"))
			r.renew()
			is, err := r.cluster.get(t.Context(), resources[kind], ns, "pelton")
			require.NoError(t, err)
			require.NotNil(t, is, kind)
			require.NotEqual(t, was.GetUID(), is.GetUID())
			require.Equal(t, was.Object["spec"], is.Object["spec"], kind)
		}
	})
	t.Run("what is right is left as it is", func(t *testing.T) {
		was := service()
		_, err := r.cluster.apply(t.Context(), mustPlain(t, r, b.Digest))
		require.NoError(t, err)
		require.Equal(t, was.GetGeneration(), service().GetGeneration())
	})
	t.Run("a service that is published is taken back", func(t *testing.T) {
		_, err := r.cluster.in(services, ns).Patch(t.Context(), name, types.MergePatchType, []byte(`{"metadata":{"labels":{"`+visibility+`":null}}}`), metav1.PatchOptions{})
		require.NoError(t, err)
		require.Eventually(t, local, time.Minute, 200*time.Millisecond)
	})
	t.Run("a service that is deleted is made again", func(t *testing.T) {
		was := service().GetUID()
		require.NoError(t, r.cluster.remove(t.Context(), services, ns, name))
		require.Eventually(t, func() bool { u := service(); return u != nil && u.GetUID() != was }, 2*time.Minute, 200*time.Millisecond)
		sink := apptest.NewTold()
		r.Start(apptest.Attempt("again", b, k.text("again", "0")), sink)
		e := waitLong(t, sink)
		require.Equal(t, app.Completed, e.Outcome, e.Error)
	})
}

// mustPlain is a build's service as it is applied.
func mustPlain(t *testing.T, r *Runner, digest string) *unstructured.Unstructured {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	u, err := plain(makeService(r.backends["acme/"+digest].o, r.set))
	require.NoError(t, err)
	return u
}

// TestClusterTimeLimit: an execution of no declared limit that passes that of its service is told so.
func TestClusterTimeLimit(t *testing.T) {
	k := openReal(t)
	r := k.runner(t, "&max-scale=1&long=5s&timeout=5s")
	b := k.build(t, reports, 1)
	require.NoError(t, r.Ensure(t.Context(), "acme", b))
	sink := apptest.NewTold()
	begun := time.Now()
	r.Start(apptest.Attempt("slow", b, k.text("slow", "15")), sink)
	e := waitLong(t, sink)
	t.Logf("%v after %s", e.Error, time.Since(begun).Round(time.Millisecond))
	require.Equal(t, app.Failed, e.Outcome)
	require.Equal(t, "timeout", e.Error.Kind)
	require.Contains(t, e.Error.Message, "it took longer than the 5s that a call to its service may last")
	<-time.After(time.Until(begun.Add(20 * time.Second)))
	require.Zero(t, k.log.count("end/slow"), "its handler was ended")
}
