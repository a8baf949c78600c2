package kaniko

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	networkingv1 "k8s.io/api/networking/v1"
)

// names are what lookups find in these tests.
func names(_ context.Context, _, host string) ([]netip.Addr, error) {
	found := map[string][]string{
		"registry.internal": {"10.1.2.3"}, "proxy.internal": {"10.1.2.4"}, "two.internal": {"10.1.2.6", "10.1.2.5", "10.1.2.6"}, "six.internal": {"fd00::5"},
		"s3.example.com": {"93.184.216.34"}, "pypi.example.com": {"93.184.216.35"}, "npm.example.com": {"10.1.2.9"}, "minio.storage.svc": {"10.96.0.9"},
		"metadata.example.com": {"169.254.169.254"}, "mirror.example.com": {"10.7.7.7"},
	}[host]
	if found == nil {
		return nil, fmt.Errorf("no such host: %s", host)
	}
	var out []netip.Addr
	for _, a := range found {
		out = append(out, netip.MustParseAddr(a))
	}
	return out, nil
}

// words writes a rule in one line: ports > places.
func words(r networkingv1.NetworkPolicyEgressRule) string {
	var at, to []string
	for _, p := range r.Ports {
		at = append(at, fmt.Sprintf("%s/%d", *p.Protocol, p.Port.IntValue()))
	}
	for _, p := range r.To {
		switch {
		case p.NamespaceSelector != nil:
			to = append(to, "namespace "+p.NamespaceSelector.MatchLabels["kubernetes.io/metadata.name"])
		case len(p.IPBlock.Except) > 2:
			to = append(to, p.IPBlock.CIDR+" but private")
		case p.IPBlock.Except != nil:
			to = append(to, p.IPBlock.CIDR+" but "+strings.Join(p.IPBlock.Except, ", "))
		default:
			to = append(to, p.IPBlock.CIDR)
		}
	}
	return strings.Join(at, " ") + " > " + strings.Join(to, ", ")
}

func TestPolicy(t *testing.T) {
	const (
		dnsRule = "UDP/53 TCP/53 > namespace kube-system, 169.254.20.10/32"
		web     = "TCP/80 TCP/443 > 0.0.0.0/0 but private, ::/0 but private"
	)
	base := Settings{Namespace: "builds", Registry: "registry.internal:5000/pelton", Proxy: "http://proxy.internal:3128", NetworkPolicy: true}
	for name, c := range map[string]struct {
		change func(*Settings)
		env    environment
		source string
		want   []string
	}{
		"a proxy":  {nil, environment{}, "http://10.1.2.10:9000/bucket/key?signed", []string{dnsRule, "TCP/9000 > 10.1.2.10/32", "TCP/3128 > 10.1.2.4/32", "TCP/5000 > 10.1.2.3/32"}},
		"no proxy": {func(s *Settings) { s.Proxy = "" }, environment{}, "http://10.1.2.10:9000/k", []string{dnsRule, "TCP/9000 > 10.1.2.10/32", "TCP/5000 > 10.1.2.3/32", web}},
		"the internet's": {nil, environment{}, "https://s3.example.com/k", []string{dnsRule, "TCP/3128 > 10.1.2.4/32", "TCP/5000 > 10.1.2.3/32",
			"TCP/443 > 0.0.0.0/0 but private, ::/0 but private"}},
		"a service of the cluster": {nil, environment{}, "http://minio.storage.svc:9000/k", []string{dnsRule, "TCP/9000 > namespace storage, 10.96.0.9/32", "TCP/3128 > 10.1.2.4/32",
			"TCP/5000 > 10.1.2.3/32"}},
		"several addresses, IPv6": {func(s *Settings) { s.Proxy = "http://two.internal:3128"; s.Registry = "six.internal/pelton" }, environment{}, "http://[fd00::7]:9000/k",
			[]string{dnsRule, "TCP/9000 > fd00::7/128", "TCP/3128 > 10.1.2.5/32, 10.1.2.6/32", "TCP/443 > fd00::5/128"}},
		"plain HTTP registries, base images": {func(s *Settings) {
			s.Registry, s.RegistryInsecure = "registry.internal/pelton", []string{"registry.internal"}
			s.Images = Images{"docker.io/library/python:3", "mirror.example.com/nodejs:22", "static", "library/golang:1"}
		}, environment{}, "http://10.1.2.10/k", []string{dnsRule, "TCP/80 > 10.1.2.10/32", "TCP/3128 > 10.1.2.4/32", "TCP/80 > 10.1.2.3/32",
			"TCP/443 > 0.0.0.0/0 but 169.254.0.0/16, ::/0 but fe80::/10", "TCP/443 > 10.7.7.7/32"}},
		"where nobody knows": {nil, environment{}, "http://nowhere.internal:9000/k", []string{dnsRule, "TCP/9000 > 0.0.0.0/0 but 169.254.0.0/16, ::/0 but fe80::/10", "TCP/3128 > 10.1.2.4/32", "TCP/5000 > 10.1.2.3/32"}},
		"never metadata":     {nil, environment{}, "http://metadata.example.com/k", []string{dnsRule, "TCP/3128 > 10.1.2.4/32", "TCP/5000 > 10.1.2.3/32"}},
		"nameservers":        {func(s *Settings) { s.Nameservers = []string{"10.0.0.2", "fd00::53"} }, environment{}, "", []string{"UDP/53 TCP/53 > 10.0.0.2/32, fd00::53/128", "TCP/3128 > 10.1.2.4/32", "TCP/5000 > 10.1.2.3/32"}},
		"package hosts are behind the proxy": {func(s *Settings) { s.NoProxy = []string{".example.com"} }, environment{
			files: map[string][]byte{"npmrc": []byte("registry=https://npm.example.com:8443/npm/\n//npm.example.com/:_auth=x\n"), "pip.conf": []byte("[global]\nindex-url = https://pypi.elsewhere.com/simple\n")},
			args:  map[string]string{"GOPROXY": "https://mirror.example.com|https://goproxy.elsewhere.com,direct", "HTTPS_PROXY": "http://proxy.internal:3128"},
		}, "", []string{dnsRule, "TCP/3128 > 10.1.2.4/32", "TCP/5000 > 10.1.2.3/32", "TCP/8443 > 10.1.2.9/32", "TCP/443 > 10.7.7.7/32"}},
		"package hosts without a proxy": {func(s *Settings) { s.Proxy = "" }, environment{files: map[string][]byte{"npmrc": []byte("registry=http://npm.example.com/npm/\n")}, args: map[string]string{"PIP_INDEX_URL": "https://pypi.example.com:8443/simple"}},
			"", []string{dnsRule, "TCP/5000 > 10.1.2.3/32", "TCP/80 > 10.1.2.9/32", "TCP/80 TCP/443 TCP/8443 > 0.0.0.0/0 but private, ::/0 but private"}},
		"more": {func(s *Settings) {
			s.NetworkAllow = []string{"mirror.example.com:8081", "10.20.0.0/16:443", "0.0.0.0/0:22", "8.8.8.8:853"}
		}, environment{}, "",
			[]string{dnsRule, "TCP/3128 > 10.1.2.4/32", "TCP/5000 > 10.1.2.3/32", "TCP/8081 > 10.7.7.7/32", "TCP/443 > 10.20.0.0/16", "TCP/22 > 0.0.0.0/0 but 169.254.0.0/16", "TCP/853 > 8.8.8.8/32"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := base
			if c.change != nil {
				c.change(&s)
			}
			p := makePolicy(s, locate(t.Context(), s.targets(c.env, c.source), names))
			var got []string
			for _, r := range p.Spec.Egress {
				require.NotEmpty(t, r.Ports, "a rule without ports opens all")
				require.NotEmpty(t, r.To, "a rule without places opens all")
				got = append(got, words(r))
			}
			require.Equal(t, c.want, got)
			require.Empty(t, p.Spec.Ingress)
			require.Equal(t, []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress}, p.Spec.PolicyTypes)
			require.Equal(t, "builds", p.Namespace)
			for k, v := range p.Spec.PodSelector.MatchLabels {
				require.Equal(t, v, makeJob(task{Order: "o", Kind: "deps"}, usual()).Spec.Template.Labels[k], "it is for build pods")
			}
		})
	}
}

// TestPolicyPrivate: what builds reach of the internet leaves out every address of a cluster.
func TestPolicyPrivate(t *testing.T) {
	for _, a := range []string{"10.0.0.1/32", "172.31.0.1/32", "192.168.1.1/32", "100.64.0.1/32", "127.0.0.1/32", "169.254.169.254/32", "fd00:ec2::254/128", "fe80::1/128", "::1/128", "::ffff:10.0.0.1/128", "224.0.0.1/32"} {
		require.False(t, public(netip.MustParsePrefix(a)), a)
	}
	for _, a := range []string{"8.8.8.8/32", "93.184.216.34/32", "2606:2800::1/128"} {
		require.True(t, public(netip.MustParsePrefix(a)), a)
	}
}

func TestNetworkAllow(t *testing.T) {
	for text, says := range map[string]string{
		"mirror.example.com:443": "", "10.0.0.0/8:443": "", "[fd00::1]:443": "", "mirror.example.com": "names no host with a port", ":443": "whose port is none",
		"mirror.example.com:0": "whose port is none", "mirror.example.com:70000": "whose port is none", "10.0.0.0/33:443": "is no network",
	} {
		s := usual()
		s.NetworkAllow = []string{"10.1.1.1:1", text}
		err := s.check()
		if says == "" {
			require.NoError(t, err, text)
			continue
		}
		require.ErrorContains(t, err, "builder.network_allow[1]", text)
		require.ErrorContains(t, err, says, text)
	}
}
