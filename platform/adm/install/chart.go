package install

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/cli"
	"helm.sh/helm/v3/pkg/cli/values"
	"helm.sh/helm/v3/pkg/getter"
	"helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/storage"
	"helm.sh/helm/v3/pkg/storage/driver"

	"github.com/pelton-run/pelton/config/helm"
	"github.com/pelton-run/pelton/platform/kit/fault"
)

// Release is an installation: its name, its values, and how it is reached.
type Release struct {
	Name   string
	Files  []string // of values, later ones count
	Set    []string // key=value
	Access Access
	Say    func(format string, args ...any)
}

// Chart is the chart that this program holds, as of version.
func Chart(version string) (*chart.Chart, error) {
	var files []*loader.BufferedFile
	err := fs.WalkDir(helm.Chart, "pelton", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := helm.Chart.ReadFile(path)
		files = append(files, &loader.BufferedFile{Name: strings.TrimPrefix(path, "pelton/"), Data: data})
		return err
	})
	if err != nil {
		return nil, err
	}
	c, err := loader.LoadFiles(files)
	if err == nil && version != "" {
		c.Metadata.AppVersion = version
	}
	return c, err
}

// Values are those that files and settings give, over nothing: the chart's own come below them.
func (r Release) Values() (map[string]any, error) {
	o := values.Options{ValueFiles: r.Files, Values: r.Set}
	v, err := o.MergeValues(getter.Providers{})
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "the values cannot be read: %s", err)
	}
	return v, nil
}

// Effective are the values as the chart sees them. Unknown names at the top are refused: a misprint would
// do nothing.
func (r Release) Effective(version string) (map[string]any, error) {
	c, err := Chart(version)
	if err != nil {
		return nil, err
	}
	own, err := r.Values()
	if err != nil {
		return nil, err
	}
	var known []string
	for k := range c.Values {
		known = append(known, k)
	}
	for k := range own {
		if _, ok := c.Values[k]; !ok && k != "global" {
			remedy := "see config/helm/pelton/values.yaml for the values"
			if near := fault.Nearest(k, known); near != "" {
				remedy = "did you mean " + near + "?"
			}
			return nil, fault.InvalidField(k, "is no value of the chart", remedy)
		}
	}
	return chartutil.CoalesceValues(c, own)
}

// Text gives a value by its path, "" where there is none.
func Text(v map[string]any, path ...string) string {
	for i, p := range path {
		next, ok := v[p]
		if !ok {
			return ""
		}
		if i == len(path)-1 {
			if next == nil {
				return ""
			}
			return fmt.Sprint(next)
		}
		if v, ok = next.(map[string]any); !ok {
			return ""
		}
	}
	return ""
}

// Render gives the manifests without asking a cluster; secrets show as made for a first installation.
func (r Release) Render(ctx context.Context, version string) (string, error) {
	c, err := Chart(version)
	if err != nil {
		return "", err
	}
	v, err := r.Values()
	if err != nil {
		return "", err
	}
	in := action.NewInstall(&action.Configuration{Log: func(string, ...any) {}})
	in.ReleaseName, in.Namespace, in.ClientOnly, in.DryRun, in.Replace, in.IncludeCRDs = r.Name, r.Access.Namespace, true, true, true, true
	in.KubeVersion = &chartutil.KubeVersion{Version: "v1.34.0", Major: "1", Minor: "34"}
	rel, err := in.RunWithContext(ctx, c, v)
	if err != nil {
		return "", chartError(err)
	}
	return rel.Manifest, nil
}

// chartError takes what the chart itself says out of what Helm puts around it.
func chartError(err error) error {
	text := err.Error()
	if _, said, ok := strings.Cut(text, "error calling fail: "); ok {
		return fault.New(fault.Invalid, "%s", said)
	}
	if rest, ok := strings.CutPrefix(text, "execution error at ("); ok {
		if _, said, ok := strings.Cut(rest, "): "); ok {
			return fault.New(fault.Invalid, "%s", said)
		}
	}
	switch {
	case strings.Contains(text, "no matches for kind"):
		return fault.Wrap(err, fault.Conflict, "the cluster does not know a kind that the chart makes (%s): install what it belongs to, or choose another ingress.kind", text)
	case strings.Contains(text, "cannot be imported into the current release"), strings.Contains(text, "exists and cannot be imported"):
		return fault.Wrap(err, fault.Conflict, "something of these names is there already and is not this release's: %s", text)
	case strings.Contains(text, "another operation (install/upgrade/rollback) is in progress"):
		return fault.Wrap(err, fault.Conflict, "another installation of this release is under way: wait until it has ended")
	case strings.Contains(text, "because it is being terminated"):
		return fault.Wrap(err, fault.Unavailable, "a namespace of a former installation is still being removed: try again in a moment (%s)", text)
	}
	return err
}

func (r Release) helm() (*action.Configuration, error) {
	env := cli.New()
	env.KubeConfig, env.KubeContext = r.Access.Kubeconfig, r.Access.Context
	env.SetNamespace(r.Access.Namespace)
	cfg := &action.Configuration{}
	return cfg, cfg.Init(env.RESTClientGetter(), r.Access.Namespace, "secret", func(string, ...any) {})
}

// Installed gives the release that is there, nil if none is.
func (r Release) Installed() (*release.Release, error) {
	cfg, err := r.helm()
	if err != nil {
		return nil, err
	}
	rel, err := action.NewGet(cfg).Run(r.Name)
	if errors.Is(err, driver.ErrReleaseNotFound) {
		return nil, nil //nolint:nilnil // see above
	}
	return rel, err
}

// brokenOff is how long after its begin an operation that has told no end is taken to have none: applying
// takes seconds, and is given up by itself after 5 minutes.
const brokenOff = 10 * time.Minute

// takeOver makes a release whose operation broke off one that failed, which Helm goes on from. One that may be
// under way is a conflict.
func takeOver(store *storage.Storage, rel *release.Release, now time.Time) error {
	if rel == nil || !rel.Info.Status.IsPending() {
		return nil
	}
	if since := now.Sub(rel.Info.LastDeployed.Time); since < brokenOff {
		return fault.New(fault.Conflict, "another installation of %s is under way since %s: wait until it has ended; one that broke off is taken over in %s",
			rel.Name, rel.Info.LastDeployed.UTC().Format(time.RFC3339), (brokenOff - since).Round(time.Second))
	}
	rel.SetStatus(release.StatusFailed, "broke off")
	return store.Update(rel)
}

// Apply installs the release, or upgrades the one that is there; it does not wait until it is ready.
func (r Release) Apply(ctx context.Context, version string) (*release.Release, error) {
	c, err := Chart(version)
	if err != nil {
		return nil, err
	}
	v, err := r.Values()
	if err != nil {
		return nil, err
	}
	old, err := r.Installed()
	if err != nil {
		return nil, err
	}
	cfg, err := r.helm()
	if err != nil {
		return nil, err
	}
	if err := takeOver(cfg.Releases, old, time.Now()); err != nil {
		return nil, err
	}
	var rel *release.Release
	if old == nil {
		in := action.NewInstall(cfg)
		in.ReleaseName, in.Namespace, in.CreateNamespace, in.Timeout = r.Name, r.Access.Namespace, true, 5*time.Minute
		rel, err = in.RunWithContext(ctx, c, v)
	} else {
		up := action.NewUpgrade(cfg)
		up.Namespace, up.Timeout, up.MaxHistory = r.Access.Namespace, 5*time.Minute, 10
		rel, err = up.RunWithContext(ctx, r.Name, c, v)
	}
	if err != nil {
		return nil, chartError(err)
	}
	return rel, nil
}

// Remove takes the release away and waits until it is gone; secrets with keys stay.
func (r Release) Remove() error {
	cfg, err := r.helm()
	if err != nil {
		return err
	}
	un := action.NewUninstall(cfg)
	un.Timeout, un.Wait = 5*time.Minute, true // an installation that follows must not meet what is about to go
	_, err = un.Run(r.Name)
	if errors.Is(err, driver.ErrReleaseNotFound) {
		return fault.New(fault.NotFound, "there is no installation %s in the namespace %s: `helm list -A` shows what is there", r.Name, r.Access.Namespace)
	}
	return err
}
