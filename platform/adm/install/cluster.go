// Package install puts Pelton on a Kubernetes cluster by its Helm chart, waits until it is ready, and takes
// it away again. What stands in the way is told in words, before anything is changed where that can be seen.
package install

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/pelton-run/pelton/platform/kit/fault"
)

// Access says which cluster, and where in it.
type Access struct {
	Kubeconfig string // file; the usual places when empty
	Context    string // of the kubeconfig; its current one when empty
	Namespace  string
}

// Config gives what clients need.
func (a Access) Config() (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = a.Kubeconfig
	cfg, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: a.Context}).ClientConfig()
	where := a.Kubeconfig
	if where == "" {
		where = strings.Join(rules.Precedence, ", ")
	}
	switch {
	case clientcmd.IsEmptyConfig(err):
		return nil, fault.New(fault.Invalid, "no cluster is named: %s is not there or names none; give --kubeconfig", where)
	case err != nil && a.Context != "" && strings.Contains(err.Error(), "context"):
		return nil, fault.New(fault.Invalid, "the kubeconfig %s has no context %q", where, a.Context)
	case err != nil:
		return nil, fault.New(fault.Invalid, "the kubeconfig %s cannot be used: %s", where, err)
	}
	cfg.QPS, cfg.Burst = 50, 100
	return cfg, nil
}

// Cluster is a cluster that answers.
type Cluster struct {
	Access
	Kube    kubernetes.Interface
	Version string
	rest    *rest.Config
}

// Open connects, and asks the cluster for its version.
func (a Access) Open(ctx context.Context) (*Cluster, error) {
	cfg, err := a.Config()
	if err != nil {
		return nil, err
	}
	kube, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, fault.New(fault.Invalid, "the kubeconfig cannot be used: %s", err)
	}
	v, err := kube.Discovery().ServerVersion()
	if err != nil {
		return nil, Words(cfg.Host, err)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return &Cluster{Access: a, Kube: kube, Version: v.GitVersion, rest: cfg}, nil
}

// Words makes an error of the API server one that people understand.
func Words(host string, err error) error {
	var netErr net.Error
	var urlErr *url.Error
	switch {
	case err == nil:
		return nil
	case apierrors.IsUnauthorized(err):
		return fault.Wrap(err, fault.Forbidden, "the cluster at %s does not know the credentials of the kubeconfig, or they have expired", host)
	case apierrors.IsForbidden(err):
		return fault.Wrap(err, fault.Forbidden, "the kubeconfig's user may not do this: %s", err)
	case strings.Contains(err.Error(), "certificate"):
		return fault.Wrap(err, fault.Invalid, "the cluster at %s shows a certificate that the kubeconfig does not trust: %s", host, err)
	case errors.As(err, &netErr), errors.As(err, &urlErr), strings.Contains(err.Error(), "connection refused"):
		return fault.Wrap(err, fault.Unavailable, "the cluster at %s does not answer: %s", host, err)
	}
	return err
}

// apiGroup tells which versions of an API group the cluster serves, nil if none.
func (c *Cluster) apiGroup(name string) ([]string, error) {
	groups, err := c.Kube.Discovery().ServerGroups()
	if err != nil {
		return nil, Words(c.rest.Host, err)
	}
	for _, g := range groups.Groups {
		if g.Name != name {
			continue
		}
		var versions []string
		for _, v := range g.Versions {
			versions = append(versions, v.Version)
		}
		return versions, nil
	}
	return nil, nil
}

// CheckServing tells whether Knative Serving is there in a version that Pelton speaks.
func (c *Cluster) CheckServing() error { return c.checkGroup("serving.knative.dev", "Knative Serving") }

// CheckTraefik tells whether Traefik's own kinds of routes are there.
func (c *Cluster) CheckTraefik() error {
	versions, err := c.apiGroup("traefik.io")
	if err == nil && !slices.Contains(versions, "v1alpha1") {
		err = fault.New(fault.Conflict, "the cluster does not know Traefik's IngressRoute (traefik.io/v1alpha1): install Traefik with its CRDs, or set ingress.kind to Ingress or none")
	}
	return err
}

// CheckEventing is the same for Knative Eventing, which not every installation needs.
func (c *Cluster) CheckEventing() error {
	return c.checkGroup("eventing.knative.dev", "Knative Eventing")
}

func (c *Cluster) checkGroup(group, name string) error {
	versions, err := c.apiGroup(group)
	switch {
	case err != nil:
		return err
	case versions == nil:
		return fault.New(fault.Conflict, "%s is not installed in this cluster (it serves no %s): see https://knative.dev/docs/install", name, group)
	case !slices.Contains(versions, "v1"):
		return fault.New(fault.Conflict, "%s of this cluster serves %s in version %s, and Pelton speaks v1: upgrade it", name, group, strings.Join(versions, ", "))
	}
	return nil
}

// Flags are the features of Knative Serving that actions may ask for and that are off as Knative comes.
var Flags = map[string]string{
	"kubernetes.podspec-nodeselector":              "enabled",
	"kubernetes.podspec-tolerations":               "enabled",
	"kubernetes.podspec-affinity":                  "enabled",
	"kubernetes.podspec-runtimeclassname":          "enabled",
	"kubernetes.podspec-securitycontext":           "enabled",
	"kubernetes.podspec-priorityclassname":         "enabled",
	"kubernetes.podspec-topologyspreadconstraints": "enabled",
}

// FlagsOff lists the flags that Pelton wants and that are not set.
func (c *Cluster) FlagsOff(ctx context.Context, serving string) ([]string, error) {
	m, err := c.Kube.CoreV1().ConfigMaps(serving).Get(ctx, "config-features", metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, fault.New(fault.NotFound, "there is no config map config-features in the namespace %s: give knative.servingNamespace, where Knative Serving runs", serving)
	}
	if err != nil {
		return nil, Words(c.rest.Host, err)
	}
	var off []string
	for name, want := range Flags {
		if m.Data[name] != want {
			off = append(off, name)
		}
	}
	slices.Sort(off)
	return off, nil
}

// SetFlags sets them.
func (c *Cluster) SetFlags(ctx context.Context, serving string, names []string) error {
	data := map[string]string{}
	for _, n := range names {
		data[n] = Flags[n]
	}
	patch, err := json.Marshal(map[string]any{"data": data})
	if err != nil {
		return err
	}
	_, err = c.Kube.CoreV1().ConfigMaps(serving).Patch(ctx, "config-features", types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "pelton-adm"})
	if err != nil {
		return fmt.Errorf("set the features of Knative Serving: %w", Words(c.rest.Host, err))
	}
	return nil
}
