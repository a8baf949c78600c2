package install

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/util/exec"

	"github.com/pelton-run/pelton/platform/kit/fault"
)

// Services are those of an installation, in the order of the chart.
var Services = []string{"authorization", "repository", "builder", "studio", "runner", "bridge", "webui"}

// keyFiles are the secrets with keys of an installation (after its name and a dash), and what is in each.
var keyFiles = map[string][]string{"authorization-keys": {"signing.pem"}, "runner-keys": {"calls.pem", "secrets.key"}, "bridge-keys": {"secrets.key"}}

// dataName is the name of the pod that reaches the data.
func (i Inside) dataName() string { return i.Name + "-data" }

// makeData is a pod that waits for what it is told to do with an installation's data, for at most a day.
// With keys it has those of the services, each in a folder of its own.
func makeData(i Inside, keys bool) *corev1.Pod {
	spec := podOf(i, "data", "hold")
	day := int64(24 * 60 * 60)
	spec.ActiveDeadlineSeconds = &day
	c := &spec.Containers[0]
	c.Resources.Limits = corev1.ResourceList{"memory": resource.MustParse("1Gi")}
	for _, name := range slices.Sorted(maps.Keys(keyFiles)) {
		if !keys {
			break
		}
		spec.Volumes = append(spec.Volumes, corev1.Volume{Name: name, VolumeSource: secretVolume(i.Name+"-"+name, 0o440)})
		for _, file := range keyFiles[name] { // single files: a secret's folder is made of links
			c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: name, SubPath: file, MountPath: "/var/lib/pelton/keys/" + name + "/" + file, ReadOnly: true})
		}
	}
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: i.dataName(), Namespace: i.Namespace, Labels: map[string]string{"app.kubernetes.io/part-of": "pelton", "app.kubernetes.io/component": "data"}}, Spec: spec}
}

// Streams are those of a program in a pod.
type Streams struct {
	In       io.Reader // nil: none
	Out, Err io.Writer
}

// WithData runs pelton-adm with args in a pod that reaches an installation's data. The pod is removed
// afterwards, also when that fails; one that a call has left is removed before.
func (c *Cluster) WithData(ctx context.Context, i Inside, keys bool, s Streams, args ...string) error {
	pods := c.Kube.CoreV1().Pods(i.Namespace)
	now := int64(0)
	remove := func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		_ = pods.Delete(ctx, i.dataName(), metav1.DeleteOptions{GracePeriodSeconds: &now})
		_ = c.until(ctx, func() (bool, error) {
			_, err := pods.Get(ctx, i.dataName(), metav1.GetOptions{})
			return apierrors.IsNotFound(err), nil
		})
	}
	remove(ctx)
	defer remove(ctx)
	if _, err := pods.Create(ctx, makeData(i, keys), metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("make the pod %s: %w", i.dataName(), Words(c.rest.Host, err))
	}
	if err := c.started(ctx, i.Namespace, i.dataName()); err != nil {
		return err
	}
	return c.exec(ctx, i.Namespace, i.dataName(), s, append([]string{"/usr/local/bin/pelton-adm"}, args...))
}

// started waits until a pod's container runs.
func (c *Cluster) started(ctx context.Context, namespace, name string) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	var pod *corev1.Pod
	err := c.until(ctx, func() (bool, error) {
		p, err := c.Kube.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return false, nil //nolint:nilerr // it is asked again
		}
		pod = p
		if why, hopeless := podTrouble(Observed{Pods: []corev1.Pod{*p}}, "data"); hopeless {
			return false, fault.New(fault.Conflict, "the pod %s does not start: %s", name, why)
		}
		return p.Status.Phase == corev1.PodRunning, nil
	})
	if errors.Is(err, context.DeadlineExceeded) && pod != nil {
		why, _ := podTrouble(Observed{Pods: []corev1.Pod{*pod}}, "data")
		return fault.New(fault.Timeout, "the pod %s has not started: %s", name, why)
	}
	return err
}

// exec runs a command in a pod; a command that fails has told why.
func (c *Cluster) exec(ctx context.Context, namespace, pod string, s Streams, command []string) error {
	u := c.Kube.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Command: command, Stdin: s.In != nil, Stdout: true, Stderr: true}, scheme.ParameterCodec).URL()
	ws, err := remotecommand.NewWebSocketExecutor(c.rest, "GET", u.String())
	if err != nil {
		return err
	}
	spdy, err := remotecommand.NewSPDYExecutor(c.rest, "POST", u)
	if err != nil {
		return err
	}
	e, err := remotecommand.NewFallbackExecutor(ws, spdy, func(err error) bool { return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err) })
	if err != nil {
		return err
	}
	err = e.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: s.In, Stdout: s.Out, Stderr: s.Err})
	var code exec.CodeExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &code):
		return fault.New(fault.Conflict, "it failed in the cluster, as told above")
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return fault.Wrap(err, fault.Unavailable, "the connection to the pod %s broke: %s; begin again", pod, err)
}

// Scale gives each service of an installation its number of replicas, 0 for one that is not named, and waits
// until the pods of those have ended.
func (c *Cluster) Scale(ctx context.Context, release string, replicas map[string]int, say func(string, ...any)) error {
	o, err := c.observe(ctx, release)
	if err != nil {
		return err
	}
	for _, d := range o.Deployments {
		patch := fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, replicas[d.Labels["app.kubernetes.io/component"]])
		if _, err := c.Kube.AppsV1().Deployments(c.Namespace).Patch(ctx, d.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "pelton-adm"}); err != nil {
			return fmt.Errorf("scale %s: %w", d.Name, Words(c.rest.Host, err))
		}
	}
	wait, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	left, told := 0, false
	err = c.until(wait, func() (bool, error) {
		pods, err := c.Kube.CoreV1().Pods(c.Namespace).List(wait, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=pelton,app.kubernetes.io/instance=" + release})
		if err != nil {
			return false, nil //nolint:nilerr // it is asked again
		}
		left = 0
		for _, p := range pods.Items {
			s := p.Labels["app.kubernetes.io/component"]
			if s != "setup" && replicas[s] == 0 && p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed {
				left++
			}
		}
		if left > 0 && !told {
			say("waiting for %d pods to end", left)
			told = true
		}
		return left == 0, nil
	})
	if err != nil && ctx.Err() == nil {
		return fault.New(fault.Timeout, "%d pods of %s have not ended: kubectl -n %s get pods", left, release, c.Namespace)
	}
	return err
}

// keysOf gives what a secret is to hold: what it has, with the keys of a backup laid over it.
func keysOf(name string, have, keys map[string][]byte) map[string][]byte {
	want := map[string][]byte{}
	maps.Copy(want, have)
	for _, file := range keyFiles[name] {
		if k, ok := keys[name+"/"+file]; ok {
			want[file] = k
		} else if k, ok := keys[file]; ok {
			want[file] = k
		}
	}
	return want
}

// SetKeys puts the keys of a backup, by their paths in it, into the secrets of an installation. Those of a
// platform that was one process are given to all who share them.
func (c *Cluster) SetKeys(ctx context.Context, release string, keys map[string][]byte) error {
	for _, name := range slices.Sorted(maps.Keys(keyFiles)) {
		secrets := c.Kube.CoreV1().Secrets(c.Namespace)
		have, err := secrets.Get(ctx, release+"-"+name, metav1.GetOptions{})
		if err != nil {
			return fmt.Errorf("read the secret %s-%s: %w", release, name, Words(c.rest.Host, err))
		}
		want := keysOf(name, have.Data, keys)
		if reflect.DeepEqual(want, have.Data) {
			continue
		}
		have.Data = want
		if _, err := secrets.Update(ctx, have, metav1.UpdateOptions{FieldManager: "pelton-adm"}); err != nil {
			return fmt.Errorf("write the secret %s-%s: %w", release, name, Words(c.rest.Host, err))
		}
	}
	return nil
}
