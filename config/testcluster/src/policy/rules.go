package main

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"sort"
	"strconv"
	"strings"

	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// node is what the rules are made for.
type node struct {
	table, bridge, dns string

	proxy     int // a port of the node that the pods of proxyPods reach and no others; 0 = none
	proxyPods labels.Selector
}

// state is what the cluster says at a moment.
type state struct {
	pods       []*core.Pod
	namespaces []*core.Namespace
	policies   []*networking.NetworkPolicy
}

// render writes the table as nft reads it. A pod that a policy selects for a direction may be
// reached, or reach, in that direction what the policies together allow and nothing else. Equal
// states make equal text, whatever their order.
func render(n node, s state) (string, error) {
	in, out := direction{self: "daddr", peer: "saddr"}, direction{self: "saddr", peer: "daddr"}
	slices.SortFunc(s.policies, func(a, b *networking.NetworkPolicy) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	for _, p := range s.policies {
		selected, err := s.selectPods(p.Namespace, &p.Spec.PodSelector)
		if err != nil {
			return "", fmt.Errorf("network policy %s/%s: %w", p.Namespace, p.Name, err)
		}
		for _, kind := range p.Spec.PolicyTypes {
			switch kind {
			case networking.PolicyTypeIngress:
				in.isolate(selected)
				for _, r := range p.Spec.Ingress {
					err = cmp.Or(err, s.allow(&in, p, selected, r.From, r.Ports))
				}
			case networking.PolicyTypeEgress:
				out.isolate(selected)
				for _, r := range p.Spec.Egress {
					err = cmp.Or(err, s.allow(&out, p, selected, r.To, r.Ports))
				}
			}
		}
		if err != nil {
			return "", fmt.Errorf("network policy %s/%s: %w", p.Namespace, p.Name, err)
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "table inet %[1]s\ndelete table inet %[1]s\ntable inet %[1]s {\n", n.table)
	in.chain(&b, "ingress")
	out.chain(&b, "egress")
	// Bridged packets between pods pass the forward hook too (br_netfilter), behind kube-proxy's rewriting.
	fmt.Fprintf(&b, "\tchain forward {\n\t\ttype filter hook forward priority -5;\n\t\tiifname != %q accept\n\t\tct state established,related accept\n\t\tjump egress\n\t\tjump ingress\n\t}\n", n.bridge)
	fmt.Fprintf(&b, "\tchain input {\n\t\ttype filter hook input priority -5;\n\t\tiifname != %q accept\n\t\tct state established,related accept\n\t\tip daddr %s meta l4proto { tcp, udp } th dport 53 accept\n%s\t\tjump egress\n\t}\n}\n", n.bridge, n.dns, n.fence(s))
	return b.String(), nil
}

// fence keeps pods from the way out but for those that may take it.
func (n node) fence(s state) string {
	if n.proxy == 0 {
		return ""
	}
	var may []*core.Pod
	for _, p := range s.pods {
		if n.proxyPods.Matches(labels.Set(p.Labels)) {
			may = append(may, p)
		}
	}
	from := ""
	if set := addresses(may); set != "" {
		from = " ip saddr != " + set
	}
	// Dropped, not refused: a pod that has just begun is not known for a moment, and asks again.
	return fmt.Sprintf("\t\tip daddr %s tcp dport %d%s counter drop\n", n.dns, n.proxy, from)
}

// direction gathers the rules of ingress or egress: self is the selected pods' side of a packet.
type direction struct {
	self, peer string
	isolated   []*core.Pod
	rules      []string
}

func (d *direction) isolate(pods []*core.Pod) { d.isolated = append(d.isolated, pods...) }

func (d *direction) chain(b *strings.Builder, name string) {
	fmt.Fprintf(b, "\tchain %s {\n", name)
	if set := addresses(d.isolated); set != "" {
		fmt.Fprintf(b, "\t\tip %s != %s return\n", d.self, set)
		for _, r := range d.rules {
			fmt.Fprintf(b, "\t\t%s return\n", r)
		}
		fmt.Fprintf(b, "\t\tcounter drop\n")
	}
	fmt.Fprintf(b, "\t}\n")
}

// allow adds the rules of one entry: selected pods and any of peers, at any of ports; none given is all.
func (s state) allow(d *direction, p *networking.NetworkPolicy, selected []*core.Pod, peers []networking.NetworkPolicyPeer, ports []networking.NetworkPolicyPort) error {
	self := addresses(selected)
	if self == "" {
		return nil
	}
	if len(peers) == 0 {
		s.allowPorts(d, "ip "+d.self+" "+self, d.named(selected, s.pods), ports)
	}
	for _, peer := range peers {
		if peer.IPBlock != nil {
			match, err := block(d.peer, peer.IPBlock)
			if err != nil {
				return err
			}
			if match != "" {
				s.allowPorts(d, "ip "+d.self+" "+self+" "+match, d.named(selected, nil), ports)
			}
			continue
		}
		pods, err := s.peerPods(p.Namespace, peer)
		if err != nil {
			return err
		}
		if set := addresses(pods); set != "" {
			s.allowPorts(d, "ip "+d.self+" "+self+" ip "+d.peer+" "+set, d.named(selected, pods), ports)
		}
	}
	return nil
}

// named are the pods at the receiving end, which give named ports their numbers.
func (d *direction) named(selected, peers []*core.Pod) []*core.Pod {
	if d.self == "daddr" {
		return selected
	}
	return peers
}

func (s state) allowPorts(d *direction, match string, receivers []*core.Pod, ports []networking.NetworkPolicyPort) {
	if len(ports) == 0 {
		d.rules = append(d.rules, match)
	}
	for _, p := range ports {
		proto := core.ProtocolTCP
		if p.Protocol != nil {
			proto = *p.Protocol
		}
		with := match + " meta l4proto " + strings.ToLower(string(proto))
		switch {
		case p.Port == nil:
			d.rules = append(d.rules, with)
		case p.Port.StrVal != "":
			for _, number := range sortedKeys(numbers(receivers, proto, p.Port.StrVal)) {
				d.rules = append(d.rules, with+" ip daddr "+addresses(numbers(receivers, proto, p.Port.StrVal)[number])+" th dport "+strconv.Itoa(int(number)))
			}
		case p.EndPort != nil:
			d.rules = append(d.rules, fmt.Sprintf("%s th dport %d-%d", with, p.Port.IntVal, *p.EndPort))
		default:
			d.rules = append(d.rules, fmt.Sprintf("%s th dport %d", with, p.Port.IntVal))
		}
	}
}

// numbers are those of a named port, each with the pods that have it there.
func numbers(pods []*core.Pod, proto core.Protocol, name string) map[int32][]*core.Pod {
	found := map[int32][]*core.Pod{}
	for _, p := range pods {
		for _, c := range p.Spec.Containers {
			for _, port := range c.Ports {
				if port.Name == name && cmp.Or(port.Protocol, core.ProtocolTCP) == proto && addresses([]*core.Pod{p}) != "" {
					found[port.ContainerPort] = append(found[port.ContainerPort], p)
				}
			}
		}
	}
	return found
}

func sortedKeys(m map[int32][]*core.Pod) []int32 {
	var keys []int32
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func block(side string, b *networking.IPBlock) (string, error) {
	cidr, err := netip.ParsePrefix(b.CIDR)
	if err != nil {
		return "", fmt.Errorf("ipBlock: %w", err)
	}
	if !cidr.Addr().Is4() {
		return "", nil // the cluster has no such addresses
	}
	match := "ip " + side + " " + cidr.Masked().String()
	for _, e := range b.Except {
		not, err := netip.ParsePrefix(e)
		if err != nil {
			return "", fmt.Errorf("ipBlock: except: %w", err)
		}
		match += " ip " + side + " != " + not.Masked().String()
	}
	return match, nil
}

func (s state) peerPods(own string, peer networking.NetworkPolicyPeer) ([]*core.Pod, error) {
	pods := peer.PodSelector
	if pods == nil {
		pods = &meta.LabelSelector{}
	}
	if peer.NamespaceSelector == nil {
		return s.selectPods(own, pods)
	}
	which, err := meta.LabelSelectorAsSelector(peer.NamespaceSelector)
	if err != nil {
		return nil, err
	}
	var all []*core.Pod
	for _, ns := range s.namespaces {
		if which.Matches(labels.Set(ns.Labels)) {
			found, err := s.selectPods(ns.Name, pods)
			if err != nil {
				return nil, err
			}
			all = append(all, found...)
		}
	}
	return all, nil
}

func (s state) selectPods(namespace string, selector *meta.LabelSelector) ([]*core.Pod, error) {
	which, err := meta.LabelSelectorAsSelector(selector)
	if err != nil {
		return nil, err
	}
	var found []*core.Pod
	for _, p := range s.pods {
		if p.Namespace == namespace && which.Matches(labels.Set(p.Labels)) {
			found = append(found, p)
		}
	}
	return found, nil
}

// addresses is the set of the pods' addresses as nft writes it, "" where none has one. A pod on the
// node's own network has none of its own, and one that has ended has given it back.
func addresses(pods []*core.Pod) string {
	var list []string
	for _, p := range pods {
		if ip, err := netip.ParseAddr(p.Status.PodIP); err == nil && ip.Is4() && !p.Spec.HostNetwork && p.Status.Phase != core.PodSucceeded && p.Status.Phase != core.PodFailed {
			list = append(list, ip.String())
		}
	}
	if len(list) == 0 {
		return ""
	}
	sort.Strings(list)
	return "{ " + strings.Join(slices.Compact(list), ", ") + " }"
}
