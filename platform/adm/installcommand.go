package adm

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pelton-run/pelton/platform/adm/install"
	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/server"
)

// installation is what the commands that work on a cluster share.
type installation struct {
	install.Release
	dryRun, keepFlags bool
	timeout           time.Duration
}

func (i *installation) access(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&i.Access.Namespace, "namespace", "n", "pelton", "namespace of the installation")
	f.StringVar(&i.Access.Kubeconfig, "kubeconfig", "", "file that names the cluster (default $KUBECONFIG, ~/.kube/config)")
	f.StringVar(&i.Access.Context, "context", "", "context of the kubeconfig")
}

func (i *installation) values(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVarP(&i.Files, "values", "f", nil, "YAML file with values of the chart; several, later ones count")
	f.StringArrayVar(&i.Set, "set", nil, "a value, such as --set services.runner.replicas=3; several")
}

// longestName is how many characters the name of an installation has at most, as the chart checks.
const longestName = 40

// named takes the name of the installation from the arguments.
func (i *installation) named(usage string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) > 1 {
			return &usageError{fault.New(fault.Invalid, "usage: pelton-adm %s", usage)}
		}
		if i.Name = "pelton"; len(args) == 1 {
			i.Name = args[0]
		}
		if len(i.Name) > longestName {
			return &usageError{fault.New(fault.Invalid, "the name %s has %d characters: give one of at most %d, since names are made of it", i.Name, len(i.Name), longestName)}
		}
		return nil
	}
}

func (t *tool) installCommand(verb string) *cobra.Command {
	i := &installation{}
	short := "Install Pelton on a Kubernetes cluster with Knative, or bring an installation to these values"
	if verb == "upgrade" {
		short = "Bring an installation to this version and these values"
	}
	usage := verb + " [NAME] -n NAMESPACE -f VALUES"
	cmd := &cobra.Command{
		Use: usage, Short: short,
		Long: short + `.

It checks the cluster first, turns on the features of Knative Serving that actions may ask for, applies the chart
and waits until every service is ready, saying what it waits for. Called again it changes what differs.`,
		Example: "  pelton-adm " + verb + " -n pelton -f values.yaml\n  pelton-adm " + verb + " -n pelton -f values.yaml --dry-run | less",
		Args:    i.named(usage),
		RunE: func(cmd *cobra.Command, _ []string) error {
			i.Say = t.say
			return t.install(cmd.Context(), i, verb == "upgrade")
		},
	}
	i.access(cmd)
	i.values(cmd)
	cmd.Flags().BoolVar(&i.dryRun, "dry-run", false, "print the manifests, ask no cluster, change nothing")
	cmd.Flags().BoolVar(&i.keepFlags, "keep-knative-flags", false, "leave the features of Knative Serving as they are")
	cmd.Flags().DurationVar(&i.timeout, "timeout", 10*time.Minute, "how long to wait until it is ready")
	return cmd
}

func (t *tool) install(ctx context.Context, i *installation, upgrade bool) error {
	values, err := i.Effective(server.Version)
	if err != nil {
		return err
	}
	text, err := i.Render(ctx, server.Version) // what the chart itself refuses is told before a cluster is asked
	if err != nil {
		return err
	}
	if i.dryRun {
		_, err := fmt.Fprint(t.stdout, text)
		return err
	}
	c, err := i.Access.Open(ctx)
	if err != nil {
		return err
	}
	t.say("Kubernetes %s", c.Version)
	if err := t.prepare(ctx, c, i, values); err != nil {
		return err
	}
	old, err := i.Installed()
	switch {
	case err != nil:
		return install.Words("", err)
	case old == nil && upgrade:
		return fault.New(fault.NotFound, "there is no installation %s in the namespace %s: use install", i.Name, i.Access.Namespace)
	}
	rel, err := i.Apply(ctx, server.Version)
	if err != nil {
		return err
	}
	t.say("%s revision %d is applied", rel.Name, rel.Version)
	waiting, cancel := context.WithTimeout(ctx, i.timeout)
	defer cancel()
	if err := c.Await(waiting, i.Name, rel.Version, t.say); err != nil {
		return err
	}
	fmt.Fprintf(t.stdout, "Pelton %s is ready at %s\n", i.Name, install.Text(values, "publicURL"))
	if old == nil {
		fmt.Fprintf(t.stdout, "sign in as admin with the password of the secret %s-passwords: kubectl -n %s get secret %s-passwords -o jsonpath='{.data.admin}' | base64 -d\n", i.Name, i.Access.Namespace, i.Name)
	}
	return nil
}

// prepare checks the cluster and turns features of Knative on.
func (t *tool) prepare(ctx context.Context, c *install.Cluster, i *installation, values map[string]any) error {
	if err := c.CheckServing(); err != nil {
		return err
	}
	if install.Text(values, "ingress", "kind") == "IngressRoute" {
		if err := c.CheckTraefik(); err != nil {
			return err
		}
	}
	serving := install.Text(values, "knative", "servingNamespace")
	off, err := c.FlagsOff(ctx, serving)
	if err != nil {
		return err
	}
	switch {
	case len(off) == 0:
	case i.keepFlags:
		t.say("features of Knative Serving that stay off: %s; actions that ask for them are refused", strings.Join(off, ", "))
	default:
		if err := c.SetFlags(ctx, serving, off); err != nil {
			return err
		}
		t.say("features of Knative Serving turned on: %s", strings.Join(off, ", "))
	}
	return nil
}

func (t *tool) uninstallCommand() *cobra.Command {
	i := &installation{}
	usage := "uninstall [NAME] -n NAMESPACE"
	cmd := &cobra.Command{
		Use: usage, Short: "Take an installation away; its data, keys and the actions' namespaces stay",
		Args: i.named(usage),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := i.Access.Open(cmd.Context()); err != nil {
				return err
			}
			if err := i.Remove(); err != nil {
				return err
			}
			fmt.Fprintf(t.stdout, "%s is taken away; databases, bucket, images and the namespaces of actions stay, and so do the secrets %s-passwords, %s-authorization-keys, %s-runner-keys and %s-bridge-keys\n", i.Name, i.Name, i.Name, i.Name, i.Name)
			return nil
		},
	}
	i.access(cmd)
	return cmd
}
