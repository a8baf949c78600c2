package kaniko

import (
	"maps"
	"slices"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pelton-run/pelton/builder/internal/infra/kaniko/spec"
)

// Labels of Jobs and their pods.
const (
	labelPart  = "app.kubernetes.io/component"
	labelOrder = "pelton.dev/order"
	partOf     = "builder"
)

// Names of secrets that the builder keeps in the namespace of its Jobs, and of a Job's containers.
const (
	secretPush     = "builder-push"     //nolint:gosec // a name
	secretPull     = "builder-pull"     //nolint:gosec // a name
	secretEnv      = "builder-env"      //nolint:gosec // a name
	secretExecutor = "builder-executor" //nolint:gosec // a name

	fetchContainer = "fetch"
	buildContainer = "build"
	pushContainer  = "push"
)

// task is what a Job is to do.
type task struct {
	Order   string // id of the order
	Project string
	Build   string // digest
	Kind    string // deps | code | tools
	build   string // the build container's order, packed
	push    string // the push container's order, packed
	fetch   string // the fetch container's order, packed; "" = the build pulls by itself
	args    map[string]string
}

// name is the same when an order is delivered again: the Job under way is found, not made twice.
func (t task) name() string { return "build-" + strings.ToLower(t.Order) + "-" + t.Kind }

// makeJob is the Job of a task: a container that builds, as root, with no credentials and with code of
// an author, and after it one that pushes, which has credentials and runs none of that code. Where the image that the
// build starts from wants credentials, too, a first one like that fetches it.
func makeJob(t task, s Settings) *batchv1.Job {
	labels := map[string]string{"app.kubernetes.io/name": "pelton", labelPart: partOf, labelOrder: strings.ToLower(t.Order)}
	pod := corev1.PodSpec{
		RestartPolicy:                 corev1.RestartPolicyNever,
		AutomountServiceAccountToken:  new(false),
		EnableServiceLinks:            new(false),
		TerminationGracePeriodSeconds: new(int64(5)),
		HostNetwork:                   s.HostNetwork,
		Tolerations:                   []corev1.Toleration{away(corev1.TaintNodeNotReady), away(corev1.TaintNodeUnreachable)},
		SecurityContext:               &corev1.PodSecurityContext{SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
		InitContainers:                []corev1.Container{makeBuild(t, s)},
		Containers:                    []corev1.Container{makePush(t, s)},
		Volumes: []corev1.Volume{
			scratch("kaniko", s.Limits.Disk), scratch("out", s.Limits.Disk),
			secret("env", secretEnv), secret("pull", secretPull), secret("push", secretPush),
		},
	}
	if t.fetch != "" {
		pod.InitContainers = append([]corev1.Container{makeFetch(t, s)}, pod.InitContainers...)
		pod.Volumes = append(pod.Volumes, scratch("base", s.Limits.Disk))
	}
	if s.ExecutorCredentials != "" {
		pod.ImagePullSecrets = []corev1.LocalObjectReference{{Name: secretExecutor}}
	}
	if len(s.Nameservers) > 0 {
		pod.DNSPolicy, pod.DNSConfig = corev1.DNSNone, &corev1.PodDNSConfig{Nameservers: s.Nameservers}
	}
	limit := s.Timeout + s.Pending
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: t.name(), Namespace: s.Namespace, Labels: labels,
			Annotations: map[string]string{"pelton.dev/project": t.Project, "pelton.dev/build": t.Build}},
		Spec: batchv1.JobSpec{
			// The builder ends a build at its limit, with words; this is for one whose builder is gone.
			ActiveDeadlineSeconds:   new(int64(limit.Seconds()) + 60),
			TTLSecondsAfterFinished: new(int32(600)),
			BackoffLimit:            new(int32(3)),
			PodFailurePolicy:        retries(&pod),
			Template:                corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: pod},
		},
	}
}

// away bounds how long a node may be silent before its pod is given up: Kubernetes would wait for 5 minutes.
func away(taint string) corev1.Toleration {
	return corev1.Toleration{Key: taint, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: new(int64(30))}
}

// retries: a pod that a node lost is made again, as is one that somebody deleted; one whose program
// came to an end of its own is not.
func retries(pod *corev1.PodSpec) *batchv1.PodFailurePolicy {
	rules := []batchv1.PodFailurePolicyRule{
		{Action: batchv1.PodFailurePolicyActionIgnore, OnPodConditions: []batchv1.PodFailurePolicyOnPodConditionsPattern{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue}}}}
	for _, c := range append(append([]corev1.Container{}, pod.InitContainers...), pod.Containers...) { // a rule names only what is there
		rules = append(rules, batchv1.PodFailurePolicyRule{Action: batchv1.PodFailurePolicyActionFailJob,
			OnExitCodes: &batchv1.PodFailurePolicyOnExitCodesRequirement{ContainerName: &c.Name, Operator: batchv1.PodFailurePolicyOnExitCodesOpIn, Values: []int32{1, 2}}})
	}
	return &batchv1.PodFailurePolicy{Rules: rules}
}

// makeBuild: kaniko unpacks images over its own root and becomes their users, which takes root and
// the few capabilities that files of other owners need; nothing of the node and no more than that.
func makeBuild(t task, s Settings) corev1.Container {
	env := []corev1.EnvVar{{Name: spec.BuildVariable, Value: t.build}}
	for _, name := range slices.Sorted(maps.Keys(t.args)) {
		if strings.HasSuffix(strings.ToUpper(name), "_PROXY") {
			env = append(env, corev1.EnvVar{Name: name, Value: t.args[name]})
		}
	}
	limits := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse(s.Limits.CPU), corev1.ResourceMemory: resource.MustParse(s.Limits.Memory),
		corev1.ResourceEphemeralStorage: resource.MustParse(s.Limits.Disk),
	}
	mounts := []corev1.VolumeMount{
		{Name: "kaniko", MountPath: "/kaniko"}, {Name: "out", MountPath: spec.Out},
		{Name: "env", MountPath: spec.Settings, ReadOnly: true}, {Name: "pull", MountPath: spec.Pull, ReadOnly: true},
	}
	if t.fetch != "" {
		mounts = append(mounts, corev1.VolumeMount{Name: "base", MountPath: spec.Base, ReadOnly: true})
	}
	return corev1.Container{
		Name: buildContainer, Image: s.Executor, ImagePullPolicy: corev1.PullIfNotPresent,
		Command: []string{"/usr/local/bin/executor", "build"}, WorkingDir: "/", Env: env,
		// It waits for a quarter of the processors, and may use more; what it may need of the disk has to be there.
		Resources: corev1.ResourceRequirements{Limits: limits, Requests: corev1.ResourceList{
			corev1.ResourceCPU: quarter(s.Limits.CPU), corev1.ResourceMemory: eighth(s.Limits.Memory)}},
		VolumeMounts: mounts,
		SecurityContext: &corev1.SecurityContext{
			RunAsUser: new(int64(0)), RunAsGroup: new(int64(0)), RunAsNonRoot: new(false), Privileged: new(false), AllowPrivilegeEscalation: new(false),
			Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}, Add: []corev1.Capability{"CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETFCAP", "SETGID", "SETUID", "SYS_CHROOT"}},
		},
	}
}

func makePush(t task, s Settings) corev1.Container {
	return makeTrusted(t, s, pushContainer, corev1.EnvVar{Name: spec.PushVariable, Value: t.push}, corev1.VolumeMount{Name: "out", MountPath: spec.Out, ReadOnly: true})
}

func makeFetch(t task, s Settings) corev1.Container {
	return makeTrusted(t, s, fetchContainer, corev1.EnvVar{Name: spec.FetchVariable, Value: t.fetch}, corev1.VolumeMount{Name: "base", MountPath: spec.Base})
}

// makeTrusted is a container that runs no code of authors, and has the registry's credentials.
func makeTrusted(t task, s Settings, command string, order corev1.EnvVar, data corev1.VolumeMount) corev1.Container {
	env := []corev1.EnvVar{order}
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"} {
		if v := t.args[name]; v != "" {
			env = append(env, corev1.EnvVar{Name: name, Value: v})
		}
	}
	return corev1.Container{
		Name: command, Image: s.Executor, ImagePullPolicy: corev1.PullIfNotPresent,
		Command: []string{"/usr/local/bin/executor", command}, WorkingDir: "/", Env: env,
		Resources: corev1.ResourceRequirements{
			Limits:   corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(s.Limits.CPU), corev1.ResourceMemory: resource.MustParse("1Gi")},
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("50m"), corev1.ResourceMemory: resource.MustParse("64Mi")}},
		VolumeMounts: []corev1.VolumeMount{data, {Name: "push", MountPath: spec.Credentials, ReadOnly: true}},
		SecurityContext: &corev1.SecurityContext{
			RunAsUser: new(int64(65532)), RunAsGroup: new(int64(65532)), RunAsNonRoot: new(true), AllowPrivilegeEscalation: new(false), ReadOnlyRootFilesystem: new(true),
			Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		},
	}
}

func quarter(cpu string) resource.Quantity {
	q := resource.MustParse(cpu)
	return *resource.NewMilliQuantity(max(q.MilliValue()/4, 10), resource.DecimalSI)
}

func eighth(memory string) resource.Quantity {
	q := resource.MustParse(memory)
	return *resource.NewQuantity(q.Value()/8, resource.BinarySI)
}

func scratch(name, size string) corev1.Volume {
	q := resource.MustParse(size)
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: &q}}}
}

func secret(name, of string) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: of, Optional: new(true), DefaultMode: new(int32(0o444))}}}
}
