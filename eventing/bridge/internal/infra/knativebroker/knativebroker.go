// Package knativebroker has Knative Brokers of projects, and the Triggers that bring their events to the project's
// endpoint, in a Kubernetes cluster. Objects are made by pure functions and put there by server-side apply, again and
// again; objects of the same name that are not ours are left alone, and told.
package knativebroker

import (
	"context"
	"errors"
	"net/url"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"

	"github.com/pelton-run/pelton/eventing/bridge/internal/app"
	"github.com/pelton-run/pelton/eventing/bridge/internal/domain"
	"github.com/pelton-run/pelton/platform/kit/fault"
)

const (
	// fieldManager owns the fields that we apply.
	fieldManager = "pelton-bridge"
	// fresh is how long an address is taken for what it was.
	fresh = 10 * time.Second

	goingReason = "it is being removed, with what belongs to it; should it be wanted, it is made again after that"
)

var (
	namespaces = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	brokers    = schema.GroupVersionResource{Group: "eventing.knative.dev", Version: "v1", Resource: "brokers"}
	triggers   = schema.GroupVersionResource{Group: "eventing.knative.dev", Version: "v1", Resource: "triggers"}
)

// Brokers implements app.Brokers.
type Brokers struct {
	set Settings
	dyn dynamic.Interface
	now func() time.Time

	mu    sync.Mutex
	known map[string]known // by project
}

type known struct {
	address string
	until   time.Time
}

var _ app.Brokers = (*Brokers)(nil)

// Open reads the way to the cluster; it asks the cluster nothing.
func Open(s Settings) (*Brokers, error) {
	cfg, err := configOf(&s)
	if err != nil {
		return nil, err
	}
	cfg.UserAgent = fieldManager
	cfg.QPS, cfg.Burst = 50, 100
	cfg.Timeout = 20 * time.Second
	dyn, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return nil, fault.InvalidField("bridge.broker.kubeconfig", "cannot be used: "+err.Error(), "see the file")
	}
	return &Brokers{set: s, dyn: dyn, now: time.Now, known: map[string]known{}}, nil
}

func configOf(s *Settings) (*rest.Config, error) {
	if s.Kubeconfig == "" && s.Context == "" {
		cfg, err := rest.InClusterConfig()
		if err != nil {
			return nil, fault.InvalidField("bridge.broker.kubeconfig", "is not given, and this process is in no cluster: "+err.Error(), "give knative:?kubeconfig=FILE")
		}
		return cfg, nil
	}
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = s.Kubeconfig
	cfg, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: s.Context}).ClientConfig()
	if err != nil {
		return nil, fault.InvalidField("bridge.broker.kubeconfig", "cannot be used: "+err.Error(), "give the path of a kubeconfig file of the cluster")
	}
	return cfg, nil
}

// Apply implements app.Brokers.
func (b *Brokers) Apply(ctx context.Context, project, key string, want []domain.EventTrigger) error {
	namespace := b.set.namespaceOf(project)
	if _, err := b.dyn.Resource(namespaces).Get(ctx, namespace, metav1.GetOptions{}); apierrors.IsNotFound(err) {
		_, err = b.apply(ctx, namespaces, "", makeNamespace(project, &b.set))
		if err != nil {
			return words(err, "make the namespace "+namespace)
		}
	} else if err != nil {
		return words(err, "read the namespace "+namespace)
	}
	if _, err := b.ours(ctx, brokers, namespace, brokerName); err != nil {
		return err
	}
	broker, err := b.apply(ctx, brokers, namespace, makeBroker(project, &b.set))
	if err != nil {
		return words(err, "apply the Broker "+brokerName+" in "+namespace)
	}
	trigger, err := makeTrigger(project, key, broker.GetAnnotations()[annotationClass], want, &b.set)
	if err != nil {
		return fault.Wrap(err, fault.Internal, "make the Trigger")
	}
	if trigger == nil {
		return b.remove(ctx, triggers, namespace, triggerName, metav1.DeletePropagationForeground)
	}
	return b.applyTrigger(ctx, namespace, trigger)
}

func (b *Brokers) applyTrigger(ctx context.Context, namespace string, want *eventingv1.Trigger) error {
	u, err := b.ours(ctx, triggers, namespace, triggerName)
	if err != nil {
		return err
	}
	what := "the Trigger " + triggerName + " in " + namespace
	if u != nil && u.GetDeletionTimestamp() != nil {
		return fault.New(fault.Unavailable, "%s: %s", what, goingReason)
	}
	if u, err = b.apply(ctx, triggers, namespace, want); err != nil {
		return words(err, "apply "+what)
	}
	var is eventingv1.Trigger
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &is); err != nil {
		return fault.Wrap(err, fault.Unavailable, "read %s", what)
	}
	patch := withoutFilters(want, &is)
	if patch == nil {
		return nil
	}
	_, err = b.dyn.Resource(triggers).Namespace(namespace).Patch(ctx, triggerName, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager})
	return words(err, "take filters that are not the platform's from "+what)
}

// Remove implements app.Brokers. The namespace stays: others may have something there.
func (b *Brokers) Remove(ctx context.Context, project string) error {
	b.mu.Lock()
	delete(b.known, project)
	b.mu.Unlock()
	namespace := b.set.namespaceOf(project)
	if err := b.remove(ctx, triggers, namespace, triggerName, metav1.DeletePropagationForeground); err != nil {
		return err
	}
	return b.remove(ctx, brokers, namespace, brokerName, metav1.DeletePropagationBackground)
}

// State implements app.Brokers.
func (b *Brokers) State(ctx context.Context, project string) (domain.BrokerState, error) {
	out := domain.BrokerState{Namespace: b.set.namespaceOf(project)}
	broker, err := b.broker(ctx, project)
	if err != nil {
		return out, err
	}
	if broker == nil {
		out.Objects = append(out.Objects, stateOf("Broker", brokerName, "", 0, nil))
	} else {
		if broker.Status.Address != nil && broker.Status.Address.URL != nil {
			out.Address = broker.Status.Address.URL.String()
		}
		out.Objects = append(out.Objects, stateOf("Broker", brokerName, broker.Annotations[annotationClass], broker.Generation, &broker.Status.Status))
	}
	u, err := b.ours(ctx, triggers, out.Namespace, triggerName)
	if err != nil {
		return out, err
	}
	if u != nil { // else no workflow takes events
		var t eventingv1.Trigger
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &t); err != nil {
			return out, fault.Wrap(err, fault.Unavailable, "read the Trigger")
		}
		o := stateOf("Trigger", triggerName, "", t.Generation, &t.Status.Status)
		if t.DeletionTimestamp != nil {
			o.State, o.Reason = domain.ObjectPending, goingReason
		}
		out.Objects = append(out.Objects, o)
	}
	return out, nil
}

// Address implements app.Brokers.
func (b *Brokers) Address(ctx context.Context, project string) (string, error) {
	b.mu.Lock()
	k := b.known[project]
	b.mu.Unlock()
	if b.now().Before(k.until) {
		return k.address, nil
	}
	broker, err := b.broker(ctx, project)
	if err != nil {
		return "", err
	}
	if broker == nil {
		return "", fault.New(fault.NotFound, "project %s has no Broker: `pelton events broker connect` gives it one", project)
	}
	if broker.Status.Address == nil || broker.Status.Address.URL == nil {
		o := stateOf("Broker", brokerName, broker.Annotations[annotationClass], broker.Generation, &broker.Status.Status)
		return "", fault.New(fault.Unavailable, "the Broker of project %s has no address yet: %s", project, o.Reason)
	}
	address, err := b.set.wayTo(url.URL(*broker.Status.Address.URL))
	if err != nil {
		return "", err
	}
	b.mu.Lock()
	b.known[project] = known{address, b.now().Add(fresh)}
	b.mu.Unlock()
	return address, nil
}

// broker reads a project's Broker, nil where there is none.
func (b *Brokers) broker(ctx context.Context, project string) (*eventingv1.Broker, error) {
	u, err := b.ours(ctx, brokers, b.set.namespaceOf(project), brokerName)
	if u == nil || err != nil {
		return nil, err
	}
	var out eventingv1.Broker
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &out); err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "read the Broker")
	}
	return &out, nil
}

// ours reads an object, nil where there is none; one that is somebody else's is a conflict.
func (b *Brokers) ours(ctx context.Context, gvr schema.GroupVersionResource, namespace, name string) (*unstructured.Unstructured, error) {
	u, err := b.dyn.Resource(gvr).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) && !missingKind(err) {
		return nil, nil //nolint:nilnil // see above
	}
	what := gvr.Resource + " " + name + " in " + namespace
	if err != nil {
		return nil, words(err, "read "+what)
	}
	if l := u.GetLabels(); l[labelManaged] != "pelton" || l[labelInstallation] != b.set.Installation {
		return nil, fault.New(fault.Conflict, "%s is not this platform's: rename or remove it, or choose another namespace or installation in bridge.broker", what)
	}
	return u, nil
}

// remove with DeletePropagationForeground has what belongs to the object go before it. A Trigger needs that: the class RabbitMQBroker names
// the queue after it, and would delete the next one's queue with what is left of this one.
func (b *Brokers) remove(ctx context.Context, gvr schema.GroupVersionResource, namespace, name string, policy metav1.DeletionPropagation) error {
	u, err := b.ours(ctx, gvr, namespace, name)
	if fault.Is(err, fault.Conflict) || err == nil && u == nil {
		return nil // what is somebody else's is not for us to remove
	}
	if err != nil {
		return err
	}
	id := u.GetUID()
	err = b.dyn.Resource(gvr).Namespace(namespace).Delete(ctx, name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &id}, PropagationPolicy: &policy})
	if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return words(err, "delete "+gvr.Resource+" "+name+" in "+namespace)
}

// apply gives the object as it is then.
func (b *Brokers) apply(ctx context.Context, gvr schema.GroupVersionResource, namespace string, obj runtime.Object) (*unstructured.Unstructured, error) {
	m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		return nil, err
	}
	delete(m, "status")
	if md, ok := m["metadata"].(map[string]any); ok { // Go's type writes a time that nobody means
		delete(md, "creationTimestamp")
	}
	u := &unstructured.Unstructured{Object: m}
	var to dynamic.ResourceInterface = b.dyn.Resource(gvr)
	if namespace != "" {
		to = b.dyn.Resource(gvr).Namespace(namespace)
	}
	return to.Apply(ctx, u.GetName(), u, metav1.ApplyOptions{FieldManager: fieldManager, Force: true})
}

// missingKind tells that the API has no such kind at all, rather than no such object.
func missingKind(err error) bool {
	var status apierrors.APIStatus
	return errors.As(err, &status) && apierrors.IsNotFound(err) && (status.Status().Details == nil || status.Status().Details.Name == "")
}

// words makes an error of the API one that people understand.
func words(err error, what string) error {
	var f *fault.Error
	if err == nil || errors.As(err, &f) {
		return err
	}
	text := err.Error()
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		text = status.Status().Message
	}
	switch {
	case missingKind(err):
		return fault.New(fault.Unprocessable, "%s: the cluster has no Knative Eventing: install it, or leave bridge.broker empty", what)
	case apierrors.IsForbidden(err):
		return fault.New(fault.Unprocessable, "%s: the platform may not do so in the cluster: give it the roles that platform/docs/events.md lists (%s)", what, text)
	case apierrors.IsUnauthorized(err):
		return fault.New(fault.Unprocessable, "%s: the cluster does not know the platform's credentials: see kubeconfig in bridge.broker", what)
	case apierrors.IsBadRequest(err), apierrors.IsInvalid(err):
		return fault.New(fault.Unprocessable, "%s: the cluster refuses it: %s (the class and the configuration of a Broker stay as they were made: disconnect it, and connect it anew)", what, text)
	}
	return fault.Wrap(err, fault.Unavailable, "%s: the cluster cannot be used just now", what)
}
