package install

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/pelton-run/pelton/platform/kit/fault"
)

// Inside says what doctor's Job is to look at.
type Inside struct {
	Name, Namespace   string // of the release
	Image, PullPolicy string
	PullSecret        string
	S3Secret          string
	Gateway           string // that takes calls to services of the cluster, "" = their own names
	RegistrySecret    string
	CABundle          bool // the settings hold certificate authorities
	Proxy             Proxy
}

// Proxy is by which requests leave the cluster, "" = directly.
type Proxy struct{ HTTP, HTTPS, No string }

// env is as the chart gives it to the services.
func (p Proxy) env(release string) (out []corev1.EnvVar) {
	if p.HTTP == "" && p.HTTPS == "" {
		return nil
	}
	if p.HTTP != "" {
		out = append(out, corev1.EnvVar{Name: "HTTP_PROXY", Value: p.HTTP})
	}
	if p.HTTPS != "" {
		out = append(out, corev1.EnvVar{Name: "HTTPS_PROXY", Value: p.HTTPS})
	}
	no := []string{"$(KUBERNETES_SERVICE_HOST)", ".svc", ".cluster.local"}
	for _, s := range Services {
		if s != "builder" { // which nobody calls
			no = append(no, release+"-"+s)
		}
	}
	if p.No != "" {
		no = append(no, p.No)
	}
	return append(out, corev1.EnvVar{Name: "NO_PROXY", Value: strings.Join(no, ",")})
}

// BusOf begins the names of the variables by which doctor has each service's URL of the broker.
const BusOf = "DOCTOR_BUS_"

// bused are the services that use the broker, each with a user of its own.
var bused = []string{"authorization", "repository", "builder", "studio", "runner", "bridge"}

// SettingsFile is where pods of the platform have their settings.
const SettingsFile = "/etc/pelton/settings/settings.yaml"

// probeName is the name of the Knative Service and of the Job.
func (i Inside) probeName() string { return i.Name + "-doctor" }

var services = schema.GroupVersionResource{Group: "serving.knative.dev", Version: "v1", Resource: "services"}

// security is what every container of ours runs with.
func security() *corev1.SecurityContext {
	no, yes := false, true
	return &corev1.SecurityContext{AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &yes, RunAsNonRoot: &yes,
		Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}, SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}}
}

// makeProbe is a Knative Service of two pods that answers doctor's calls, reached inside the cluster alone.
func makeProbe(i Inside) *unstructured.Unstructured {
	spec := map[string]any{
		"containerConcurrency": int64(200), "timeoutSeconds": int64(300), "enableServiceLinks": false, "automountServiceAccountToken": false,
		"containers": []any{map[string]any{
			"image": i.Image, "command": []any{"/usr/local/bin/pelton-adm", "probe"},
			"ports":          []any{map[string]any{"name": "h2c", "containerPort": int64(8080)}},
			"readinessProbe": map[string]any{"httpGet": map[string]any{"path": "/healthz", "port": int64(0)}, "periodSeconds": int64(1)},
			"resources":      map[string]any{"requests": map[string]any{"cpu": "10m", "memory": "32Mi"}},
			"securityContext": map[string]any{"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "runAsNonRoot": true,
				"capabilities": map[string]any{"drop": []any{"ALL"}}, "seccompProfile": map[string]any{"type": "RuntimeDefault"}},
		}},
	}
	if i.PullSecret != "" {
		spec["imagePullSecrets"] = []any{map[string]any{"name": i.PullSecret}}
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "serving.knative.dev/v1", "kind": "Service",
		"metadata": map[string]any{"name": i.probeName(), "namespace": i.Namespace,
			"labels": map[string]any{"networking.knative.dev/visibility": "cluster-local", "app.kubernetes.io/part-of": "pelton"}},
		"spec": map[string]any{"template": map[string]any{
			"metadata": map[string]any{"annotations": map[string]any{
				"autoscaling.knative.dev/min-scale": "2", "autoscaling.knative.dev/max-scale": "2",
				"autoscaling.knative.dev/target-burst-capacity": "100000", "autoscaling.knative.dev/target-utilization-percentage": "100",
			}},
			"spec": spec,
		}},
	}}
}

// podOf is a pod that has the settings and credentials of all services, and no token of the cluster.
func podOf(i Inside, name string, command ...string) corev1.PodSpec {
	no, mode, user := false, int32(0o440), int64(65532)
	c := corev1.Container{
		Name: name, Image: i.Image, ImagePullPolicy: corev1.PullPolicy(i.PullPolicy), Command: append([]string{"/usr/local/bin/pelton-adm"}, command...),
		Env: []corev1.EnvVar{{Name: "TMPDIR", Value: "/tmp"}}, SecurityContext: security(),
		Resources:    corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse("50m"), "memory": resource.MustParse("64Mi")}},
		VolumeMounts: []corev1.VolumeMount{{Name: "tmp", MountPath: "/tmp"}, {Name: "home", MountPath: "/var/lib/pelton"}, {Name: "settings", MountPath: "/etc/pelton/settings", ReadOnly: true}, {Name: "s3", MountPath: "/etc/pelton/s3", ReadOnly: true}},
	}
	c.Env = append(c.Env, i.Proxy.env(i.Name)...)
	if i.CABundle {
		c.Env = append(c.Env, corev1.EnvVar{Name: "SSL_CERT_DIR", Value: "/etc/ssl/certs:/etc/pelton/settings"})
	}
	for _, s := range []string{"authorization", "repository", "studio", "bridge", "runner"} { // the runner's is last: its user of the broker counts
		c.EnvFrom = append(c.EnvFrom, corev1.EnvFromSource{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: i.Name + "-" + s}}})
	}
	for _, s := range bused {
		yes := true // an installation may be older than the service
		c.Env = append(c.Env, corev1.EnvVar{Name: BusOf + strings.ToUpper(s), ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
			LocalObjectReference: corev1.LocalObjectReference{Name: i.Name + "-" + s}, Key: "PELTON_BUS", Optional: &yes}}})
	}
	volumes := []corev1.Volume{
		{Name: "tmp", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		{Name: "home", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		{Name: "settings", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: i.Name + "-settings"}}}},
		{Name: "s3", VolumeSource: secretVolume(i.S3Secret, mode)},
	}
	if i.RegistrySecret != "" {
		volumes = append(volumes, corev1.Volume{Name: "registry", VolumeSource: secretVolume(i.RegistrySecret, mode, corev1.KeyToPath{Key: ".dockerconfigjson", Path: "config.json"})})
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: "registry", MountPath: "/etc/pelton/registry", ReadOnly: true})
	}
	pod := corev1.PodSpec{
		RestartPolicy: corev1.RestartPolicyNever, AutomountServiceAccountToken: &no, EnableServiceLinks: &no, Containers: []corev1.Container{c}, Volumes: volumes,
		SecurityContext: &corev1.PodSecurityContext{RunAsUser: &user, RunAsGroup: &user, FSGroup: &user},
	}
	if i.PullSecret != "" {
		pod.ImagePullSecrets = []corev1.LocalObjectReference{{Name: i.PullSecret}}
	}
	return pod
}

func secretVolume(name string, mode int32, items ...corev1.KeyToPath) corev1.VolumeSource {
	return corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: name, DefaultMode: &mode, Items: items}}
}

// makeJob is the Job that looks at the installation from inside.
func makeJob(i Inside) *batchv1.Job {
	args := []string{"doctor", "--json", "--config", SettingsFile, "--probe-host", fmt.Sprintf("%s.%s.svc.cluster.local", i.probeName(), i.Namespace)}
	if i.Gateway != "" {
		args = append(args, "--probe-gateway", i.Gateway)
	}
	once, seconds := int32(0), int64(600)
	labels := map[string]string{"app.kubernetes.io/part-of": "pelton", "app.kubernetes.io/component": "doctor"}
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: i.probeName(), Namespace: i.Namespace, Labels: labels},
		Spec:       batchv1.JobSpec{BackoffLimit: &once, ActiveDeadlineSeconds: &seconds, Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: podOf(i, "doctor", args...)}},
	}
}

// Look runs doctor's Job and gives what it printed. What it made is removed, also when it fails.
func (c *Cluster) Look(ctx context.Context, i Inside, say func(string, ...any)) ([]byte, error) {
	dyn, err := dynamic.NewForConfig(c.rest)
	if err != nil {
		return nil, err
	}
	remove := func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		back := metav1.DeletePropagationForeground
		_ = dyn.Resource(services).Namespace(i.Namespace).Delete(ctx, i.probeName(), metav1.DeleteOptions{})
		_ = c.Kube.BatchV1().Jobs(i.Namespace).Delete(ctx, i.probeName(), metav1.DeleteOptions{PropagationPolicy: &back})
		_ = c.until(ctx, func() (bool, error) { // a further call must not meet what is about to go
			_, err := c.Kube.BatchV1().Jobs(i.Namespace).Get(ctx, i.probeName(), metav1.GetOptions{})
			return apierrors.IsNotFound(err), nil
		})
	}
	remove(ctx) // what a call that was killed has left
	defer remove(ctx)
	say("a probe of two pods is started")
	if _, err := dyn.Resource(services).Namespace(i.Namespace).Create(ctx, makeProbe(i), metav1.CreateOptions{}); err != nil {
		return nil, fmt.Errorf("make the probe: %w", Words(c.rest.Host, err))
	}
	if err := c.probeReady(ctx, dyn, i); err != nil {
		return nil, err
	}
	say("a Job looks at the installation from inside, for about 90 s")
	if _, err := c.Kube.BatchV1().Jobs(i.Namespace).Create(ctx, makeJob(i), metav1.CreateOptions{}); err != nil {
		return nil, fmt.Errorf("make the Job: %w", Words(c.rest.Host, err))
	}
	return c.jobLog(ctx, i)
}

// until asks once a second.
func (c *Cluster) until(ctx context.Context, done func() (bool, error)) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		ok, err := done()
		if err != nil || ok {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (c *Cluster) probeReady(ctx context.Context, dyn dynamic.Interface, i Inside) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	last := "nothing is known of it yet"
	err := c.until(ctx, func() (bool, error) {
		o, err := dyn.Resource(services).Namespace(i.Namespace).Get(ctx, i.probeName(), metav1.GetOptions{})
		if err != nil {
			return false, nil //nolint:nilerr // it is asked again
		}
		list, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
		for _, x := range list {
			m, _ := x.(map[string]any)
			if m["type"] == "Ready" {
				last = fmt.Sprint(m["message"])
				return m["status"] == "True", nil
			}
		}
		return false, nil
	})
	if err != nil {
		return fault.New(fault.Unavailable, "the probe did not become ready: %s", last)
	}
	return nil
}

func (c *Cluster) jobLog(ctx context.Context, i Inside) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	var pod corev1.Pod
	err := c.until(ctx, func() (bool, error) {
		list, err := c.Kube.CoreV1().Pods(i.Namespace).List(ctx, metav1.ListOptions{LabelSelector: "job-name=" + i.probeName()})
		if err != nil || len(list.Items) == 0 {
			return false, nil //nolint:nilerr // it is asked again
		}
		pod = list.Items[0]
		return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed, nil
	})
	if err != nil {
		why, _ := podTrouble(Observed{Pods: []corev1.Pod{pod}}, "doctor")
		return nil, fault.New(fault.Timeout, "doctor's Job has not ended: %s", why)
	}
	r, err := c.Kube.CoreV1().Pods(i.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{}).Stream(ctx)
	if err != nil {
		return nil, Words(c.rest.Host, err)
	}
	defer r.Close()
	return io.ReadAll(io.LimitReader(r, 1<<20))
}

// Running tells what a release waits for.
func (c *Cluster) Running(ctx context.Context, release string, revision int) ([]Wait, int, error) {
	o, err := c.observe(ctx, release)
	return Waits(o, revision), len(o.Deployments), err
}

// KnativeVersion is the version that a part of Knative says of itself, "" if it says none.
func (c *Cluster) KnativeVersion(ctx context.Context, namespace string) string {
	list, err := c.Kube.AppsV1().Deployments(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return ""
	}
	for _, d := range list.Items {
		if v := d.Labels["app.kubernetes.io/version"]; v != "" {
			return v
		}
	}
	return ""
}
