package main

import (
	"os/exec"
	"strings"
	"testing"

	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func pod(ns, name, ip string, labels map[string]string) *core.Pod {
	return &core.Pod{
		ObjectMeta: meta.ObjectMeta{Namespace: ns, Name: name, Labels: labels},
		Spec:       core.PodSpec{Containers: []core.Container{{Ports: []core.ContainerPort{{Name: "h2c", ContainerPort: 8080}}}}},
		Status:     core.PodStatus{PodIP: ip, Phase: core.PodRunning},
	}
}

func cluster(policies ...*networking.NetworkPolicy) state {
	gone := pod("a", "gone", "10.0.0.9", nil)
	gone.Status.Phase = core.PodSucceeded
	return state{
		namespaces: []*core.Namespace{
			{ObjectMeta: meta.ObjectMeta{Name: "a", Labels: map[string]string{"project": "a"}}},
			{ObjectMeta: meta.ObjectMeta{Name: "b", Labels: map[string]string{"project": "b"}}},
			{ObjectMeta: meta.ObjectMeta{Name: "ingress", Labels: map[string]string{"role": "ingress"}}},
		},
		pods: []*core.Pod{
			pod("a", "web", "10.0.0.1", map[string]string{"app": "web"}), pod("a", "db", "10.0.0.2", map[string]string{"app": "db"}),
			pod("b", "web", "10.0.0.3", map[string]string{"app": "web"}), pod("ingress", "t", "10.0.0.4", nil), gone,
		},
		policies: policies,
	}
}

func policy(ns string, spec networking.NetworkPolicySpec) *networking.NetworkPolicy {
	return &networking.NetworkPolicy{ObjectMeta: meta.ObjectMeta{Namespace: ns, Name: "p"}, Spec: spec}
}

func TestRender(t *testing.T) {
	tcp, udp, end := core.ProtocolTCP, core.ProtocolUDP, int32(90)
	number := func(n int) *intstr.IntOrString { v := intstr.FromInt(n); return &v }
	name := intstr.FromString("h2c")
	in := []networking.PolicyType{networking.PolicyTypeIngress}
	out := []networking.PolicyType{networking.PolicyTypeEgress}
	for what, c := range map[string]struct {
		policies []*networking.NetworkPolicy
		ingress  []string
		egress   []string
	}{
		"none": {},
		"default deny": {
			[]*networking.NetworkPolicy{policy("a", networking.NetworkPolicySpec{PolicyTypes: append(in, out...)})},
			[]string{"ip daddr != { 10.0.0.1, 10.0.0.2 } return", "counter drop"},
			[]string{"ip saddr != { 10.0.0.1, 10.0.0.2 } return", "counter drop"},
		},
		"a namespace without pods": {policies: []*networking.NetworkPolicy{policy("c", networking.NetworkPolicySpec{PolicyTypes: in})}},
		"from one namespace, at a named port": {
			[]*networking.NetworkPolicy{policy("a", networking.NetworkPolicySpec{
				PodSelector: meta.LabelSelector{MatchLabels: map[string]string{"app": "web"}}, PolicyTypes: in,
				Ingress: []networking.NetworkPolicyIngressRule{{
					From:  []networking.NetworkPolicyPeer{{NamespaceSelector: &meta.LabelSelector{MatchLabels: map[string]string{"role": "ingress"}}}},
					Ports: []networking.NetworkPolicyPort{{Port: &name}},
				}},
			})},
			[]string{
				"ip daddr != { 10.0.0.1 } return",
				"ip daddr { 10.0.0.1 } ip saddr { 10.0.0.4 } meta l4proto tcp ip daddr { 10.0.0.1 } th dport 8080 return",
				"counter drop",
			}, nil,
		},
		"from pods of the same namespace, everything": {
			[]*networking.NetworkPolicy{policy("a", networking.NetworkPolicySpec{PolicyTypes: in, Ingress: []networking.NetworkPolicyIngressRule{
				{From: []networking.NetworkPolicyPeer{{PodSelector: &meta.LabelSelector{MatchLabels: map[string]string{"app": "db"}}}}},
			}})},
			[]string{"ip daddr != { 10.0.0.1, 10.0.0.2 } return", "ip daddr { 10.0.0.1, 10.0.0.2 } ip saddr { 10.0.0.2 } return", "counter drop"}, nil,
		},
		"from nobody who is there": {
			[]*networking.NetworkPolicy{policy("a", networking.NetworkPolicySpec{PolicyTypes: in, Ingress: []networking.NetworkPolicyIngressRule{
				{From: []networking.NetworkPolicyPeer{{NamespaceSelector: &meta.LabelSelector{MatchLabels: map[string]string{"role": "none"}}}}},
			}})},
			[]string{"ip daddr != { 10.0.0.1, 10.0.0.2 } return", "counter drop"}, nil,
		},
		"to all, at ports": {
			[]*networking.NetworkPolicy{policy("b", networking.NetworkPolicySpec{PolicyTypes: out, Egress: []networking.NetworkPolicyEgressRule{
				{Ports: []networking.NetworkPolicyPort{{Port: number(80), EndPort: &end, Protocol: &tcp}, {Port: number(53), Protocol: &udp}}},
			}})},
			nil,
			[]string{"ip saddr != { 10.0.0.3 } return", "ip saddr { 10.0.0.3 } meta l4proto tcp th dport 80-90 return", "ip saddr { 10.0.0.3 } meta l4proto udp th dport 53 return", "counter drop"},
		},
		"to a block but for a part": {
			[]*networking.NetworkPolicy{policy("b", networking.NetworkPolicySpec{PolicyTypes: out, Egress: []networking.NetworkPolicyEgressRule{
				{To: []networking.NetworkPolicyPeer{{IPBlock: &networking.IPBlock{CIDR: "10.90.0.0/16", Except: []string{"10.90.1.0/24"}}}, {IPBlock: &networking.IPBlock{CIDR: "fd00::/8"}}}},
			}})},
			nil,
			[]string{"ip saddr != { 10.0.0.3 } return", "ip saddr { 10.0.0.3 } ip daddr 10.90.0.0/16 ip daddr != 10.90.1.0/24 return", "counter drop"},
		},
		"two policies together": {
			[]*networking.NetworkPolicy{
				policy("a", networking.NetworkPolicySpec{PolicyTypes: in}),
				policy("a", networking.NetworkPolicySpec{PolicyTypes: in, PodSelector: meta.LabelSelector{MatchLabels: map[string]string{"app": "db"}}, Ingress: []networking.NetworkPolicyIngressRule{{}}}),
			},
			[]string{"ip daddr != { 10.0.0.1, 10.0.0.2 } return", "ip daddr { 10.0.0.2 } return", "counter drop"}, nil,
		},
	} {
		t.Run(what, func(t *testing.T) {
			got, err := render(node{table: "t", bridge: "br0", dns: "10.90.0.1"}, cluster(c.policies...))
			if err != nil {
				t.Fatal(err)
			}
			for chain, want := range map[string][]string{"ingress": c.ingress, "egress": c.egress} {
				_, rest, _ := strings.Cut(got, "chain "+chain+" {\n")
				body, _, _ := strings.Cut(rest, "\t}\n")
				var lines []string
				for l := range strings.Lines(body) {
					lines = append(lines, strings.TrimSpace(l))
				}
				if a, b := strings.Join(lines, "\n"), strings.Join(want, "\n"); a != b {
					t.Errorf("%s:\n%s\nwant:\n%s", chain, a, b)
				}
			}
			// nft itself reads it, in a network namespace of its own.
			cmd := exec.Command("unshare", "-n", "nft", "-c", "-f", "-")
			cmd.Stdin = strings.NewReader(got)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("nft: %v: %s\n%s", err, out, got)
			}
		})
	}
}

// TestFence: the way out is for the pods that may take it, and for none where there are none.
func TestFence(t *testing.T) {
	n := node{table: "t", bridge: "br0", dns: "10.90.0.1", proxy: 3128, proxyPods: labels.SelectorFromSet(labels.Set{"app": "db"})}
	for want, s := range map[string]state{
		"\t\tip daddr 10.90.0.1 tcp dport 3128 ip saddr != { 10.0.0.2 } counter drop\n": cluster(),
		"\t\tip daddr 10.90.0.1 tcp dport 3128 counter drop\n":                          {},
	} {
		got, err := render(n, s)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(got, want) {
			t.Errorf("%s\nlacks %s", got, want)
		}
		cmd := exec.Command("unshare", "-n", "nft", "-c", "-f", "-")
		cmd.Stdin = strings.NewReader(got)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("nft: %v: %s\n%s", err, out, got)
		}
	}
}
