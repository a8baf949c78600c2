package kaniko

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	ktesting "k8s.io/client-go/testing"
)

// podOf is a pod of the Job "j" as a cluster has it.
func podOf(name string, change func(*corev1.Pod)) *corev1.Pod {
	p := pod(change)
	p.Name, p.Namespace, p.UID, p.Spec.NodeName = name, "builds", types.UID(name), "node-1"
	p.Labels = map[string]string{"batch.kubernetes.io/job-name": "j"}
	return p
}

// following is a follower of the Job "j" on a cluster with these objects.
func following(objects ...runtime.Object) (*follower, *fake.Clientset, *[]string) {
	kube := fake.NewClientset(objects...)
	said := &[]string{}
	return &follower{c: &cluster{client: kube, namespace: "builds"}, job: "j", pending: time.Minute, log: func(line string) { *said = append(*said, line) },
		reading: map[types.UID]map[string]*reading{}, lost: map[types.UID]bool{}, given: map[types.UID]bool{}, since: time.Now()}, kube, said
}

func jobOf(conditions ...batchv1.JobCondition) *batchv1.Job {
	return &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "j", Namespace: "builds"}, Status: batchv1.JobStatus{Conditions: conditions}}
}

// TestGivenUp: a pod that its node does not end is said to have failed and is removed, once and no other than that.
func TestGivenUp(t *testing.T) {
	leaving := func(ago time.Duration, phase corev1.PodPhase) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			at := metav1.NewTime(time.Now().Add(-ago))
			p.DeletionTimestamp, p.Finalizers, p.Status.Phase = &at, []string{batchv1.JobTrackingFinalizer}, phase
		}
	}
	for name, c := range map[string]struct {
		pod  func(*corev1.Pod)
		want bool
	}{
		"runs":           {func(p *corev1.Pod) { p.Status.Phase = corev1.PodRunning }, false},
		"in its grace":   {leaving(-5*time.Second, corev1.PodRunning), false},
		"a little late":  {leaving(10*time.Second, corev1.PodRunning), false},
		"long overdue":   {leaving(time.Minute, corev1.PodRunning), true},
		"not yet begun":  {leaving(time.Minute, corev1.PodPending), true},
		"failed already": {leaving(time.Minute, corev1.PodFailed), false},
	} {
		t.Run(name, func(t *testing.T) {
			p := podOf("p", c.pod)
			f, kube, said := following(jobOf(), p)
			f.see(t.Context(), p)
			for range 2 {
				r, err := f.look(t.Context(), map[types.UID]*corev1.Pod{p.UID: p})
				require.NoError(t, err)
				require.Nil(t, r, "the Job makes another pod")
			}
			var done []string
			for _, a := range kube.Actions() {
				switch a := a.(type) {
				case ktesting.PatchAction:
					require.Equal(t, "status", a.GetSubresource())
					var patch corev1.Pod
					require.NoError(t, json.Unmarshal(a.GetPatch(), &patch))
					require.Equal(t, corev1.PodFailed, patch.Status.Phase)
					require.Equal(t, corev1.DisruptionTarget, patch.Status.Conditions[0].Type, "so that it does not count as a try")
					require.Equal(t, p.UID, patch.UID)
				case ktesting.DeleteAction:
					require.Zero(t, *a.GetDeleteOptions().GracePeriodSeconds)
					require.Equal(t, p.UID, *a.GetDeleteOptions().Preconditions.UID)
				default:
					continue
				}
				done = append(done, a.GetVerb())
			}
			if c.want {
				require.Equal(t, []string{"patch", "delete"}, done)
				require.Contains(t, *said, "the node node-1 does not answer: its pod is given up")
			} else {
				require.Empty(t, done)
			}
		})
	}
}

// TestKilled: a pod that was killed without a word is no pod that runs: the Job's own end is seen, and so is a Job that
// makes no other pod.
func TestKilled(t *testing.T) {
	dead := func(p *corev1.Pod) {
		p.Status.InitContainerStatuses[0].State, p.Status.Phase = exit(137, "Error", ""), corev1.PodFailed
	}
	for name, c := range map[string]struct {
		job     *batchv1.Job
		pending time.Duration
		says    string
	}{
		"time and again": {jobOf(batchv1.JobCondition{Type: batchv1.JobFailed, Status: corev1.ConditionTrue, Reason: batchv1.JobReasonBackoffLimitExceeded}), time.Minute, "time and again"},
		"no other pod":   {jobOf(), 0, "did not start within"},
	} {
		t.Run(name, func(t *testing.T) {
			p := podOf("p", dead)
			f, _, said := following(c.job, p)
			f.pending = c.pending
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			r, err := f.run(ctx)
			require.NoError(t, err)
			require.NotNil(t, r.Error)
			require.Contains(t, r.Error.Message, c.says)
			require.Contains(t, *said, "the build was interrupted, its pod was ended from outside (build: Error, status 137); it starts again")
		})
	}
}
