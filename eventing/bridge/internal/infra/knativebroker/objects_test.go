package knativebroker

import (
	"encoding/json"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	"knative.dev/pkg/apis"
	kduckv1 "knative.dev/pkg/apis/duck/v1"

	"github.com/pelton-run/pelton/eventing/bridge/internal/domain"
)

func settings(t *testing.T, text string) *Settings {
	t.Helper()
	s, err := Parse("bridge.broker", text, "http://pelton.example:8080/")
	require.NoError(t, err)
	return &s
}

func TestSettings(t *testing.T) {
	s := settings(t, "knative:?namespace=ev-{project}&class=RabbitMQBroker&config=RabbitmqBrokerConfig.v1alpha1.eventing.knative.dev/ev/big&retry=3&backoff=1s&parallel=50&every=2s&gateway=10.0.0.1:80&endpoint=https://bridge.ev.svc")
	require.Equal(t, Settings{Namespace: "ev-{project}", Installation: "ev", Class: "RabbitMQBroker", Config: "RabbitmqBrokerConfig.v1alpha1.eventing.knative.dev/ev/big", Endpoint: "https://bridge.ev.svc", Gateway: "10.0.0.1:80",
		Retry: 3, Backoff: time.Second, Parallel: 50, Every: 2 * time.Second}, *s)
	require.Equal(t, "http://pelton.example:8080/", settings(t, "knative:").Endpoint)
	for text, want := range map[string]string{
		"kafka:":                                   `bridge.broker: is "kafka:" (give knative:`,
		"knative:?namespace=one":                   `bridge.broker.namespace: is "one" (give a name of lower-case letters, digits and dashes with {project} in it`,
		"knative:?clas=x":                          `bridge.broker.clas: is not known (known are class, config, context, endpoint, gateway, installation, kubeconfig, namespace, retry, backoff, parallel, every)`,
		"knative:?class=a/b":                       `bridge.broker.class: is "a/b" (give the name of a class`,
		"knative:?config=x":                        `bridge.broker.config: is "x" (give KIND/NAMESPACE/NAME`,
		"knative:?gateway=x&retry=-1":              `bridge.broker.gateway: is "x" (give HOST:PORT, or leave it out inside the cluster); bridge.broker.retry: is "-1" (give 0 to 100)`,
		"knative:?parallel=0":                      `bridge.broker.parallel: is "0" (give 1 to 1000)`,
		"knative:?every=1ms":                       `bridge.broker.every: is "1ms" (give a time from 1s to 1h0m0s`,
		"knative:?retry=1&retry=2":                 `bridge.broker.retry: is given twice (give it once)`,
		"knative:?endpoint=ftp://x":                `bridge.broker.endpoint: is "ftp://x" (give the URL`,
		"knative:?endpoint=http://127.0.0.1:8080/": `bridge.broker.endpoint: is "http://127.0.0.1:8080/", which pods do not reach`,
	} {
		_, err := Parse("bridge.broker", text, "")
		require.ErrorContains(t, err, want, text)
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	require.NoError(t, err)
	return string(text)
}

func TestBroker(t *testing.T) {
	for text, want := range map[string]string{
		"knative:": `{"metadata":{"name":"events","namespace":"pelton-shop","labels":{"app.kubernetes.io/managed-by":"pelton","pelton.dev/installation":"pelton","pelton.dev/project":"shop"},"annotations":{"pelton.dev/project":"shop"}},"spec":{}}`,
		"knative:?class=Kafka&config=ConfigMap/knative-eventing/kafka": `{"metadata":{"name":"events","namespace":"pelton-shop","labels":{"app.kubernetes.io/managed-by":"pelton","pelton.dev/installation":"pelton","pelton.dev/project":"shop"},
			"annotations":{"pelton.dev/project":"shop","eventing.knative.dev/broker.class":"Kafka"}},"spec":{"config":{"kind":"ConfigMap","namespace":"knative-eventing","name":"kafka","apiVersion":"v1"}}}`,
		"knative:?config=RabbitmqBrokerConfig.v1alpha1.eventing.knative.dev/a/b": `{"metadata":{"name":"events","namespace":"pelton-shop","labels":{"app.kubernetes.io/managed-by":"pelton","pelton.dev/installation":"pelton","pelton.dev/project":"shop"},
			"annotations":{"pelton.dev/project":"shop"}},"spec":{"config":{"kind":"RabbitmqBrokerConfig","namespace":"a","name":"b","apiVersion":"eventing.knative.dev/v1alpha1"}}}`,
	} {
		b := makeBroker("shop", settings(t, text))
		require.JSONEq(t, want, asJSON(t, map[string]any{"metadata": map[string]any{"name": b.Name, "namespace": b.Namespace, "labels": b.Labels, "annotations": b.Annotations}, "spec": b.Spec}))
		require.Equal(t, "eventing.knative.dev/v1 Broker", b.APIVersion+" "+b.Kind)
	}
	require.Equal(t, "pelton-my-team-cee021f1", makeBroker("My Team", settings(t, "knative:")).Namespace)
}

// TestTrigger: what a Broker can tell of the workflows' triggers is filtered there, in the form that most classes know.
func TestTrigger(t *testing.T) {
	one := func(types []string, filter string) domain.EventTrigger {
		return domain.EventTrigger{Workflow: "w", ID: "t", Types: types, Filter: json.RawMessage(filter)}
	}
	s := settings(t, "knative:")
	for name, c := range map[string]struct {
		triggers        []domain.EventTrigger
		filter, filters string
	}{
		"everything":       {[]domain.EventTrigger{one(nil, "")}, `null`, `null`},
		"a star":           {[]domain.EventTrigger{one([]string{"a", "*"}, "")}, `null`, `null`},
		"a type":           {[]domain.EventTrigger{one([]string{"a"}, "")}, `{"attributes":{"type":"a"}}`, `null`},
		"exact attributes": {[]domain.EventTrigger{one([]string{"a"}, `[{"exact":{"source":"/s"}}]`)}, `{"attributes":{"type":"a","source":"/s"}}`, `null`},
		"a beginning":      {[]domain.EventTrigger{one([]string{"a.*"}, "")}, `null`, `[{"prefix":{"type":"a."}}]`},
		"several types":    {[]domain.EventTrigger{one([]string{"a", "b.*"}, "")}, `null`, `[{"any":[{"exact":{"type":"a"}},{"prefix":{"type":"b."}}]}]`},
		"clauses": {[]domain.EventTrigger{one([]string{"a"}, `[{"prefix":{"source":"/s"}},{"suffix":{"subject":"x"}},{"cel":"event.data.n > 1"}]`)}, `null`,
			`[{"all":[{"exact":{"type":"a"}},{"prefix":{"source":"/s"}},{"suffix":{"subject":"x"}}]}]`},
		"only CEL":          {[]domain.EventTrigger{one(nil, `[{"cel":"true"}]`)}, `null`, `null`},
		"a contradiction":   {[]domain.EventTrigger{one([]string{"a"}, `[{"exact":{"type":"b"}}]`)}, `null`, `[{"all":[{"exact":{"type":"a"}},{"exact":{"type":"b"}}]}]`},
		"several workflows": {[]domain.EventTrigger{one([]string{"a"}, ""), one([]string{"b"}, `[{"suffix":{"subject":"x"}}]`)}, `null`, `[{"any":[{"exact":{"type":"a"}},{"all":[{"exact":{"type":"b"}},{"suffix":{"subject":"x"}}]}]}]`},
		"one takes all":     {[]domain.EventTrigger{one([]string{"a"}, ""), one(nil, "")}, `null`, `null`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := makeTrigger("shop", "pk_a+b", "MTChannelBasedBroker", c.triggers, s)
			require.NoError(t, err)
			require.JSONEq(t, c.filter, asJSON(t, got.Spec.Filter))
			require.JSONEq(t, c.filters, asJSON(t, got.Spec.Filters))
			require.Equal(t, "http://pelton.example:8080/bridge/v1/projects/shop/events?access_token=pk_a%2Bb", got.Spec.Subscriber.URI.String())
			require.JSONEq(t, `{"retry":12,"backoffPolicy":"exponential","backoffDelay":"PT0.2S"}`, asJSON(t, got.Spec.Delivery))
			require.Equal(t, []string{"events", "pelton", "pelton-shop", "pelton"}, []string{got.Spec.Broker, got.Name, got.Namespace, got.Labels[labelInstallation]})
			require.NoError(t, nilIfEmpty(got.Spec.Validate(t.Context())), "Knative's own check")
		})
	}
	got, err := makeTrigger("shop", "k", "", nil, s)
	require.NoError(t, err)
	require.Nil(t, got)
}

// TestTriggerOfRabbitMQ: spec.filter is never there, since its webhook refuses a change of it.
func TestTriggerOfRabbitMQ(t *testing.T) {
	for name, c := range map[string]struct {
		trigger domain.EventTrigger
		filters string
	}{
		"everything":       {domain.EventTrigger{}, `null`},
		"a type":           {domain.EventTrigger{Types: []string{"a"}}, `[{"exact":{"type":"a"}}]`},
		"exact attributes": {domain.EventTrigger{Types: []string{"a"}, Filter: json.RawMessage(`[{"exact":{"source":"/s"}}]`)}, `[{"exact":{"type":"a","source":"/s"}}]`},
		"a beginning":      {domain.EventTrigger{Types: []string{"a.*"}}, `[{"prefix":{"type":"a."}}]`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := makeTrigger("shop", "k", "RabbitMQBroker", []domain.EventTrigger{c.trigger}, settings(t, "knative:?parallel=7"))
			require.NoError(t, err)
			require.Nil(t, got.Spec.Filter)
			require.JSONEq(t, c.filters, asJSON(t, got.Spec.Filters))
			require.Equal(t, map[string]string{"pelton.dev/project": "shop", "rabbitmq.eventing.knative.dev/parallelism": "7"}, got.Annotations)
		})
	}
}

// TestForeignFilters: what is not wanted and not named by what is applied is taken away.
func TestForeignFilters(t *testing.T) {
	attributes := &eventingv1.TriggerFilter{Attributes: map[string]string{"type": "a"}}
	filters := []eventingv1.SubscriptionsAPIFilter{{Exact: map[string]string{"type": "a"}}}
	for name, c := range map[string]struct {
		want, is eventingv1.TriggerSpec
		patch    string
	}{
		"nothing":         {eventingv1.TriggerSpec{}, eventingv1.TriggerSpec{Filter: &eventingv1.TriggerFilter{}}, ""}, // which Knative puts there
		"what we want":    {eventingv1.TriggerSpec{Filter: attributes}, eventingv1.TriggerSpec{Filter: attributes}, ""},
		"also filters":    {eventingv1.TriggerSpec{Filter: attributes}, eventingv1.TriggerSpec{Filter: attributes, Filters: filters}, `{"spec":{"filters":null}}`},
		"also attributes": {eventingv1.TriggerSpec{Filters: filters}, eventingv1.TriggerSpec{Filter: attributes, Filters: filters}, `{"spec":{"filter":null}}`},
		"both":            {eventingv1.TriggerSpec{}, eventingv1.TriggerSpec{Filter: attributes, Filters: filters}, `{"spec":{"filter":null,"filters":null}}`},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.patch, string(withoutFilters(&eventingv1.Trigger{Spec: c.want}, &eventingv1.Trigger{Spec: c.is})))
		})
	}
}

func TestWayToBroker(t *testing.T) {
	for _, c := range []struct{ text, address, want, fault string }{
		{"knative:", "http://broker-ingress.knative-eventing.svc.cluster.local/pelton-shop/events", "http://broker-ingress.knative-eventing.svc.cluster.local/pelton-shop/events", ""},
		{"knative:?gateway=10.0.0.1:80", "http://broker-ingress.knative-eventing.svc.cluster.local/pelton-shop/events", "http://10.0.0.1:80/pelton-shop/events", ""},
		{"knative:", "http://events-broker-ingress.pelton-shop.svc.cluster.local", "http://events-broker-ingress.pelton-shop.svc.cluster.local", ""},
		{"knative:?gateway=10.0.0.1:80", "http://events-broker-ingress.pelton-shop.svc.cluster.local", "", "bridge.broker.gateway: leads to one ingress for all Brokers, and Brokers of this class have one each, here events-broker-ingress.pelton-shop.svc.cluster.local (leave it out"},
	} {
		address, err := url.Parse(c.address)
		require.NoError(t, err)
		got, err := settings(t, c.text).wayTo(*address)
		require.Equal(t, c.want, got)
		if c.fault != "" {
			require.ErrorContains(t, err, c.fault)
		} else {
			require.NoError(t, err)
		}
	}
}

func nilIfEmpty(e *apis.FieldError) error {
	if e == nil {
		return nil
	}
	return e
}

func TestStateInWords(t *testing.T) {
	conditions := func(list ...apis.Condition) *kduckv1.Status {
		return &kduckv1.Status{ObservedGeneration: 2, Conditions: list}
	}
	for name, c := range map[string]struct {
		status        *kduckv1.Status
		state, reason string
	}{
		"missing": {nil, "missing", "it is not there; it is made within moments, or the platform's log says why not"},
		"nobody":  {conditions(), "pending", "no controller has looked at it yet: does the cluster have Brokers of the class X?"},
		"old":     {&kduckv1.Status{ObservedGeneration: 1, Conditions: kduckv1.Conditions{{Type: "Ready", Status: corev1.ConditionTrue}}}, "pending", "its controller has not seen the newest change yet"},
		"ready":   {conditions(apis.Condition{Type: "Ready", Status: corev1.ConditionTrue}), "ready", ""},
		"a part": {conditions(apis.Condition{Type: "Addressable", Status: corev1.ConditionTrue}, apis.Condition{Type: "FilterReady", Status: corev1.ConditionFalse, Reason: "ServiceFailure", Message: "no endpoints"},
			apis.Condition{Type: "Ready", Status: corev1.ConditionFalse, Reason: "ServiceFailure", Message: "no endpoints"}), "not-ready", "what filters its events is not there: no endpoints (ServiceFailure)"},
		"a part of the class over RabbitMQ": {conditions(apis.Condition{Type: "SecretReady", Status: corev1.ConditionFalse, Reason: "SecretFailure", Message: "no"}, apis.Condition{Type: "Ready", Status: corev1.ConditionFalse}), "not-ready",
			"the secret with its way to RabbitMQ is not there: no (SecretFailure)"},
		"unknown part": {conditions(apis.Condition{Type: "MoonReady", Status: corev1.ConditionUnknown, Reason: "Waiting"}, apis.Condition{Type: "Ready", Status: corev1.ConditionUnknown}), "pending", "MoonReady does not hold: Waiting"},
		"only whole":   {conditions(apis.Condition{Type: "Ready", Status: corev1.ConditionFalse, Message: "sad"}), "not-ready", "sad"},
	} {
		t.Run(name, func(t *testing.T) {
			o := stateOf("Broker", "events", "X", 2, c.status)
			require.Equal(t, []string{c.state, c.reason}, []string{o.State, o.Reason})
		})
	}
}
