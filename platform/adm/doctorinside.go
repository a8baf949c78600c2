package adm

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pelton-run/pelton/platform/adm/checks"
	"github.com/pelton-run/pelton/platform/adm/probe"
	"github.com/pelton-run/pelton/platform/kit/fault"
)

// inCluster is what doctor's Job looks at beside the data: what can be seen from inside alone.
type inCluster struct {
	gateway, host string // of the probe
	stream        time.Duration
}

func (w *inCluster) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&w.gateway, "probe-gateway", "", "HOST:PORT that takes calls to the probe")
	f.StringVar(&w.host, "probe-host", "", "name of the probe's service")
	f.DurationVar(&w.stream, "stream", 70*time.Second, "how long the stream stays open")
	for _, n := range []string{"probe-gateway", "probe-host", "stream"} {
		_ = f.MarkHidden(n) // there is such a flag
	}
}

func (w *inCluster) check(ctx context.Context, table *checks.Table) {
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

// holdCommand is what a pod does that waits for commands: nothing, until it is ended.
func (t *tool) holdCommand() *cobra.Command {
	return &cobra.Command{
		Use: "hold", Short: "Wait until ended", Hidden: true, Args: exactly(0, "hold"),
		RunE: func(cmd *cobra.Command, _ []string) error { <-cmd.Context().Done(); return nil },
	}
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
