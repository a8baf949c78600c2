package server

import (
	"context"
	"embed"
	"errors"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pelton-run/pelton/eventing/bridge"
	"github.com/pelton-run/pelton/platform/authorization"
	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/pgserver"
	"github.com/pelton-run/pelton/platform/kit/s3"
	"github.com/pelton-run/pelton/platform/repository"
	"github.com/pelton-run/pelton/platform/runner"
	"github.com/pelton-run/pelton/platform/studio"
)

// Database is a service's database, for tools that work on the data of a platform.
type Database struct {
	Service    string
	Migrations embed.FS // in the folder "migrations"
	// Restored ends the transaction that filled the database from a backup.
	Restored func(ctx context.Context, tx pgx.Tx) error
}

// Databases are those of all services that have one. The bridge is last: of what it is told, a backup that takes
// them in this order has everything, some of it twice, which it knows by its ids.
func Databases() []Database {
	return []Database{
		{"authorization", authorization.Migrations(), authorization.Restored},
		{"repository", repository.Migrations(), repository.Restored},
		{"studio", studio.Migrations(), studio.Restored},
		{"runner", runner.Migrations(), runner.Restored},
		{"bridge", bridge.Migrations(), bridge.Restored},
	}
}

// Data is what a platform keeps, open for a tool beside the services.
type Data struct {
	Config Config // Home is where the data really lies
	// Running tells that a peltond of this home runs. It is not known of one elsewhere on the same store.
	Running bool
	// Own tells that the server of the databases is the platform's own.
	Own bool
	// Store gives the connection URL of a service's database.
	Store func(service string) string

	closes []func()
}

// ErrRunning tells that a platform runs and must not.
var ErrRunning = errors.New("the platform runs")

// OpenData opens what the settings name. Where the database is the platform's own it is started unless
// peltond runs it; still, for who fills it, makes it where there is none, keeps peltond out meanwhile, and is
// ErrRunning if it is there.
func OpenData(ctx context.Context, cfg Config, still bool, log *slog.Logger) (_ *Data, err error) {
	d := &Data{Config: cfg, Own: cfg.alone()}
	if d.Config.Home, _, err = placeHome(cfg.Home); err != nil {
		return nil, err
	}
	home := d.Config.Home
	if _, err := os.Stat(filepath.Join(home, "pg")); d.Own && !still && err != nil { // a misprint would make a platform there
		return nil, fault.Wrap(err, fault.NotFound, "home: no Pelton has its data in %s: give the folder that peltond has", home)
	}
	release, err := lockHome(home, filepath.Join(home, "run"))
	var locked *lockedError
	switch {
	case errors.As(err, &locked) && still:
		return nil, errors.Join(ErrRunning, err)
	case errors.As(err, &locked):
		d.Running = true
	case err != nil:
		return nil, err
	default:
		d.closes = append(d.closes, release)
	}
	if !cfg.alone() {
		if d.Store, err = cfg.storeOf(); err != nil {
			d.Close()
		}
		return d, err
	}
	if d.Running {
		urls := map[string]string{}
		for _, db := range Databases() {
			if urls[db.Service], err = pgserver.SuperURLOf(filepath.Join(home, "pg"), "pelton_"+db.Service); err != nil {
				return nil, err
			}
		}
		d.Store = func(service string) string { return urls[service] }
		return d, nil
	}
	var names []string
	for _, db := range Databases() {
		names = append(names, "pelton_"+db.Service)
	}
	db, err := pgserver.Start(ctx, pgserver.Config{Dir: filepath.Join(home, "pg"), Databases: names, Log: log})
	if err != nil {
		d.Close()
		return nil, err
	}
	d.closes = append(d.closes, db.Stop)
	d.Store = func(service string) string { return db.URL("pelton_" + service) }
	return d, nil
}

// Close stops what was started.
func (d *Data) Close() {
	for i := len(d.closes) - 1; i >= 0; i-- {
		d.closes[i]()
	}
	d.closes = nil
}

// Files is where the filestore lies: a folder, or a bucket.
func (d *Data) Files() (dir string, bucket *s3.Bucket, err error) {
	c := d.Config.bucket()
	if c == nil {
		return d.Config.filesDir(), nil, nil
	}
	bucket, err = s3.Open(*c)
	return "", bucket, err
}

// storeOf gives the URL of a service's database: its own, or below that of the store.
func (c Config) storeOf() (func(service string) string, error) {
	u, err := url.Parse(c.Store)
	if err != nil {
		return nil, fault.InvalidField("store", "is no URL", "give postgres://USER:PASSWORD@HOST:PORT/PREFIX?sslmode=…")
	}
	prefix := strings.Trim(u.Path, "/")
	whole := map[string]string{"authorization": c.Stores.Authorization, "repository": c.Stores.Repository, "studio": c.Stores.Studio, "runner": c.Stores.Runner, "bridge": c.Stores.Bridge}
	return func(service string) string {
		if whole[service] != "" {
			return whole[service]
		}
		own := *u
		own.Path = "/" + prefix + "pelton_" + service
		return own.String()
	}, nil
}
