package knative

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"knative.dev/serving/pkg/apis/autoscaling"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/slug"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// compute is what a build's metadata asks for, as the studio passes it on.
type compute struct {
	GPU *struct {
		Count int    `json:"count"`
		Model string `json:"model"`
	} `json:"gpu"`
	Kubernetes struct {
		Labels             map[string]string `json:"labels"`
		NodeSelector       map[string]string `json:"node_selector"`
		Annotations        map[string]string `json:"annotations"`
		ServiceAccountName string            `json:"service_account_name"`
		RuntimeClassName   string            `json:"runtime_class_name"`
	} `json:"kubernetes"`
}

// order is everything that the objects of a build are made of.
type order struct {
	project string
	build   domain.Build
	image   string
	compute compute
	callKey string // PEM of the public key
}

// newOrder checks what a build asks for.
func newOrder(project string, b domain.Build, callKey []byte) (*order, error) {
	image, ok := strings.CutPrefix(b.Artifact, "image://")
	if !ok {
		return nil, fault.New(fault.Unsupported, "the artifact %s of %s is no image: build it with builder.backend kaniko:, then scan its repository again", b.Artifact, b.Action)
	}
	if _, digest, ok := strings.Cut(image, "@"); !ok || !strings.HasPrefix(digest, "sha256:") {
		return nil, fault.New(fault.Invalid, "the image %s of %s is not named by its digest", image, b.Action)
	}
	o := &order{project: project, build: b, image: image, callKey: string(callKey)}
	if len(b.Compute) > 0 {
		if err := json.Unmarshal(b.Compute, &o.compute); err != nil {
			return nil, fault.Wrap(err, fault.Invalid, "what %s asks for of the cluster cannot be read", b.Action)
		}
	}
	for key := range o.compute.Kubernetes.Labels {
		if domain, _, ok := strings.Cut(key, "/"); ok && reserved(domain) {
			return nil, fault.InvalidField("addons.kubernetes.labels", fmt.Sprintf("%s has %s, whose domain is not the author's: services and network policies go by it", b.Action, key), "take a label of a domain of your own")
		}
	}
	return o, nil
}

// reserved tells whether labels of a domain mean something to the platform, to Knative or to Kubernetes: an action that chose
// them could leave the project's network policy, or be taken for a part of another service. The recommended labels
// (app.kubernetes.io) mean nothing.
func reserved(domain string) bool {
	return domain != "app.kubernetes.io" && slices.ContainsFunc([]string{"knative.dev", "kubernetes.io", "k8s.io", "pelton.dev"}, func(d string) bool {
		return domain == d || strings.HasSuffix(domain, "."+d)
	})
}

// concurrency is how many executions a pod runs at a time.
func (o *order) concurrency() int { return max(1, o.build.Concurrency) }

// maxScale is how many pods a build may have: the add-on's annotation, else the setting.
func (o *order) maxScale(s *Settings) int {
	if n, err := strconv.Atoi(o.compute.Kubernetes.Annotations[autoscaling.MaxScaleAnnotationKey]); err == nil && n > 0 {
		return n
	}
	return s.MaxScale
}

// parting is what a pod has beyond its executions' limit for saying how they ended.
const parting = 30 * time.Second

// timeout is how long one call to the build's service may last.
func (o *order) timeout(s *Settings) time.Duration {
	limit := time.Duration(o.build.TimeoutMillis) * time.Millisecond
	if limit > 0 && limit <= s.Long {
		// A step may allow itself more than its action does, up to what makes it a Job.
		return s.Long + parting
	}
	return s.Timeout
}

// labels are those of every object of a build.
func (o *order) labels(s *Settings, role string) map[string]string {
	return map[string]string{labelManaged: "pelton", labelInstallation: s.Installation, labelProject: slug.Of(o.project), labelBuild: shortBuild(o.build.Digest), labelRole: role}
}

// podLabels are the add-on's with ours, which win.
func (o *order) podLabels(s *Settings, role string) map[string]string {
	out := map[string]string{}
	for k, v := range o.compute.Kubernetes.Labels {
		out[k] = v
	}
	for k, v := range o.labels(s, role) {
		out[k] = v
	}
	return out
}

func (o *order) annotations() map[string]string {
	return map[string]string{annotationProject: o.project, annotationBuild: o.build.Digest, annotationAction: o.build.Action}
}

// podAnnotations are the add-on's with ours, which win.
func (o *order) podAnnotations() map[string]string {
	out := map[string]string{}
	for k, v := range o.compute.Kubernetes.Annotations {
		out[k] = v
	}
	for k, v := range o.annotations() {
		out[k] = v
	}
	return out
}

func (o *order) resources(s *Settings) corev1.ResourceRequirements {
	cpu, memory := s.CPU, s.Memory
	request := memory
	if o.build.CPU > 0 {
		cpu = *resource.NewMilliQuantity(int64(o.build.CPU*1000), resource.DecimalSI)
	}
	if o.build.MemoryBytes > 0 {
		memory = *resource.NewQuantity(o.build.MemoryBytes, resource.BinarySI)
		request = memory
	} else { // nobody said what it needs: it gets room, and is placed by a part of that
		request = *resource.NewQuantity(memory.Value()/4, resource.BinarySI)
	}
	r := corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: cpu, corev1.ResourceMemory: request},
		Limits:   corev1.ResourceList{corev1.ResourceMemory: memory},
	}
	if g := o.compute.GPU; g != nil && g.Count > 0 {
		r.Limits[corev1.ResourceName(s.GPUResource)] = *resource.NewQuantity(int64(g.Count), resource.DecimalSI)
	}
	return r
}

func ptr[T any](v T) *T { return &v }

// container is the same in services, Jobs and sources. It has no volume of any kind: one costs a cold
// start 300 ms, since the kubelet looks again for mounted volumes only after that.
func (o *order) container(s *Settings) corev1.Container {
	return corev1.Container{
		Name: containerName, Image: o.image,
		Env: []corev1.EnvVar{
			{Name: "PELTON_CALL_KEY", Value: o.callKey},
			{Name: "PELTON_AUDIENCE", Value: audienceOf(o.project, o.build.Digest)},
		},
		Resources: o.resources(s),
		SecurityContext: &corev1.SecurityContext{
			RunAsNonRoot: ptr(true), RunAsUser: ptr(int64(65532)), RunAsGroup: ptr(int64(65532)),
			AllowPrivilegeEscalation: ptr(false), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		// Without a period of its own, queue-proxy's probe comes every 10 s, and a pod that misses the
		// first one is ready that much later.
		ReadinessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(0)}}, PeriodSeconds: 1},
	}
}

func (o *order) podSpec(s *Settings) corev1.PodSpec {
	k := o.compute.Kubernetes
	p := corev1.PodSpec{
		AutomountServiceAccountToken: ptr(false), EnableServiceLinks: ptr(false),
		ServiceAccountName: k.ServiceAccountName, NodeSelector: k.NodeSelector, Containers: []corev1.Container{o.container(s)},
	}
	if k.RuntimeClassName != "" {
		p.RuntimeClassName = ptr(k.RuntimeClassName)
	}
	if s.PullCredentials != "" {
		p.ImagePullSecrets = []corev1.LocalObjectReference{{Name: pullSecret}}
	} else if s.PullSecret != "" {
		p.ImagePullSecrets = []corev1.LocalObjectReference{{Name: s.PullSecret}}
	}
	if g := o.compute.GPU; g != nil && g.Model != "" {
		p.NodeSelector = map[string]string{"nvidia.com/gpu.product": g.Model}
		for key, v := range k.NodeSelector {
			p.NodeSelector[key] = v
		}
	}
	return p
}

// makeService makes the Knative Service of a build of a processor.
func makeService(o *order, s *Settings) *servingv1.Service {
	seconds := int64(o.timeout(s) / time.Second)
	template := map[string]string{
		autoscaling.MinScaleAnnotationKey:     strconv.Itoa(s.MinScale),
		autoscaling.MaxScaleAnnotationKey:     strconv.Itoa(s.MaxScale),
		autoscaling.InitialScaleAnnotationKey: strconv.Itoa(max(s.InitialScale, s.MinScale)),
	}
	if s.ScaleDownDelay > 0 {
		template[autoscaling.ScaleDownDelayAnnotationKey] = s.ScaleDownDelay.String()
	}
	if s.Window > 0 {
		template[autoscaling.WindowAnnotationKey] = s.Window.String()
	}
	for key, v := range o.podAnnotations() {
		template[key] = v
	}
	template[autoscaling.TargetUtilizationPercentageKey] = "100"
	// The activator stays in the path: it spreads calls over pods, which one connection to the service
	// does not, and calls straight to a pod count for the autoscaler only so.
	template[autoscaling.TargetBurstCapacityKey] = "100000"
	spec := o.podSpec(s)
	spec.Containers[0].Ports = []corev1.ContainerPort{{Name: "h2c", ContainerPort: userPort}}
	labels := o.labels(s, roleService)
	labels["networking.knative.dev/visibility"] = "cluster-local"
	return &servingv1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "serving.knative.dev/v1", Kind: "Service"},
		ObjectMeta: metav1.ObjectMeta{Name: serviceName(o.build.Action, o.build.Digest), Namespace: s.namespaceOf(o.project), Labels: labels, Annotations: o.annotations()},
		Spec: servingv1.ServiceSpec{ConfigurationSpec: servingv1.ConfigurationSpec{Template: servingv1.RevisionTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: o.podLabels(s, roleService), Annotations: template},
			Spec: servingv1.RevisionSpec{
				PodSpec: spec, ContainerConcurrency: ptr(int64(o.concurrency())), TimeoutSeconds: ptr(seconds),
			},
		}}},
	}
}

// plainPod is the pod of a Job or a source: nothing is between its caller and the wrapper.
func (o *order) plainPod(s *Settings, role string, annotations map[string]string, grace time.Duration) corev1.PodTemplateSpec {
	spec := o.podSpec(s)
	c := &spec.Containers[0]
	c.Ports = []corev1.ContainerPort{{Name: "h2c", ContainerPort: userPort}}
	c.Env = append(c.Env, corev1.EnvVar{Name: "PORT", Value: strconv.Itoa(userPort)})
	if role == roleJob {
		c.Env = append(c.Env, corev1.EnvVar{Name: "PELTON_ONCE", Value: "true"})
	}
	c.ReadinessProbe.TCPSocket.Port = intstr.FromInt32(userPort)
	spec.TerminationGracePeriodSeconds = ptr(int64(grace / time.Second))
	all := o.podAnnotations()
	for k, v := range annotations {
		all[k] = v
	}
	return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: o.podLabels(s, role), Annotations: all}, Spec: spec}
}

// finalizerJob keeps a Job that somebody deletes until the runner knows: an execution without a Job has
// never been started.
const finalizerJob = "pelton.dev/execution"

// makeJob makes the Job of one long execution. It runs once: another attempt is the runner's to decide.
func makeJob(o *order, s *Settings, execution string) *batchv1.Job {
	note := map[string]string{annotationExecution: execution}
	pod := o.plainPod(s, roleJob, note, parting)
	pod.Annotations["cluster-autoscaler.kubernetes.io/safe-to-evict"] = "false"
	pod.Spec.RestartPolicy = corev1.RestartPolicyNever
	annotations := o.annotations()
	annotations[annotationExecution] = execution
	return &batchv1.Job{
		TypeMeta: metav1.TypeMeta{APIVersion: "batch/v1", Kind: "Job"},
		ObjectMeta: metav1.ObjectMeta{Name: jobName(execution), Namespace: s.namespaceOf(o.project), Labels: o.labels(s, roleJob), Annotations: annotations,
			Finalizers: []string{finalizerJob}},
		Spec: batchv1.JobSpec{BackoffLimit: ptr(int32(0)), Template: pod},
	}
}

// makeSource makes the StatefulSet of one source: at most one pod of that name exists at any time.
func makeSource(o *order, s *Settings, execution, workflow, trigger string) *appsv1.StatefulSet {
	note := map[string]string{annotationExecution: execution}
	name := sourceName(o.project, workflow, trigger)
	pod := o.plainPod(s, roleSource, note, 10*time.Second)
	pod.Labels["pelton.dev/source"] = name
	annotations := o.annotations()
	annotations[annotationExecution] = execution
	return &appsv1.StatefulSet{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "StatefulSet"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: s.namespaceOf(o.project), Labels: o.labels(s, roleSource), Annotations: annotations},
		Spec: appsv1.StatefulSetSpec{Replicas: ptr(int32(1)), ServiceName: name, PodManagementPolicy: appsv1.ParallelPodManagement,
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"pelton.dev/source": name}}, Template: pod},
	}
}
