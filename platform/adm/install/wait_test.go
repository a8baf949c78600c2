package install

import (
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func deployment(service string, available, want int32) appsv1.Deployment {
	return appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app.kubernetes.io/component": service}}, Spec: appsv1.DeploymentSpec{Replicas: &want},
		Status: appsv1.DeploymentStatus{Replicas: want, UpdatedReplicas: want, AvailableReplicas: available}}
}

func pod(name, service string, state corev1.ContainerState) corev1.Pod {
	return corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app.kubernetes.io/component": service}},
		Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Image: "registry/pelton@sha256:00", State: state}}}}
}

func waiting(reason, message string) corev1.ContainerState {
	return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
}

// TestWaits: what a release waits for, in words.
func TestWaits(t *testing.T) {
	quota := deployment("studio", 0, 1)
	quota.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Message: `pods "x" is forbidden: exceeded quota: small`}}
	noNode := pod("r", "runner", corev1.ContainerState{})
	noNode.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "0/1 nodes are available: 1 Insufficient memory."}}
	crash := pod("b", "builder", waiting("CrashLoopBackOff", ""))
	crash.Status.ContainerStatuses[0].LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ExitCode: 2}
	refused := pod("setup", "setup", waiting("CrashLoopBackOff", ""))
	refused.Status.ContainerStatuses[0].LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ExitCode: 1, Message: "  waiting: something\npelton-adm: postgresql: the server at db does not let root in\n"}
	refused.Status.ContainerStatuses[0].RestartCount = 1
	once := pod("setup", "setup", corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1, Message: "pelton-adm: rabbitmq: no\n"}})
	mounting := pod("rep", "repository", waiting("ContainerCreating", ""))
	mounting.UID, mounting.Status.Phase = "u1", corev1.PodPending
	noSecret := []corev1.Event{{InvolvedObject: corev1.ObjectReference{UID: "u1"}, Reason: "FailedMount", Message: `MountVolume.SetUp failed for volume "s3" : secret "none" not found`}}
	old := deployment("runner", 2, 2)
	old.Generation = 3
	failed := batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "pelton-setup-2"}, Status: batchv1.JobStatus{Conditions: []batchv1.JobCondition{{Type: batchv1.JobFailed, Status: corev1.ConditionTrue, Reason: "BackoffLimitExceeded"}}}}
	for name, c := range map[string]struct {
		o        Observed
		why      string // "" = ready
		hopeless bool
	}{
		"ready":        {Observed{Deployments: []appsv1.Deployment{deployment("runner", 2, 2)}}, "", false},
		"half":         {Observed{Deployments: []appsv1.Deployment{deployment("runner", 1, 2)}}, "1 of 2 ready", false},
		"not seen yet": {Observed{Deployments: []appsv1.Deployment{old}}, "2 of 2 ready", false},
		"no image":     {Observed{Deployments: []appsv1.Deployment{deployment("studio", 0, 1)}, Pods: []corev1.Pod{pod("s", "studio", waiting("ImagePullBackOff", "manifest unknown"))}}, "there is no image registry/pelton@sha256:00: see image.reference", true},
		"not let in": {Observed{Deployments: []appsv1.Deployment{deployment("studio", 0, 1)}, Pods: []corev1.Pod{pod("s", "studio", waiting("ErrImagePull", `failed to pull and unpack image "registry/pelton@sha256:00": failed to resolve reference: pulling from host registry failed with status code [manifests sha256:00]: 401 Unauthorized`))}},
			"the registry does not let the node pull registry/pelton@sha256:00: see image.pullSecret", true},
		"registry away":   {Observed{Deployments: []appsv1.Deployment{deployment("studio", 0, 1)}, Pods: []corev1.Pod{pod("s", "studio", waiting("ErrImagePull", "connection refused"))}}, "cannot be pulled: connection refused", false},
		"quota":           {Observed{Deployments: []appsv1.Deployment{quota}}, "the namespace's quota does not allow a pod", true},
		"no node":         {Observed{Deployments: []appsv1.Deployment{deployment("runner", 0, 1)}, Pods: []corev1.Pod{noNode}}, "no node takes the pod: 0/1 nodes are available", false},
		"crash":           {Observed{Deployments: []appsv1.Deployment{deployment("builder", 0, 1)}, Pods: []corev1.Pod{crash}}, "it ends with code 2 again and again", false},
		"database away":   {Observed{Deployments: []appsv1.Deployment{deployment("studio", 0, 1)}, Pods: []corev1.Pod{pod("s", "studio", corev1.ContainerState{})}, Unready: map[string]string{"s": "studio store: the database does not answer"}}, "studio store: the database does not answer", false},
		"setup under way": {Observed{Jobs: []batchv1.Job{{ObjectMeta: metav1.ObjectMeta{Name: "pelton-setup-2"}}}}, "databases, users and the bucket are being made", false},
		"setup refused":   {Observed{Jobs: []batchv1.Job{{ObjectMeta: metav1.ObjectMeta{Name: "pelton-setup-2"}}}, Pods: []corev1.Pod{refused}}, "postgresql: the server at db does not let root in", true},
		"setup once":      {Observed{Jobs: []batchv1.Job{{ObjectMeta: metav1.ObjectMeta{Name: "pelton-setup-2"}}}, Pods: []corev1.Pod{once}}, "rabbitmq: no", false},
		"no secret":       {Observed{Deployments: []appsv1.Deployment{deployment("repository", 0, 1)}, Pods: []corev1.Pod{mounting}, Events: noSecret}, `a volume of the pod cannot be had: MountVolume.SetUp failed for volume "s3" : secret "none" not found`, false},
		"setup failed":    {Observed{Jobs: []batchv1.Job{failed}}, "the Job has failed (BackoffLimitExceeded)", true},
		"setup of before": {Observed{Jobs: []batchv1.Job{{ObjectMeta: metav1.ObjectMeta{Name: "pelton-setup-1"}}}}, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			got := Waits(c.o, 2)
			if c.why == "" {
				require.Empty(t, got)
				return
			}
			require.Len(t, got, 1)
			require.Contains(t, got[0].Why, c.why)
			require.Equal(t, c.hopeless, got[0].Hopeless)
		})
	}
}

// TestInside: doctor's objects run without rights, and with what the services have.
func TestInside(t *testing.T) {
	in := Inside{Name: "pelton", Namespace: "ns", Image: "i@sha256:00", S3Secret: "pelton-s3", Gateway: "10.0.0.1:80", RegistrySecret: "push", PullSecret: "pull"}
	job := makeJob(in)
	spec := job.Spec.Template.Spec
	require.False(t, *spec.AutomountServiceAccountToken)
	require.True(t, *spec.Containers[0].SecurityContext.ReadOnlyRootFilesystem)
	require.Equal(t, "pelton-runner", spec.Containers[0].EnvFrom[4].SecretRef.Name)
	require.Subset(t, spec.Containers[0].Command, []string{"--probe-host", "pelton-doctor.ns.svc.cluster.local", "--probe-gateway", "10.0.0.1:80"})
	require.Contains(t, spec.Containers[0].VolumeMounts, corev1.VolumeMount{Name: "registry", MountPath: "/etc/pelton/registry", ReadOnly: true})
	p := makeProbe(in)
	require.Equal(t, "cluster-local", p.GetLabels()["networking.knative.dev/visibility"])
}
