package knativebroker

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"knative.dev/pkg/apis"
	kduckv1 "knative.dev/pkg/apis/duck/v1"

	"github.com/pelton-run/pelton/eventing/bridge/internal/domain"
)

// meanings are what it means that a condition does not hold, where its name does not say so by itself.
var meanings = map[apis.ConditionType]string{
	// of Brokers
	"IngressReady": "what takes its events is not there", "FilterReady": "what filters its events is not there", "TriggerChannelReady": "its channel is not ready",
	"Addressable": "it has no address", "DeadLetterSinkResolved": "where its dead letters go is not known", "EventPoliciesReady": "its policies are not in force",
	"ExchangeReady": "its exchange is not ready", "DLXReady": "its dead-letter exchange is not ready", "DeadLetterSinkReady": "what sends its dead letters is not there",
	"SecretReady": "the secret with its way to RabbitMQ is not there",
	// of Triggers
	"BrokerReady": "its Broker is not ready", "SubscriptionReady": "its subscription is not ready", "SubscriberResolved": "the address of this platform is not understood",
	"DependencyReady": "what it depends on is not ready", "SubscribableReady": "its channel is not ready", "OIDCIdentityCreated": "it has no identity",
}

// stateOf puts the conditions of an object into words. generation is the object's own: conditions that are about an
// older one say nothing yet. status nil = there is no such object.
func stateOf(kind, name, class string, generation int64, status *kduckv1.Status) domain.BrokerObject {
	o := domain.BrokerObject{Kind: kind, Name: name, State: domain.ObjectPending}
	if status == nil {
		o.State, o.Reason = domain.ObjectMissing, "it is not there; it is made within moments, or the platform's log says why not"
		return o
	}
	ready := status.GetCondition(apis.ConditionReady)
	switch {
	case ready == nil:
		o.Reason = "no controller has looked at it yet"
		if class != "" {
			o.Reason += ": does the cluster have Brokers of the class " + class + "?"
		}
		return o
	case status.ObservedGeneration < generation:
		o.Reason = "its controller has not seen the newest change yet"
		return o
	case ready.Status == corev1.ConditionTrue:
		o.State = domain.ObjectReady
		return o
	case ready.Status == corev1.ConditionFalse:
		o.State = domain.ObjectNot
	}
	why := ready
	for i := range status.Conditions { // the part that is in trouble says more than the whole
		c := &status.Conditions[i]
		if c.Type != apis.ConditionReady && c.Status == ready.Status && c.Severity == apis.ConditionSeverityError {
			why = c
			break
		}
	}
	o.Reason = meanings[why.Type]
	if o.Reason == "" && why.Type != apis.ConditionReady {
		o.Reason = string(why.Type) + " does not hold"
	}
	if told := said(why); told != "" && o.Reason != "" {
		o.Reason += ": " + told
	} else if told != "" {
		o.Reason = told
	}
	return o
}

// said is what a condition itself says.
func said(c *apis.Condition) string {
	switch {
	case c.Message != "" && c.Reason != "":
		return fmt.Sprintf("%s (%s)", c.Message, c.Reason)
	case c.Message != "":
		return c.Message
	}
	return c.Reason
}
