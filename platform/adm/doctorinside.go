package adm

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/spf13/cobra"

	"github.com/pelton-run/pelton/platform/adm/checks"
	"github.com/pelton-run/pelton/platform/adm/probe"
	"github.com/pelton-run/pelton/platform/kit/fault"
)

// inCluster is what doctor's Job looks at beside the data: what can be seen from inside alone.
type inCluster struct {
	gateway, host      string // of the probe
	registry, config   string
	registryIsInsecure bool
	stream             time.Duration
}

func (w *inCluster) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&w.gateway, "probe-gateway", "", "HOST:PORT that takes calls to the probe")
	f.StringVar(&w.host, "probe-host", "", "name of the probe's service")
	f.StringVar(&w.registry, "registry", "", "HOST[:PORT]/PREFIX that images are pushed below")
	f.StringVar(&w.config, "registry-credentials", "", "docker config.json")
	f.BoolVar(&w.registryIsInsecure, "registry-insecure", false, "the registry speaks plain HTTP")
	f.DurationVar(&w.stream, "stream", 70*time.Second, "how long the stream stays open")
	for _, n := range []string{"probe-gateway", "probe-host", "registry", "registry-credentials", "registry-insecure", "stream"} {
		_ = f.MarkHidden(n) // there is such a flag
	}
}

func (w *inCluster) check(ctx context.Context, table *checks.Table) {
	if w.registry != "" {
		ref, err := w.pushAndPull(ctx)
		table.Add("registry", "pushed and pulled "+ref, "see registry.address, registry.insecure and registry.credentialsSecret in the values", err)
	}
	if w.host == "" {
		return
	}
	c := &probe.Client{Gateway: w.gateway, Host: w.host}
	if c.Gateway == "" {
		c.Gateway = net.JoinHostPort(w.host, "80")
	}
	ready, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := c.Ready(ready); err != nil {
		table.Add("ingress", "", "see the ingress of Knative (config-network, ingress-class), the cluster's DNS, and knative.gateway in the values", err)
		return
	}
	_, err := c.Parallel(ctx, 300, 1000)
	table.Add("ingress: 300 calls at once", "all answered", "raise the limits of connections and streams of the ingress and the activator", err)
	pods, err := c.Parallel(ctx, 20, 500)
	if err == nil && len(pods) < 2 {
		err = fault.New(fault.Conflict, "20 calls at once all reached one pod of two")
	}
	table.Add("ingress: calls spread over pods", fmt.Sprintf("20 calls reached %d pods", len(pods)),
		"the ingress keeps one connection to a service: see that target-burst-capacity keeps the activator in the path, and that config-autoscaler does not forbid it", err)
	_, err = c.Stream(ctx, w.stream)
	table.Add("ingress: a two-way stream of "+w.stream.String(), "it stayed open",
		"raise the ingress's time limit for reading requests (Traefik: entryPoints.<name>.transport.respondingTimeouts.readTimeout=0; 60 s as it comes)", err)
}

// pushAndPull pushes a tiny image below the prefix and reads it back.
func (w *inCluster) pushAndPull(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var opts []name.Option
	if w.registryIsInsecure {
		opts = append(opts, name.Insecure)
	}
	ref, err := name.NewTag(w.registry+"/doctor:probe", opts...)
	if err != nil {
		return "", fault.New(fault.Invalid, "registry.address is %s: %s", w.registry, err)
	}
	var chain authn.Keychain = authn.DefaultKeychain
	if w.config != "" {
		if chain, err = keychain(w.config); err != nil {
			return "", err
		}
	}
	img, err := mutate.Config(empty.Image, v1.Config{Labels: map[string]string{"org.pelton.probe": "doctor"}})
	if err != nil {
		return "", err
	}
	o := []remote.Option{remote.WithContext(ctx), remote.WithAuthFromKeychain(chain)}
	if err := remote.Write(ref, img, o...); err != nil {
		return "", fault.New(fault.Unavailable, "push %s: %s", ref, err)
	}
	want, err := img.Digest()
	if err != nil {
		return "", err
	}
	got, err := remote.Get(ref, o...)
	if err != nil {
		return "", fault.New(fault.Unavailable, "pull %s: %s", ref, err)
	}
	if got.Digest != want {
		return "", fault.New(fault.Conflict, "%s is %s after %s was pushed", ref, got.Digest, want)
	}
	return ref.String() + "@" + want.String()[:19] + "…", nil
}

// keychain reads a docker config.json.
func keychain(file string) (authn.Keychain, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fault.New(fault.Invalid, "the registry's credentials cannot be read: %s", err)
	}
	var c struct {
		Auths map[string]authn.AuthConfig `json:"auths"`
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, fault.New(fault.Invalid, "%s is no docker config.json: %s", file, err)
	}
	return chain(c.Auths), nil
}

type chain map[string]authn.AuthConfig

// Resolve implements authn.Keychain.
func (c chain) Resolve(r authn.Resource) (authn.Authenticator, error) {
	for host, a := range c {
		host = strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(host, "https://"), "http://"), "/")
		if host == r.RegistryStr() || strings.HasPrefix(host, r.RegistryStr()+"/") {
			return authn.FromConfig(a), nil
		}
	}
	return authn.Anonymous, nil
}

func (t *tool) probeCommand() *cobra.Command {
	return &cobra.Command{
		Use: "probe", Short: "Serve what doctor calls, on $PORT", Hidden: true, Args: exactly(0, "probe"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			port := "8080"
			for _, kv := range t.environ {
				if v, ok := strings.CutPrefix(kv, "PORT="); ok {
					port = v
				}
			}
			l, err := net.Listen("tcp", net.JoinHostPort("", port))
			if err != nil {
				return err
			}
			host, err := os.Hostname()
			if err != nil {
				return err
			}
			return probe.Serve(cmd.Context(), l, filepath.Base(host))
		},
	}
}
