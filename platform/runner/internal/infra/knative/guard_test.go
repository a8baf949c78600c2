package knative

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clienttesting "k8s.io/client-go/testing"

	"github.com/pelton-run/pelton/platform/runner/internal/app/apptest"
)

// TestABusyPodKeepsItsCost while another replica takes it back, and when it could not be set at once.
func TestABusyPodKeepsItsCost(t *testing.T) {
	s, r, b := bare(t, nil)
	k, err := r.backend("acme", b)
	require.NoError(t, err)
	pods := s.kube.CoreV1().Pods("pelton-acme")
	_, err = pods.Create(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "pelton-acme", UID: "p", Labels: map[string]string{labelManaged: "pelton", labelInstallation: "pelton", labelRole: roleService, labelBuild: shortBuild(b.Digest)}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.9.0.1"}}, metav1.CreateOptions{})
	require.NoError(t, err)
	seen := func(cost string) {
		t.Helper()
		s.eventually(func() bool { p, _ := r.pods.get("pelton-acme", "p"); return p != nil && p.cost == cost }, "the cost "+cost)
	}
	s.sees(r, "p")
	refuse := make(chan struct{}, 1)
	refuse <- struct{}{}
	refused := make(chan struct{})
	s.kube.PrependReactor("patch", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		select {
		case <-refuse:
			close(refused)
			return true, nil, errors.New("not now")
		default:
			return false, nil, nil
		}
	})
	now := time.Now()
	u := &run{r: r, b: k, x: apptest.Attempt("x1", b, ""), role: roleService, address: "10.9.0.1", began: now}
	busy := map[string]*busyPod{}
	protect := func(after time.Duration) { r.protect(busy, "pelton-acme", "p", u, now.Add(after)) }
	protect(0)
	<-refused
	protect(costAgain)
	seen(busyCost)
	_, err = pods.Patch(t.Context(), "p", types.MergePatchType, merge(annotateCost, nil), metav1.PatchOptions{}) // another replica's
	require.NoError(t, err)
	seen("")
	protect(2 * costAgain)
	seen(busyCost)
	for _, p := range busy {
		p.close()
	}
}
