package adm

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"helm.sh/helm/v3/pkg/chartutil"

	"github.com/pelton-run/pelton/platform/adm/backup"
	"github.com/pelton-run/pelton/platform/adm/install"
	"github.com/pelton-run/pelton/platform/kit/fault"
)

// inCluster lets a command that works on data do so on those of an installation.
func (i *installation) inCluster(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&i.Access.Namespace, "namespace", "n", "", "namespace of an installation on a cluster: its data, in place of what settings name")
	f.StringVar(&i.Name, "installation", "pelton", "name of the installation")
	f.StringVar(&i.Access.Kubeconfig, "kubeconfig", "", "file that names the cluster (default $KUBECONFIG, ~/.kube/config)")
	f.StringVar(&i.Access.Context, "context", "", "context of the kubeconfig")
}

// onCluster tells which data a command is to work on.
func (t *tool) onCluster(i *installation) (bool, error) {
	if i.Access.Namespace != "" && (t.home != "" || t.config != "") {
		return false, &usageError{fault.InvalidField("--namespace", "is given beside --home or --config", "give one of them: the data of an installation on a cluster, or those that settings name")}
	}
	if i.Access.Namespace == "" && (i.Access.Kubeconfig != "" || i.Access.Context != "") {
		return false, &usageError{fault.InvalidField("--namespace", "is missing beside --kubeconfig or --context", "give the namespace of the installation")}
	}
	return i.Access.Namespace != "", nil
}

// open gives the cluster and the values of the installation that is there.
func (i *installation) open(ctx context.Context) (*install.Cluster, map[string]any, error) {
	c, err := i.Access.Open(ctx)
	if err != nil {
		return nil, nil, err
	}
	rel, err := i.Installed()
	if err != nil {
		return nil, nil, install.Words("", err)
	}
	if rel == nil {
		return nil, nil, fault.New(fault.NotFound, "there is no installation %s in the namespace %s: give -n and --installation; for a restore run pelton-adm install first", i.Name, i.Access.Namespace)
	}
	values, err := chartutil.CoalesceValues(rel.Chart, rel.Config)
	return c, values, err
}

// backupCluster has a pod beside the services write the backup, and keeps what it writes.
func (t *tool) backupCluster(ctx context.Context, i *installation, file string) error {
	c, values, err := i.open(ctx)
	if err != nil {
		return err
	}
	write := func(to io.Writer) error {
		return c.WithData(ctx, insideOf(i, values), true, install.Streams{Out: to, Err: t.stderr}, "backup", "-", "--config", install.SettingsFile)
	}
	if file == "-" {
		return write(t.stdout)
	}
	return t.keep(file, write)
}

// restoreCluster stops the services, has a pod fill databases and filestore, gives the services the keys of
// the backup and starts them. Broken off at any point, it is begun again.
func (t *tool) restoreCluster(ctx context.Context, i *installation, file string, o backup.Options) error {
	in, done, err := t.input(file)
	if err != nil {
		return err
	}
	defer done()
	t.say("checking the backup")
	head, m, err := backup.Verify(in)
	if err != nil {
		return err
	}
	if _, err := in.Seek(0, io.SeekStart); err != nil {
		return err
	}
	keys, err := backup.Keys(in)
	if err != nil {
		return err
	}
	t.say("backup %s of %s, made by version %s", head.ID, head.At.Format(time.RFC3339), head.Version)
	for _, b := range m.Builds {
		if strings.HasPrefix(b, "file://") {
			return fault.New(fault.Conflict, "the backup is of a platform whose actions run as local processes (%s): restore it with --home, where such actions can run", b)
		}
	}
	c, values, err := i.open(ctx)
	if err != nil {
		return err
	}
	inside := insideOf(i, values)
	replace := "--replace=" + strconv.FormatBool(o.Replace)
	if err := c.WithData(ctx, inside, false, install.Streams{Out: t.stdout, Err: t.stderr}, "may-restore", head.ID, "--config", install.SettingsFile, replace); err != nil {
		return fmt.Errorf("%w; nothing was changed", err)
	}
	t.say("stopping the services")
	if err := c.Scale(ctx, i.Name, nil, t.say); err != nil {
		return err
	}
	if _, err := in.Seek(0, io.SeekStart); err != nil {
		return err
	}
	args := []string{"restore", "-", "--config", install.SettingsFile, replace}
	if err := c.WithData(ctx, inside, false, install.Streams{In: in, Out: t.stdout, Err: t.stderr}, args...); err != nil {
		return fmt.Errorf("%w; the services are stopped: mend it and restore again, or start them with pelton-adm upgrade", err)
	}
	if err := c.SetKeys(ctx, i.Name, keys); err != nil {
		return fmt.Errorf("%w; the services are stopped: restore again", err)
	}
	t.say("starting the services")
	replicas := map[string]int{}
	for _, s := range install.Services {
		n, err := strconv.Atoi(install.Text(values, "services", s, "replicas"))
		if err != nil {
			return fault.InvalidField("services."+s+".replicas", "is no number", "give one in the values")
		}
		replicas[s] = n
	}
	if err := c.Scale(ctx, i.Name, replicas, t.say); err != nil {
		return err
	}
	wait, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	if err := c.Await(wait, i.Name, 0, t.say); err != nil {
		return err
	}
	fmt.Fprintf(t.stdout, "%s is ready; users sign in with the passwords that they had when the backup was made\n", i.Name)
	return nil
}
