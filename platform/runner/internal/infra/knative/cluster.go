package knative

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/pelton-run/pelton/platform/kit/fault"
)

// fieldManager owns the fields that we apply.
const fieldManager = "pelton-runner"

var (
	services     = schema.GroupVersionResource{Group: "serving.knative.dev", Version: "v1", Resource: "services"}
	jobs         = schema.GroupVersionResource{Group: "batch", Version: "v1", Resource: "jobs"}
	statefulSets = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "statefulsets"}

	// resources are where the kinds that we make lie.
	resources = map[string]schema.GroupVersionResource{
		"Service": services, "Job": jobs, "StatefulSet": statefulSets,
		"Namespace":     {Version: "v1", Resource: "namespaces"},
		"ResourceQuota": {Version: "v1", Resource: "resourcequotas"},
		"LimitRange":    {Version: "v1", Resource: "limitranges"},
		"Secret":        {Version: "v1", Resource: "secrets"},
		"NetworkPolicy": {Group: "networking.k8s.io", Version: "v1", Resource: "networkpolicies"},
	}
)

// cluster is a thin client: it applies what pure functions made.
type cluster struct {
	kube kubernetes.Interface
	dyn  dynamic.Interface
}

// connect reads the way to the cluster; it asks the cluster nothing.
func connect(s *Settings) (*cluster, error) {
	var cfg *rest.Config
	var err error
	if s.Kubeconfig == "" && s.Context == "" {
		if cfg, err = rest.InClusterConfig(); err != nil {
			return nil, fault.InvalidField("deployer.kubeconfig", "is not given, and this process is in no cluster: "+err.Error(), "give knative:?kubeconfig=FILE")
		}
	} else {
		rules := clientcmd.NewDefaultClientConfigLoadingRules()
		rules.ExplicitPath = s.Kubeconfig
		cfg, err = clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: s.Context}).ClientConfig()
		if err != nil {
			return nil, fault.InvalidField("deployer.kubeconfig", "cannot be used: "+err.Error(), "give the path of a kubeconfig file of the cluster")
		}
	}
	cfg.UserAgent = "pelton-runner"
	cfg.QPS, cfg.Burst = 100, 200
	c := &cluster{}
	if c.kube, err = kubernetes.NewForConfig(cfg); err != nil {
		return nil, fault.InvalidField("deployer.kubeconfig", "cannot be used: "+err.Error(), "see the file")
	}
	c.dyn, err = dynamic.NewForConfig(cfg)
	return c, err
}

// plain gives an object as it is applied: without a status, and marked by the digest of the rest.
func plain(obj runtime.Object) (*unstructured.Unstructured, error) {
	m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		return nil, err
	}
	delete(m, "status")
	dropEmpty(m)
	u := &unstructured.Unstructured{Object: m}
	text, err := json.Marshal(m) // maps are written in the order of their keys
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(text)
	notes := u.GetAnnotations()
	if notes == nil {
		notes = map[string]string{}
	}
	notes[annotationSpec] = hex.EncodeToString(sum[:10])
	u.SetAnnotations(notes)
	return u, nil
}

// dropEmpty removes creationTimestamp: null and empty objects that Go's types write but nobody means.
func dropEmpty(m map[string]any) {
	for k, v := range m {
		switch v := v.(type) {
		case nil:
			delete(m, k)
		case map[string]any:
			if dropEmpty(v); len(v) == 0 && (k == "resources" || k == "strategy" || k == "updateStrategy" || k == "securityContext" || k == "metadata") {
				delete(m, k)
			}
		case []any:
			for _, x := range v {
				if x, ok := x.(map[string]any); ok {
					dropEmpty(x)
				}
			}
		}
	}
}

func (c *cluster) in(gvr schema.GroupVersionResource, namespace string) dynamic.ResourceInterface {
	if namespace == "" {
		return c.dyn.Resource(gvr)
	}
	return c.dyn.Resource(gvr).Namespace(namespace)
}

// apply makes the cluster have an object, and gives it as the cluster has it.
func (c *cluster) apply(ctx context.Context, u *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	out, err := c.in(resources[u.GetKind()], u.GetNamespace()).Apply(ctx, u.GetName(), u, metav1.ApplyOptions{FieldManager: fieldManager, Force: true})
	if err != nil {
		return nil, c.words(ctx, err, "apply the "+u.GetKind()+" "+u.GetName())
	}
	return out, nil
}

// get reads an object, nil when there is none.
func (c *cluster) get(ctx context.Context, gvr schema.GroupVersionResource, namespace, name string) (*unstructured.Unstructured, error) {
	u, err := c.in(gvr, namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) && !missingKind(err) {
		return nil, nil //nolint:nilnil // see above
	}
	if err != nil {
		return nil, c.words(ctx, err, "read the "+gvr.Resource+" "+name)
	}
	return u, nil
}

// remove deletes an object; one that is not there is deleted.
func (c *cluster) remove(ctx context.Context, gvr schema.GroupVersionResource, namespace, name string) error {
	policy := metav1.DeletePropagationBackground
	err := c.in(gvr, namespace).Delete(ctx, name, metav1.DeleteOptions{PropagationPolicy: &policy})
	if err == nil || apierrors.IsNotFound(err) {
		return nil
	}
	return c.words(ctx, err, "delete the "+gvr.Resource+" "+name)
}

// missingKind tells that the API has no such kind at all, rather than no such object.
func missingKind(err error) bool {
	var status apierrors.APIStatus
	return errors.As(err, &status) && apierrors.IsNotFound(err) && (status.Status().Details == nil || status.Status().Details.Name == "")
}

// words makes an error of the API one that people understand.
func (c *cluster) words(ctx context.Context, err error, what string) error {
	var f *fault.Error
	if errors.As(err, &f) {
		return err
	}
	var status apierrors.APIStatus
	text := err.Error()
	if errors.As(err, &status) {
		text = status.Status().Message
	}
	switch {
	case missingKind(err) && strings.Contains(what, "ervice"):
		return c.noKnative(err)
	case strings.Contains(text, "nodeSelector"):
		return fault.Wrap(err, fault.Unprocessable, "%s: the cluster's Knative allows no node selectors: set kubernetes.podspec-nodeselector: enabled in the config map config-features of knative-serving", what)
	case strings.Contains(text, "runtimeClassName"):
		return fault.Wrap(err, fault.Unprocessable, "%s: the cluster's Knative allows no runtime classes: set kubernetes.podspec-runtimeclassname: enabled in the config map config-features of knative-serving", what)
	case strings.Contains(text, "timeoutSeconds") && strings.Contains(text, "expected"):
		return fault.Wrap(err, fault.Unprocessable, "%s: the time limit of executions is more than the cluster's Knative allows: lower timeout in the setting deployer, or raise max-revision-timeout-seconds in the config map config-defaults of knative-serving", what)
	case strings.Contains(text, "exceeded quota"):
		return fault.Wrap(err, fault.Exhausted, "%s: the project's quota is exhausted: %s", what, after(text, "exceeded quota:"))
	case apierrors.IsForbidden(err):
		return fault.Wrap(err, fault.Forbidden, "%s: the platform may not do so in the cluster: give it the roles that platform/docs/knative.md lists (%s)", what, text)
	case apierrors.IsUnauthorized(err):
		return fault.Wrap(err, fault.Forbidden, "%s: the cluster does not know the platform's credentials: see kubeconfig in the setting deployer", what)
	case apierrors.IsBadRequest(err), apierrors.IsInvalid(err):
		return fault.Wrap(err, fault.Unprocessable, "%s: the cluster refuses it: %s", what, text)
	}
	return fault.Wrap(err, fault.Unavailable, "%s: the cluster cannot be used: %s", what, reach(err, text))
}

// noKnative tells whether Knative is missing or of a version that we do not know.
func (c *cluster) noKnative(err error) error {
	groups, gerr := c.kube.Discovery().ServerGroups()
	if gerr != nil {
		return fault.Wrap(err, fault.Unavailable, "the cluster cannot be asked what it offers: %s", gerr)
	}
	for _, g := range groups.Groups {
		if g.Name != services.Group {
			continue
		}
		var versions []string
		for _, v := range g.Versions {
			versions = append(versions, v.Version)
		}
		return fault.Wrap(err, fault.Unprocessable, "the cluster's Knative Serving offers its services as %s, and this Pelton knows v1: install Knative Serving 0.20 or later", strings.Join(versions, ", "))
	}
	return fault.Wrap(err, fault.Unprocessable, "the cluster has no Knative Serving: install it (pelton-adm doctor tells what is missing), or use deployer: process:")
}

func after(text, mark string) string {
	if _, rest, ok := strings.Cut(text, mark); ok {
		return strings.TrimSpace(rest)
	}
	return text
}

// reach shortens errors of the network.
func reach(err error, text string) string {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Error()
	}
	return text
}

// transient tells errors after which the same may succeed.
func transient(err error) bool {
	return err != nil && (fault.Is(err, fault.Unavailable) || fault.Is(err, fault.Timeout))
}

// merge is a patch of one annotation, nil removes it.
func merge(annotation string, value *string) []byte {
	text, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]any{annotation: value}}})
	if err != nil {
		panic(fmt.Sprintf("texts have JSON: %s", err))
	}
	return text
}
