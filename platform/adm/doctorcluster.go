package adm

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"helm.sh/helm/v3/pkg/chartutil"

	"github.com/pelton-run/pelton/platform/adm/checks"
	"github.com/pelton-run/pelton/platform/adm/install"
	"github.com/pelton-run/pelton/platform/kit/fault"
)

// checkCluster looks at an installation from outside, then from inside.
func (t *tool) checkCluster(ctx context.Context, i *installation, table *checks.Table) error {
	c, err := i.Access.Open(ctx)
	if err != nil {
		table.Add("Kubernetes", "", "see --kubeconfig and --context", err)
		return nil
	}
	table.Add("Kubernetes", c.Version, "", nil)
	rel, err := i.Installed()
	if err == nil && rel == nil {
		err = fault.New(fault.NotFound, "there is no installation %s in the namespace %s", i.Name, i.Access.Namespace)
	}
	values := map[string]any{}
	if err == nil {
		values, err = chartutil.CoalesceValues(rel.Chart, rel.Config)
	}
	table.Add("installation", "", "run pelton-adm install, or give -n and the name", install.Words("", err))
	if err == nil {
		(*table)[len(*table)-1].Detail = fmt.Sprintf("%s revision %d, version %s", rel.Name, rel.Version, rel.Chart.Metadata.AppVersion)
	}
	serving := install.Text(values, "knative", "servingNamespace")
	if serving == "" {
		serving = "knative-serving"
	}
	knative := c.CheckServing()
	table.Add("Knative Serving", c.KnativeVersion(ctx, serving), "https://knative.dev/docs/install", knative)
	if knative == nil {
		t.checkFlags(ctx, c, serving, table)
	}
	if err := c.CheckEventing(); err != nil {
		table.Warn("Knative Eventing", err.Error(), "it is needed for events from and to Knative brokers alone")
	} else {
		table.Add("Knative Eventing", c.KnativeVersion(ctx, "knative-eventing"), "", nil)
	}
	if rel == nil {
		table.Skip("services, ingress, registry, database, broker, filestore", "there is no installation to look at")
		return nil
	}
	waits, n, err := c.Running(ctx, i.Name, rel.Version)
	if err == nil && len(waits) > 0 {
		var parts []string
		for _, w := range waits {
			parts = append(parts, w.What+": "+w.Why)
		}
		err = fault.New(fault.Unavailable, "not ready: %s", strings.Join(parts, "; "))
	}
	table.Add("services", fmt.Sprintf("%d deployments ready", n), "kubectl -n "+i.Access.Namespace+" describe pods; pelton-adm install says what each waits for", err)
	if knative != nil {
		table.Skip("ingress, registry, database, broker, filestore", "they are looked at by a Job that calls a Knative Service")
		return nil
	}
	out, err := c.Look(ctx, insideOf(i, values), t.say)
	if err != nil {
		table.Add("inside of the cluster", "", "see the namespace's events: kubectl -n "+i.Access.Namespace+" get events", err)
		return nil
	}
	var inside struct{ Checks checks.Table }
	if start := bytes.IndexByte(out, '{'); start < 0 || json.NewDecoder(bytes.NewReader(out[start:])).Decode(&inside) != nil {
		table.Add("inside of the cluster", "", "", fault.New(fault.Internal, "doctor's Job did not tell what it found: %s", strings.TrimSpace(string(out))))
		return nil
	}
	*table = append(*table, inside.Checks...)
	return nil
}

func (t *tool) checkFlags(ctx context.Context, c *install.Cluster, serving string, table *checks.Table) {
	off, err := c.FlagsOff(ctx, serving)
	switch {
	case err != nil:
		table.Add("features of Knative Serving", "", "give knative.servingNamespace in the values", err)
	case len(off) > 0:
		table.Warn("features of Knative Serving", "off: "+strings.Join(off, ", "), "pelton-adm install turns them on; actions that ask for them are refused until then")
	default:
		table.Add("features of Knative Serving", "on", "", nil)
	}
}

// insideOf says what the values name.
func insideOf(i *installation, v map[string]any) install.Inside {
	in := install.Inside{
		Name: i.Name, Namespace: i.Access.Namespace, Image: install.Text(v, "image", "reference"), PullPolicy: install.Text(v, "image", "pullPolicy"), PullSecret: install.Text(v, "image", "pullSecret"),
		S3Secret: install.Text(v, "s3", "existingSecret"), Gateway: install.Text(v, "knative", "gateway"),
		RegistrySecret: install.Text(v, "registry", "credentialsSecret"), CABundle: install.Text(v, "caBundle") != "",
		Proxy: install.Proxy{HTTP: install.Text(v, "proxy", "http"), HTTPS: install.Text(v, "proxy", "https"), No: install.Text(v, "proxy", "no")},
	}
	if in.S3Secret == "" {
		in.S3Secret = i.Name + "-s3"
	}
	return in
}
