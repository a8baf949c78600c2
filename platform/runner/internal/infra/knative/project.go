package knative

import (
	"encoding/json"
	"fmt"
	"os"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/pelton-run/pelton/platform/kit/slug"
)

// pullSecret is the secret of a project's namespace that images are pulled with, where Pelton makes it.
const pullSecret = "pelton-pull"

// makeProject makes what a project's actions share: the namespace, a quota, what images are pulled with (nil = nothing),
// and who may reach them.
func makeProject(project string, s *Settings, pull []byte) []runtime.Object {
	out := []runtime.Object{makeNamespace(project, s), makeQuota(project, s), makeLimits(project, s)}
	if pull != nil {
		out = append(out, &corev1.Secret{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, ObjectMeta: projectMeta(project, pullSecret, s),
			Type: corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{corev1.DockerConfigJsonKey: pull}})
	}
	if s.Isolate {
		out = append(out, makePolicy(project, s))
	}
	return out
}

// readPullCredentials reads the file, which whoever renews credentials replaces; nil without one.
func (s *Settings) readPullCredentials() ([]byte, error) {
	if s.PullCredentials == "" {
		return nil, nil
	}
	data, err := os.ReadFile(s.PullCredentials)
	if err != nil {
		return nil, err
	}
	var config struct {
		Auths map[string]json.RawMessage `json:"auths"`
	}
	if err := json.Unmarshal(data, &config); err != nil || len(config.Auths) == 0 {
		return nil, fmt.Errorf("%s names no registry under auths", s.PullCredentials)
	}
	return data, nil
}

func projectMeta(project, name string, s *Settings) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Namespace: s.namespaceOf(project),
		Labels:      map[string]string{labelManaged: "pelton", labelInstallation: s.Installation, labelProject: slug.Of(project)},
		Annotations: map[string]string{annotationProject: project}}
}

func makeNamespace(project string, s *Settings) *corev1.Namespace {
	m := projectMeta(project, s.namespaceOf(project), s)
	m.Namespace = ""
	// Nothing privileged comes to lie here. The profile "restricted" would refuse queue-proxy as Knative makes it by default.
	m.Labels["pod-security.kubernetes.io/enforce"] = "baseline"
	return &corev1.Namespace{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}, ObjectMeta: m}
}

func makeQuota(project string, s *Settings) *corev1.ResourceQuota {
	hard := corev1.ResourceList{corev1.ResourcePods: *resource.NewQuantity(int64(s.QuotaPods), resource.DecimalSI)}
	if !s.QuotaCPU.IsZero() {
		hard[corev1.ResourceRequestsCPU] = s.QuotaCPU
	}
	if !s.QuotaMemory.IsZero() {
		hard[corev1.ResourceRequestsMemory] = s.QuotaMemory
	}
	return &corev1.ResourceQuota{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ResourceQuota"}, ObjectMeta: projectMeta(project, "pelton", s), Spec: corev1.ResourceQuotaSpec{Hard: hard}}
}

// makeLimits gives containers that ask for nothing, such as queue-proxy in some clusters, what a quota
// counts; without it they would be refused.
func makeLimits(project string, s *Settings) *corev1.LimitRange {
	return &corev1.LimitRange{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "LimitRange"}, ObjectMeta: projectMeta(project, "pelton", s), Spec: corev1.LimitRangeSpec{
		Limits: []corev1.LimitRangeItem{{Type: corev1.LimitTypeContainer, DefaultRequest: corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("32Mi")}}}}}
}

// makePolicy lets nobody reach a project's pods but the platform and the ingress. What pods reach is
// left open, but for the addresses at which clouds tell credentials. The pods of Brokers are not the project's code: some
// classes, such as that over RabbitMQ, have them in the Broker's own namespace, and anybody may send to a Broker.
func makePolicy(project string, s *Settings) *networkingv1.NetworkPolicy {
	var from []networkingv1.NetworkPolicyPeer
	for _, ns := range s.Callers {
		from = append(from, networkingv1.NetworkPolicyPeer{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": ns}}})
	}
	for _, cidr := range s.Platform {
		from = append(from, networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{CIDR: cidr}})
	}
	return &networkingv1.NetworkPolicy{TypeMeta: metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy"}, ObjectMeta: projectMeta(project, "pelton", s),
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "eventing.knative.dev/brokerRole", Operator: metav1.LabelSelectorOpDoesNotExist}}},
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress},
			Ingress:     []networkingv1.NetworkPolicyIngressRule{{From: from}},
			Egress: []networkingv1.NetworkPolicyEgressRule{
				{To: []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: "0.0.0.0/0", Except: []string{"169.254.0.0/16"}}}}},
				{To: []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: "::/0", Except: []string{"fe80::/10"}}}}},
			},
		}}
}
