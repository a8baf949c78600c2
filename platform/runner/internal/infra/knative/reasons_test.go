package knative

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	discoveryfake "k8s.io/client-go/discovery/fake"
	"k8s.io/client-go/kubernetes/fake"
)

func TestTroubleOfAPod(t *testing.T) {
	waits := func(reason, message string) *corev1.Pod {
		return &corev1.Pod{Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: containerName, Image: "r/x@sha256:1",
			State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}}}}}
	}
	unscheduled := func(message string) *corev1.Pod {
		return &corev1.Pod{Spec: corev1.PodSpec{NodeSelector: map[string]string{"disk": "fast"}}, Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: message}}}}
	}
	loop := waits("CrashLoopBackOff", "")
	loop.Status.ContainerStatuses[0].LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ExitCode: 2}
	oom := waits("CrashLoopBackOff", "")
	oom.Status.ContainerStatuses[0].LastTerminationState.Terminated = &corev1.ContainerStateTerminated{Reason: "OOMKilled"}
	for name, c := range map[string]struct {
		pod   *corev1.Pod
		want  string
		final bool
	}{
		"image missing":     {waits("ErrImagePull", `failed to resolve reference: not found`), "its image r/x@sha256:1 is not in the registry: scan its repository again", true},
		"wrong credentials": {waits("ImagePullBackOff", `pull access denied, authorization failed`), "the registry does not give its image r/x@sha256:1 to the cluster: see pull-credentials", true},
		"registry's TLS":    {waits("ErrImagePull", "http: server gave HTTP response to HTTPS client"), "do not trust the registry", true},
		"registry away":     {waits("ErrImagePull", "connection refused"), "cannot be pulled: connection refused", false},
		"node selector":     {unscheduled("0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."), "no node of the cluster has the labels that its node selector asks for (disk=fast)", true},
		"no room":           {unscheduled("0/1 nodes are available: 1 Insufficient cpu."), "the cluster has no room for it now", false},
		"crash":             {loop, "ended at its start with exit code 2", true},
		"out of memory":     {oom, "raise resources.memory", true},
	} {
		got := troubleOf(c.pod)
		require.NotNil(t, got, name)
		require.Contains(t, got.words, c.want, name)
		require.Equal(t, c.final, got.final, name)
	}
	for _, quiet := range []*corev1.Pod{{}, waits("ContainerCreating", ""), waits("PodInitializing", "")} {
		require.Nil(t, troubleOf(quiet))
	}
}

func TestErrorsOfTheClusterInWords(t *testing.T) {
	kube := fake.NewClientset()
	c := &cluster{kube: kube}
	offers := func(lists ...*metav1.APIResourceList) {
		kube.Discovery().(*discoveryfake.FakeDiscovery).Resources = lists
	}
	noKind := &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Reason: metav1.StatusReasonNotFound, Code: 404, Message: "the server could not find the requested resource"}}
	group := schema.GroupResource{Group: "serving.knative.dev", Resource: "services"}
	offers(&metav1.APIResourceList{GroupVersion: "apps/v1"})
	require.ErrorContains(t, c.words(t.Context(), noKind, "apply the Service x"), "the cluster has no Knative Serving: install it")
	offers(&metav1.APIResourceList{GroupVersion: "serving.knative.dev/v2"})
	require.ErrorContains(t, c.words(t.Context(), noKind, "apply the Service x"), "offers its services as v2, and this Pelton knows v1")
	for text, err := range map[string]error{
		"kubernetes.podspec-nodeselector: enabled": apierrors.NewBadRequest(`admission webhook "validation.webhook.serving.knative.dev" denied the request: validation failed: must not set the field(s): spec.template.spec.nodeSelector`),
		"max-revision-timeout-seconds":             apierrors.NewBadRequest(`validation failed: expected 0 <= 900 <= 600: spec.template.spec.timeoutSeconds`),
		"give it the roles that platform/docs":     apierrors.NewForbidden(group, "x", errors.New("no")),
		"does not know the platform's credentials": apierrors.NewUnauthorized("who"),
		"the project's quota is exhausted: pelton": apierrors.NewForbidden(group, "x", errors.New("exceeded quota: pelton, requested: pods=1")),
		"the cluster refuses it: odd":              apierrors.NewBadRequest("odd"),
		"the cluster cannot be used":               errors.New("connection refused"),
	} {
		require.ErrorContains(t, c.words(t.Context(), err, "apply the Service x"), text)
	}
	require.True(t, transient(c.words(t.Context(), errors.New("connection refused"), "x")))
	require.False(t, transient(c.words(t.Context(), apierrors.NewBadRequest("odd"), "x")))
	require.ErrorContains(t, refused(`pods "x" is forbidden: exceeded quota: pelton, requested: pods=1, used: pods=2, limited: pods=2`), "quota is exhausted: pelton, requested")
}

func TestHowCallsEnd(t *testing.T) {
	require.Equal(t, failsUnsent, classify(status.Error(codes.Unavailable, "connection refused"), false, false))
	require.Equal(t, failsNoRoute, classify(status.Error(codes.Unimplemented, "unexpected HTTP status code received from server: 404 (Not Found)"), true, false))
	require.Equal(t, failsToken, classify(status.Error(codes.Unauthenticated, "the token is not valid"), true, false))
	cut := status.Error(codes.Internal, "server closed the stream without sending trailers")
	require.Equal(t, failsToken, classify(cut, true, true))
	require.Equal(t, failsUnsure, classify(cut, true, false), "an instance may have begun it, and died")
	require.Equal(t, failsUnsure, classify(status.Error(codes.Internal, "stream terminated by RST_STREAM"), true, true))
	require.Equal(t, failsBusy, classify(status.Error(codes.Unavailable, "unexpected HTTP status code received from server: 503 (Service Unavailable)"), true, false))
	require.Equal(t, failsUnsure, classify(status.Error(codes.Unavailable, "unexpected HTTP status code received from server: 502 (Bad Gateway)"), true, false))
	overlong := status.Error(codes.ResourceExhausted, "grpc: received message larger than max (1701934437 vs. 4194304)")
	require.True(t, cutByLimit(overlong, 10*time.Second, 10*time.Second))
	require.True(t, cutByLimit(status.Error(codes.Internal, "stream terminated by RST_STREAM"), 10*time.Second, 10*time.Second))
	require.False(t, cutByLimit(status.Error(codes.Internal, "stream terminated by RST_STREAM"), 5*time.Second, 10*time.Second), "it broke before its time")
	require.False(t, cutByLimit(status.Error(codes.ResourceExhausted, "grpc: received message larger than max (1701934437 vs. 4194304)"), time.Second, 10*time.Second))
}
