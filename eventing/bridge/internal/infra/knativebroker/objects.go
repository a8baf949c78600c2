package knativebroker

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	duckv1 "knative.dev/eventing/pkg/apis/duck/v1"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	"knative.dev/pkg/apis"
	kduckv1 "knative.dev/pkg/apis/duck/v1"

	"github.com/pelton-run/pelton/eventing/bridge/internal/domain"
	"github.com/pelton-run/pelton/platform/kit/slug"
)

// Labels and annotations of what is ours, as the runner's objects have them.
const (
	labelManaged      = "app.kubernetes.io/managed-by" // pelton
	labelInstallation = "pelton.dev/installation"
	labelProject      = "pelton.dev/project" // slug of its name

	annotationProject = "pelton.dev/project" // its name
	annotationClass   = "eventing.knative.dev/broker.class"
	// annotationParallel is how many events the class RabbitMQBroker has under way for a Trigger; one without it.
	annotationParallel = "rabbitmq.eventing.knative.dev/parallelism"

	// classRabbitMQ is the class over RabbitMQ. It refuses a Trigger whose spec.filter changes, and looks at spec.filters not at all,
	// at least in version 0.34.
	classRabbitMQ = "RabbitMQBroker"

	brokerName  = "events"
	triggerName = "pelton" // of the Trigger that brings the Broker's events to the project
)

func (s *Settings) namespaceOf(project string) string {
	return slug.Namespace(s.Namespace, project)
}

func meta(project, name string, s *Settings) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Namespace: s.namespaceOf(project),
		Labels:      map[string]string{labelManaged: "pelton", labelInstallation: s.Installation, labelProject: slug.Of(project)},
		Annotations: map[string]string{annotationProject: project}}
}

// makeNamespace is for a project whose actions run elsewhere, so that nobody has made it.
func makeNamespace(project string, s *Settings) *corev1.Namespace {
	m := meta(project, s.namespaceOf(project), s)
	m.Namespace = ""
	return &corev1.Namespace{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}, ObjectMeta: m}
}

// makeBroker makes a project's Broker. What it does not say is the class's own to decide.
func makeBroker(project string, s *Settings) *eventingv1.Broker {
	b := &eventingv1.Broker{TypeMeta: metav1.TypeMeta{APIVersion: "eventing.knative.dev/v1", Kind: "Broker"}, ObjectMeta: meta(project, brokerName, s)}
	if s.Class != "" {
		b.Annotations[annotationClass] = s.Class
	}
	if s.Config != "" {
		parts := strings.Split(s.Config, "/")
		kind, version := parts[0], "v1"
		if k, rest, ok := strings.Cut(kind, "."); ok {
			v, group, _ := strings.Cut(rest, ".")
			kind, version = k, group+"/"+v
		}
		b.Spec.Config = &kduckv1.KReference{Kind: kind, APIVersion: version, Namespace: parts[1], Name: parts[2]}
	}
	return b
}

// makeTrigger makes what brings the Broker's events to the endpoint of a project, once for all of its workflows, so that an
// event which several take comes once. class is that of the Broker as it is. nil = none takes any.
func makeTrigger(project, key, class string, triggers []domain.EventTrigger, s *Settings) (*eventingv1.Trigger, error) {
	if len(triggers) == 0 {
		return nil, nil //nolint:nilnil // see above
	}
	endpoint, err := apis.ParseURL(strings.TrimRight(s.Endpoint, "/") + "/bridge/v1/projects/" + url.PathEscape(project) + "/events?access_token=" + url.QueryEscape(key))
	if err != nil {
		return nil, err
	}
	retry, policy, delay := int32(s.Retry), duckv1.BackoffPolicyExponential, isoDuration(s.Backoff)
	t := &eventingv1.Trigger{TypeMeta: metav1.TypeMeta{APIVersion: "eventing.knative.dev/v1", Kind: "Trigger"}, ObjectMeta: meta(project, triggerName, s),
		Spec: eventingv1.TriggerSpec{Broker: brokerName, Subscriber: kduckv1.Destination{URI: endpoint},
			Delivery: &duckv1.DeliverySpec{Retry: &retry, BackoffPolicy: &policy, BackoffDelay: &delay}}}
	if class == classRabbitMQ {
		t.Annotations[annotationParallel] = strconv.Itoa(s.Parallel)
	}
	var union []eventingv1.SubscriptionsAPIFilter
	for _, x := range triggers {
		f, err := filterOf(x)
		if err != nil {
			return nil, fmt.Errorf("workflow %s, trigger %s: %w", x.Workflow, x.ID, err)
		}
		if len(f) == 0 { // it takes every event
			return t, nil
		}
		union = append(union, together(f))
	}
	switch one := union[0]; {
	case len(union) == 1 && one.Exact != nil && class != classRabbitMQ:
		t.Spec.Filter = &eventingv1.TriggerFilter{Attributes: one.Exact} // which every other class knows
	case len(union) == 1:
		t.Spec.Filters = union
	default:
		t.Spec.Filters = []eventingv1.SubscriptionsAPIFilter{{Any: union}}
	}
	return t, nil
}

func together(f []eventingv1.SubscriptionsAPIFilter) eventingv1.SubscriptionsAPIFilter {
	if len(f) == 1 {
		return f[0]
	}
	return eventingv1.SubscriptionsAPIFilter{All: f}
}

// filterOf makes what a Broker can tell of a trigger's types and clauses, all of which have to hold. CEL it does not
// know: such events come, and the endpoint decides.
func filterOf(x domain.EventTrigger) ([]eventingv1.SubscriptionsAPIFilter, error) {
	var out []eventingv1.SubscriptionsAPIFilter
	exact := map[string]string{}
	var types []eventingv1.SubscriptionsAPIFilter
	all := len(x.Types) == 0
	for _, t := range x.Types {
		begin, prefix := strings.CutSuffix(t, "*")
		switch {
		case prefix && begin == "":
			all = true
		case prefix:
			types = append(types, eventingv1.SubscriptionsAPIFilter{Prefix: map[string]string{"type": begin}})
		default:
			types = append(types, eventingv1.SubscriptionsAPIFilter{Exact: map[string]string{"type": t}})
		}
	}
	switch {
	case all:
	case len(types) == 1 && types[0].Exact != nil:
		exact["type"] = types[0].Exact["type"]
	case len(types) == 1:
		out = append(out, types[0])
	default:
		out = append(out, eventingv1.SubscriptionsAPIFilter{Any: types})
	}
	var clauses []struct{ Exact, Prefix, Suffix map[string]string }
	if len(x.Filter) > 0 {
		if err := json.Unmarshal(x.Filter, &clauses); err != nil {
			return nil, fmt.Errorf("read the filter: %w", err)
		}
	}
	for _, c := range clauses {
		for name, want := range c.Exact {
			if was, ok := exact[name]; ok && was != want { // both have to hold, so none does; that is theirs to say
				out = append(out, eventingv1.SubscriptionsAPIFilter{Exact: map[string]string{name: want}})
				continue
			}
			exact[name] = want
		}
		if c.Prefix != nil {
			out = append(out, eventingv1.SubscriptionsAPIFilter{Prefix: c.Prefix})
		}
		if c.Suffix != nil {
			out = append(out, eventingv1.SubscriptionsAPIFilter{Suffix: c.Suffix})
		}
	}
	if len(exact) > 0 {
		out = append([]eventingv1.SubscriptionsAPIFilter{{Exact: exact}}, out...)
	}
	return out, nil
}

// withoutFilters makes the merge patch that takes away filters which somebody else gave a Trigger and want has not, nil where
// there are none: to apply want leaves alone what it does not name.
func withoutFilters(want, is *eventingv1.Trigger) []byte {
	spec := map[string]any{}
	if want.Spec.Filter == nil && is.Spec.Filter != nil && len(is.Spec.Filter.Attributes) > 0 {
		spec["filter"] = nil
	}
	if want.Spec.Filters == nil && len(is.Spec.Filters) > 0 {
		spec["filters"] = nil
	}
	if len(spec) == 0 {
		return nil
	}
	patch, err := json.Marshal(map[string]any{"spec": spec})
	if err != nil {
		panic(err) // of maps and nils
	}
	return patch
}

// isoDuration writes a time as ISO 8601 has it.
func isoDuration(d time.Duration) string {
	return "PT" + strconv.FormatFloat(d.Seconds(), 'f', -1, 64) + "S"
}
