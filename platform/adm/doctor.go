package adm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/pelton-run/pelton/platform/adm/backup"
	"github.com/pelton-run/pelton/platform/adm/checks"
	"github.com/pelton-run/pelton/platform/adm/install"
	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/pg"
	"github.com/pelton-run/pelton/platform/kit/s3"
	"github.com/pelton-run/pelton/platform/runner"
	"github.com/pelton-run/pelton/platform/server"
)

func (t *tool) doctorCommand() *cobra.Command {
	i := &installation{}
	var asJSON bool
	w := inCluster{}
	usage := "doctor [NAME] [-n NAMESPACE] | --home DIR | --config FILE"
	cmd := &cobra.Command{
		Use: usage, Short: "Check an installation and say what is wrong and how to mend it",
		Long: `With --home or --config: the data that the settings of peltond name. Databases, broker, filestore with signed
uploads and downloads, keys, and what is mentioned in the databases and is not there.

Without: an installation on a cluster, from outside and, by a Job of the platform's own image, from inside. Kubernetes,
Knative and its features, the services, the way through the ingress (a two-way stream of 70 s, 300 calls at once,
20 calls that must reach 2 pods), the registry, and the data as above. It takes about two minutes and leaves nothing.

The exit code is 0 when nothing is wrong, 1 when something is, 2 for wrong usage.`,
		Example: "  pelton-adm doctor -n pelton\n  pelton-adm doctor --home /srv/pelton --json",
		Args:    i.named(usage),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var table checks.Table
			var err error
			if t.home != "" || t.config != "" {
				err = t.checkData(cmd.Context(), &table)
				if err == nil {
					w.check(cmd.Context(), &table)
				}
			} else {
				err = t.checkCluster(cmd.Context(), i, &table)
			}
			if err != nil {
				return err
			}
			if asJSON {
				err = table.JSON(t.stdout)
			} else {
				err = table.Print(t.stdout)
			}
			if err == nil && !table.Well() {
				err = errTold
			}
			return err
		},
	}
	t.data(cmd)
	i.access(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the checks as JSON")
	w.flags(cmd)
	return cmd
}

// checkData looks at the data that the settings name.
func (t *tool) checkData(ctx context.Context, table *checks.Table) error {
	cfg, err := t.settings()
	if err != nil {
		return err
	}
	d, err := server.OpenData(ctx, cfg, false, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer d.Close()
	if _, err := os.Stat(filepath.Join(d.Config.Home, server.RestoringFile)); err == nil {
		table.Add("home", "", "run `pelton-adm restore` with the same backup again", fault.New(fault.Conflict, "a restore into %s has not come to its end", d.Config.Home))
	}
	mentioned := runner.Mentions{}
	for _, db := range server.Databases() {
		detail, err := checkDatabase(ctx, d.Store(db.Service), func(tx pgx.Tx) (err error) {
			if db.Service == "runner" {
				mentioned, err = runner.Mentioned(ctx, tx)
			}
			return err
		})
		table.Add("database of "+db.Service, detail, "see that the server runs and that the role and the database exist: platform/docs/split.md", err)
	}
	t.checkBroker(ctx, d, table)
	dir, bucket, err := d.Files()
	if err != nil {
		table.Add("filestore", "", "see files and s3.credentials in the settings: platform/docs/files.md", err)
		return nil
	}
	files, detail := backup.Files(backup.Dir(dir)), dir
	if bucket == nil {
		err = checkFolder(dir)
	} else {
		files = backup.Bucket{Bucket: bucket}
		detail, err = checkBucket(ctx, bucket)
	}
	table.Add("filestore", detail, "see files and s3.credentials in the settings: platform/docs/files.md", err)
	if err == nil {
		checkFiles(ctx, table, files, mentioned)
	}
	checkBuilds(ctx, table, d.Config, mentioned)
	return nil
}

// checkBroker has each service's user of the broker let in.
func (t *tool) checkBroker(ctx context.Context, d *server.Data, table *checks.Table) {
	const remedy = "see that RabbitMQ runs, and bus in the settings: platform/docs/split.md"
	users, refused := 0, false
	for _, kv := range t.environ {
		name, url, _ := strings.Cut(kv, "=")
		service, ok := strings.CutPrefix(name, install.BusOf)
		if !ok || url == "" {
			continue
		}
		if err := server.BrokerAnswers(ctx, url); err != nil {
			table.Add("broker as "+strings.ToLower(service), "", remedy, err)
			refused = true
		}
		users++
	}
	if users > 0 {
		if !refused {
			table.Add("broker", fmt.Sprintf("it answers, and lets %d services in", users), remedy, nil)
		}
		return
	}
	if is, err := d.Broker(ctx); is || err != nil {
		table.Add("broker", "it answers", remedy, err)
	}
}

func checkDatabase(ctx context.Context, url string, look func(pgx.Tx) error) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	pool, err := pg.Open(ctx, url, pg.Options{MaxConns: 1})
	if err != nil {
		return "", err
	}
	defer pool.Close()
	tx, err := pool.BeginTx(ctx, pgx.TxOptions{AccessMode: pgx.ReadOnly})
	if err != nil {
		return "", pg.Translate(err, "database")
	}
	defer tx.Rollback(ctx) //nolint:errcheck // nothing was written
	versions, err := pg.Migrated(ctx, tx)
	if err != nil {
		return "", err
	}
	if len(versions) == 0 {
		return "", fault.New(fault.Conflict, "the database is empty: the service has never started on it")
	}
	return fmt.Sprintf("%d migrations", len(versions)), look(tx)
}

func checkFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "doctor-")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// checkBucket puts an object by a signed URL, as wrappers do, and gets one by another.
func checkBucket(ctx context.Context, b *s3.Bucket) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := b.Check(ctx); err != nil {
		return "", err
	}
	if err := b.Guard(ctx); err != nil {
		return "", err
	}
	key, body := "pelton-probe/doctor", "hello\n"
	if err := b.Write(ctx, key, strings.NewReader(body), int64(len(body))); err != nil {
		return "", err
	}
	u, err := b.PresignedGetObject(ctx, b.Config.Bucket, b.Config.Prefix+key, time.Minute, nil)
	if err != nil {
		return "", b.Words(err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", b.Words(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(io.LimitReader(resp.Body, 1000))
	if err != nil || string(got) != body {
		return "", fault.New(fault.Unavailable, "a signed download was answered %s", resp.Status)
	}
	if err := b.Delete(ctx, key); err != nil {
		return "", err
	}
	return fmt.Sprintf("bucket %s at %s: signed upload and download", b.Config.Bucket, b.Config.Endpoint), nil
}

// few joins the first of many.
func few(list []string) string {
	if n := len(list); n > 5 {
		return strings.Join(list[:5], ", ") + fmt.Sprintf(" and %d more", n-5)
	}
	return strings.Join(list, ", ")
}

// checkFiles tells what runs refer to and is not in the filestore.
func checkFiles(ctx context.Context, table *checks.Table, files backup.Files, m runner.Mentions) {
	var digests []string
	for _, f := range m.Files {
		digests = append(digests, f.Project+" "+f.Digest)
	}
	missing, err := backup.Dangling(ctx, files, digests, func(d string) string {
		project, digest, _ := strings.Cut(d, " ")
		h := strings.TrimPrefix(digest, "sha256:")
		return project + "/sha256/" + h[:2] + "/" + h[2:]
	})
	if err == nil && len(missing) > 0 {
		err = fault.New(fault.NotFound, "%d of %d files that runs mention are not in the filestore: %s", len(missing), len(digests), few(missing))
	}
	table.Add("files of runs", fmt.Sprintf("%d mentioned, all there", len(digests)), "restore them from a backup; runs that read them fail with filestore_unavailable or file_missing", err)
}

// checkBuilds looks for what live deployments and unfinished runs need: images in the registry, bundles in the home.
func checkBuilds(ctx context.Context, table *checks.Table, cfg server.Config, m runner.Mentions) {
	home := cfg.Home
	var local, images []string
	for _, b := range m.Builds {
		switch {
		case strings.HasPrefix(b.Artifact, "file://"):
			local = append(local, b.Artifact)
		case strings.HasPrefix(b.Artifact, "image://"):
			images = append(images, b.Artifact)
		}
	}
	r, err := registryOf(cfg)
	if r != nil {
		var ref string
		ref, err = r.pushAndPull(ctx)
		table.Add("registry", "pushed and pulled "+ref, "see registry.address, registry.insecure and registry.credentialsSecret in the values (builder.registry… in the settings): platform/docs/images.md", err)
	} else if err != nil {
		table.Add("registry", "", "see builder.registry_credentials and builder.registry_ca in the settings", err)
	}
	switch {
	case len(images) > 0 && r == nil:
		err = fault.New(fault.Conflict, "%d images are needed and builder.backend is %s, which has no registry to look in", len(images), cfg.Builder.Backend)
	case len(images) > 0:
		err = r.builtThere(ctx, images)
	default:
		err = nil
	}
	if gone := missingBundles(home, local); len(gone) > 0 {
		err = errors.Join(err, fault.New(fault.NotFound, "%d builds that live deployments or unfinished runs need are not in %s: %s", len(gone), filepath.Join(home, "bundles"), few(gone)))
	}
	table.Add("builds", fmt.Sprintf("%d needed, all there", len(m.Builds)), "scan the repository of each again: pelton repo scan", err)
	keys := 0
	for _, name := range []string{"signing.pem", "secrets.key"} {
		if _, err := os.Stat(filepath.Join(home, "keys", name)); err == nil {
			keys++
		} else if !errors.Is(err, fs.ErrNotExist) {
			table.Add("keys", "", "give the folder back to the user that runs peltond", err)
		}
	}
	if keys == 0 && len(local) > 0 {
		table.Warn("keys", "there are none in "+filepath.Join(home, "keys"), "restore them from a backup: without them sealed secrets cannot be read")
	}
}
