package kaniko

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/pelton-run/pelton/builder/internal/app"
	"github.com/pelton-run/pelton/platform/kit/fault"
)

// cluster is the thin client: it applies what pure functions made, and reads what came of it.
type cluster struct {
	client    kubernetes.Interface
	namespace string
	host      string // for messages
}

// connect reads the kubeconfig, or what a pod is given; the cluster is asked for nothing.
func connect(kubeconfig, namespace string) (*cluster, error) {
	var c *rest.Config
	var err error
	if kubeconfig == "" {
		if c, err = rest.InClusterConfig(); err != nil {
			return nil, fault.InvalidField("builder.kubeconfig", "is missing, and this process does not run in a cluster", "give the path of a kubeconfig")
		}
	} else if c, err = clientcmd.BuildConfigFromFlags("", kubeconfig); err != nil {
		return nil, fault.InvalidField("builder.kubeconfig", err.Error(), "give the path of a kubeconfig")
	}
	// Watches of several builds go on beside each other's requests.
	c.QPS, c.Burst, c.UserAgent, c.WarningHandler = 50, 100, "pelton-builder", rest.NoWarnings{}
	k, err := kubernetes.NewForConfig(c)
	if err != nil {
		return nil, fault.InvalidField("builder.kubeconfig", err.Error(), "give the path of a kubeconfig")
	}
	return &cluster{client: k, namespace: namespace, host: c.Host}, nil
}

// words tells what the cluster said in a way that names what to change.
func (c *cluster) words(doing string, err error) error {
	var op *net.OpError
	switch {
	case err == nil, errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
		return &app.Error{Kind: "internal", Setting: "builder.kubeconfig", Message: fmt.Sprintf("the cluster does not let the builder %s in the namespace %s: %s", doing, c.namespace, reasonOf(err))}
	case errors.As(err, &op):
		return &app.Error{Kind: "network", Host: c.host, Setting: "builder.kubeconfig", Message: "the cluster at " + c.host + " cannot be reached"}
	case apierrors.IsInvalid(err), apierrors.IsNotFound(err):
		return &app.Error{Kind: "internal", Message: "the cluster refuses to " + doing + ": " + reasonOf(err)}
	}
	return fmt.Errorf("%s: %w", doing, err)
}

func reasonOf(err error) string {
	var s apierrors.APIStatus
	if errors.As(err, &s) {
		return s.Status().Message
	}
	return err.Error()
}

// ensureNamespace makes the namespace unless it is there; who may not make one is content with one
// that somebody else made.
func (c *cluster) ensureNamespace(ctx context.Context) error {
	_, err := c.client.CoreV1().Namespaces().Get(ctx, c.namespace, metav1.GetOptions{})
	if err == nil || apierrors.IsForbidden(err) {
		return nil
	}
	if !apierrors.IsNotFound(err) {
		return c.words("read the namespace", err)
	}
	_, err = c.client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: c.namespace, Labels: map[string]string{"app.kubernetes.io/name": "pelton", labelPart: partOf}}}, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return c.words("make the namespace", err)
}

// ensureSecret makes a secret say what it should; one without content is removed.
func (c *cluster) ensureSecret(ctx context.Context, name string, data map[string][]byte) error {
	secrets := c.client.CoreV1().Secrets(c.namespace)
	if len(data) == 0 {
		if err := secrets.Delete(ctx, name, metav1.DeleteOptions{}); !apierrors.IsNotFound(err) {
			return c.words("remove a secret", err)
		}
		return nil
	}
	want := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: c.namespace, Labels: map[string]string{"app.kubernetes.io/name": "pelton", labelPart: partOf}}, Data: data}
	if data[corev1.DockerConfigJsonKey] != nil { // nodes pull with no other type
		want.Type = corev1.SecretTypeDockerConfigJson
	}
	_, err := secrets.Create(ctx, want, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		_, err = secrets.Update(ctx, want, metav1.UpdateOptions{})
	}
	return c.words("keep a secret", err)
}

// ensurePolicy makes the network policy of build pods say what it should.
func (c *cluster) ensurePolicy(ctx context.Context, want *networkingv1.NetworkPolicy) error {
	policies := c.client.NetworkingV1().NetworkPolicies(c.namespace)
	_, err := policies.Create(ctx, want, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		_, err = policies.Update(ctx, want, metav1.UpdateOptions{})
	}
	return c.words("keep a network policy", err)
}

// removePolicy removes it; who may not is content with none of ours.
func (c *cluster) removePolicy(ctx context.Context) error {
	err := c.client.NetworkingV1().NetworkPolicies(c.namespace).Delete(ctx, policyName, metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
		return nil
	}
	return c.words("remove a network policy", err)
}

// start makes the Job, or finds the one of the same order under way. One that is just being removed
// is waited for.
func (c *cluster) start(ctx context.Context, j *batchv1.Job) (adopted bool, err error) {
	jobs := c.client.BatchV1().Jobs(c.namespace)
	for tick := time.NewTicker(200 * time.Millisecond); ; {
		_, err := jobs.Create(ctx, j, metav1.CreateOptions{})
		if !apierrors.IsAlreadyExists(err) {
			tick.Stop()
			return false, c.words("make a Job", err)
		}
		there, err := jobs.Get(ctx, j.Name, metav1.GetOptions{})
		if err == nil && there.DeletionTimestamp == nil {
			tick.Stop()
			return true, nil
		}
		if err != nil && !apierrors.IsNotFound(err) {
			tick.Stop()
			return false, c.words("read a Job", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			tick.Stop()
			return false, ctx.Err()
		}
	}
}

// remove deletes a Job and its pods; what is not there is removed.
func (c *cluster) remove(ctx context.Context, name string) error {
	err := c.client.BatchV1().Jobs(c.namespace).Delete(ctx, name, metav1.DeleteOptions{PropagationPolicy: new(metav1.DeletePropagationBackground)})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return c.words("remove a Job", err)
}

// removeOrder deletes every Job of an order.
func (c *cluster) removeOrder(ctx context.Context, order string) error {
	all, err := c.client.BatchV1().Jobs(c.namespace).List(ctx, metav1.ListOptions{LabelSelector: labelOrder + "=" + strings.ToLower(order)})
	if err != nil {
		return c.words("list Jobs", err)
	}
	var errs []error
	for _, j := range all.Items {
		errs = append(errs, c.remove(ctx, j.Name))
	}
	return errors.Join(errs...)
}

// giveUp ends a pod whose node does not answer. The Job makes another only once this one has failed, which its node
// cannot say any more: it is said in its place, as Kubernetes does once the node is removed.
func (c *cluster) giveUp(ctx context.Context, p *corev1.Pod) error {
	status := corev1.PodStatus{Phase: corev1.PodFailed, Reason: "NodeLost", Message: "the node " + p.Spec.NodeName + " does not answer",
		Conditions: []corev1.PodCondition{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "NodeLost", Message: "the node " + p.Spec.NodeName + " does not answer", LastTransitionTime: metav1.Now()}}}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": p.UID}, "status": map[string]any{
		"phase": status.Phase, "reason": status.Reason, "message": status.Message, "conditions": status.Conditions}})
	if err != nil {
		return err
	}
	pods := c.client.CoreV1().Pods(c.namespace)
	if _, err := pods.Patch(ctx, p.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status"); err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return c.words("say that a lost pod failed", err)
	}
	err = pods.Delete(ctx, p.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0)), Preconditions: metav1.NewUIDPreconditions(string(p.UID))})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) { // gone, or another of its name
		return nil
	}
	return c.words("remove a lost pod", err)
}

// refusals is what the cluster last said about a Job that gets no pod, "" when it said nothing.
func (c *cluster) refusals(ctx context.Context, job string) string {
	all, err := c.client.CoreV1().Events(c.namespace).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.kind=Job,involvedObject.name=" + job + ",reason=FailedCreate"})
	if err != nil || len(all.Items) == 0 {
		return ""
	}
	last := all.Items[0]
	for _, e := range all.Items {
		if e.LastTimestamp.After(last.LastTimestamp.Time) {
			last = e
		}
	}
	return last.Message
}
