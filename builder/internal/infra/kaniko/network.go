package kaniko

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// policyName is the network policy of all build pods of a namespace.
const policyName = "builder"

// The networks that builds reach only where a setting names them: private ones, in which pods and API servers
// have their addresses, and those of one machine or link, where clouds tell credentials.
var (
	private4  = []string{"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/3"}
	private6  = []string{"::/127", "::ffff:0:0/96", "64:ff9b::/96", "fc00::/7", "fe80::/10", "ff00::/8"}
	linkLocal = []netip.Prefix{netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("fe80::/10")}
	// nodeDNS is where nodes have their own cache of the cluster's DNS, by the convention of NodeLocal DNSCache.
	nodeDNS = "169.254.20.10/32"
)

// target is something that builds have to reach.
type target struct {
	host string // a name, an address or a network
	port int
}

// place is where a target is.
type place struct {
	target
	nets      []netip.Prefix // of its addresses; none = its name leads nowhere from here
	namespace string         // of a service of the cluster
}

// service is the name of a service as the cluster's DNS knows it.
var service = regexp.MustCompile(`^[a-z0-9-]+\.([a-z0-9-]+)\.svc(\..+)?$`)

var urls = regexp.MustCompile(`https?://[^\s"'|,;]+`)

// targets are what the settings say that builds reach: the proxy, or else the package hosts that are named; registries;
// the source; and what the operator adds.
func (s *Settings) targets(e environment, source string) []target {
	var out []target
	add := func(host string, port int) {
		if t := (target{strings.ToLower(strings.Trim(host, "[]")), port}); host != "" && !slices.ContainsFunc(out, func(o target) bool { return o.host == t.host && o.port == t.port }) {
			out = append(out, t)
		}
	}
	web := func(text string, also func(host string) bool) {
		u, err := url.Parse(text)
		if err != nil || u.Hostname() == "" || !also(u.Hostname()) {
			return
		}
		add(u.Hostname(), portOf(u.Port(), map[string]int{"http": 80, "https": 443}[u.Scheme]))
	}
	all := func(string) bool { return true }
	web(source, all)
	web(s.Proxy, all)
	for _, ref := range []string{s.Registry, s.Images.Python3, s.Images.Nodejs, s.Images.Go, s.Images.GoBuild} {
		at, _, _ := strings.Cut(ref, "/")
		if !strings.ContainsAny(at, ".:") && at != "localhost" {
			continue // a name without a host is one of Docker Hub
		}
		host, port := split(at)
		add(host, portOf(port, map[bool]int{true: 80, false: 443}[slices.Contains(s.RegistryInsecure, at)]))
	}
	// Package hosts are behind the proxy, but for those that are reached without it.
	direct := func(host string) bool {
		return s.Proxy == "" || slices.ContainsFunc(s.NoProxy, func(n string) bool {
			return strings.EqualFold(host, strings.TrimPrefix(n, ".")) || strings.HasSuffix(strings.ToLower(host), "."+strings.ToLower(strings.TrimPrefix(n, ".")))
		})
	}
	for _, name := range []string{"npmrc", "pip.conf", "apt.conf"} {
		for _, u := range urls.FindAllString(string(e.files[name]), -1) {
			web(u, direct)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(e.args)) {
		for _, u := range urls.FindAllString(e.args[name], -1) {
			if !strings.HasSuffix(strings.ToUpper(name), "_PROXY") {
				web(u, direct)
			}
		}
	}
	for _, a := range s.NetworkAllow {
		if host, port, err := allowed(a); err == nil { // check has told of the others
			add(host, port)
		}
	}
	return out
}

func split(hostPort string) (host, port string) {
	if h, p, err := net.SplitHostPort(hostPort); err == nil {
		return h, p
	}
	return hostPort, ""
}

func portOf(text string, otherwise int) int {
	if n, err := strconv.Atoi(text); err == nil {
		return n
	}
	return otherwise
}

// allowed reads an entry of network_allow.
func allowed(text string) (host string, port int, err error) {
	h, p, err := net.SplitHostPort(text)
	if err != nil {
		return "", 0, fmt.Errorf("is %q, which names no host with a port", text)
	}
	n, err := strconv.Atoi(p)
	if err != nil || n < 1 || n > 65535 || h == "" {
		return "", 0, fmt.Errorf("is %q, whose port is none from 1 to 65535", text)
	}
	if strings.Contains(h, "/") {
		if _, err := netip.ParsePrefix(h); err != nil {
			return "", 0, fmt.Errorf("is %q, which is no network", text)
		}
	}
	return h, n, nil
}

// lookup finds the addresses of a name.
type lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)

// locate finds where targets are. A name that leads nowhere from here is kept without an address.
func locate(ctx context.Context, all []target, look lookup) []place {
	var out []place
	for _, t := range all {
		p := place{target: t}
		if m := service.FindStringSubmatch(t.host); m != nil {
			p.namespace = m[1]
		}
		if n, err := netip.ParsePrefix(t.host); err == nil {
			p.nets = []netip.Prefix{n.Masked()}
		} else if a, err := netip.ParseAddr(t.host); err == nil {
			p.nets = []netip.Prefix{netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen())}
		} else {
			soon, cancel := context.WithTimeout(ctx, 5*time.Second)
			found, _ := look(soon, "ip", t.host) // who cannot be found from here may be from there
			cancel()
			for _, a := range found {
				p.nets = append(p.nets, netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()))
			}
			slices.SortFunc(p.nets, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
			p.nets = slices.Compact(p.nets)
		}
		out = append(out, p)
	}
	return out
}

// public tells whether an address is one of the internet.
func public(n netip.Prefix) bool {
	for _, list := range [][]string{private4, private6} {
		for _, p := range list {
			if netip.MustParsePrefix(p).Overlaps(n) {
				return false
			}
		}
	}
	return true
}

// makePolicy lets nobody reach build pods, and those only what they need: the cluster's DNS, the places of the settings,
// and, where no proxy does it for them, hosts of the internet that speak HTTP. A name with a public
// address counts as the internet at its port, since such addresses change.
func makePolicy(s Settings, places []place) *networkingv1.NetworkPolicy {
	egress := []networkingv1.NetworkPolicyEgressRule{dns(s)}
	open := map[int]bool{}
	if s.Proxy == "" {
		open[80], open[443] = true, true
	}
	for _, p := range places {
		var to []networkingv1.NetworkPolicyPeer
		if p.namespace != "" { // its pods are taken to listen where it does
			to = append(to, networkingv1.NetworkPolicyPeer{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": p.namespace}}})
		}
		for _, n := range p.nets {
			named := n.String() == p.host || n.Addr().String() == p.host
			switch {
			case slices.ContainsFunc(linkLocal, n.Overlaps) && n.IsSingleIP():
				continue // where clouds tell credentials
			case !named && public(n):
				open[p.port] = true
				continue
			}
			to = append(to, block(n))
		}
		if len(p.nets) == 0 && p.namespace == "" {
			to = []networkingv1.NetworkPolicyPeer{
				{IPBlock: &networkingv1.IPBlock{CIDR: "0.0.0.0/0", Except: []string{"169.254.0.0/16"}}}, {IPBlock: &networkingv1.IPBlock{CIDR: "::/0", Except: []string{"fe80::/10"}}}}
		}
		if len(to) > 0 {
			egress = append(egress, networkingv1.NetworkPolicyEgressRule{To: to, Ports: ports(corev1.ProtocolTCP, p.port)})
		}
	}
	if len(open) > 0 {
		egress = append(egress, networkingv1.NetworkPolicyEgressRule{Ports: ports(corev1.ProtocolTCP, slices.Sorted(maps.Keys(open))...), To: []networkingv1.NetworkPolicyPeer{
			{IPBlock: &networkingv1.IPBlock{CIDR: "0.0.0.0/0", Except: private4}}, {IPBlock: &networkingv1.IPBlock{CIDR: "::/0", Except: private6}}}})
	}
	return &networkingv1.NetworkPolicy{
		TypeMeta:   metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy"},
		ObjectMeta: metav1.ObjectMeta{Name: policyName, Namespace: s.Namespace, Labels: map[string]string{"app.kubernetes.io/name": "pelton", labelPart: partOf}},
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app.kubernetes.io/name": "pelton", labelPart: partOf}},
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress},
			Egress:      egress,
		},
	}
}

// dns is the way to the cluster's DNS, or to the servers that the settings name instead.
func dns(s Settings) networkingv1.NetworkPolicyEgressRule {
	to := []networkingv1.NetworkPolicyPeer{
		{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": "kube-system"}}},
		{IPBlock: &networkingv1.IPBlock{CIDR: nodeDNS}},
	}
	if len(s.Nameservers) > 0 {
		to = nil
	}
	for _, n := range s.Nameservers {
		if a, err := netip.ParseAddr(n); err == nil {
			to = append(to, block(netip.PrefixFrom(a, a.BitLen())))
		}
	}
	return networkingv1.NetworkPolicyEgressRule{To: to, Ports: append(ports(corev1.ProtocolUDP, 53), ports(corev1.ProtocolTCP, 53)...)}
}

// block is a network; what lies in it of the addresses at which clouds tell credentials stays shut.
func block(n netip.Prefix) networkingv1.NetworkPolicyPeer {
	b := &networkingv1.IPBlock{CIDR: n.String()}
	for _, l := range linkLocal {
		if n.Overlaps(l) && n.Bits() < l.Bits() {
			b.Except = append(b.Except, l.String())
		}
	}
	return networkingv1.NetworkPolicyPeer{IPBlock: b}
}

func ports(p corev1.Protocol, numbers ...int) []networkingv1.NetworkPolicyPort {
	var out []networkingv1.NetworkPolicyPort
	for _, n := range numbers {
		at := intstr.FromInt32(int32(n)) //nolint:gosec // a port
		out = append(out, networkingv1.NetworkPolicyPort{Protocol: &p, Port: &at})
	}
	return out
}
