// Package setup makes what the services of an installation find there: roles and databases, users and a
// virtual host of RabbitMQ, a bucket. What is there is left, but for passwords, which are set.
package setup

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/s3"
)

// Plan is what to make; parts that are nil are left alone.
type Plan struct {
	PostgreSQL *PostgreSQL `yaml:"postgresql"`
	RabbitMQ   *RabbitMQ   `yaml:"rabbitmq"`
	Bucket     bool        `yaml:"bucket"` // that of the platform's settings
}

// PostgreSQL is a server, with a role that may create roles and databases.
type PostgreSQL struct {
	Host      string     `yaml:"host"`
	Port      int        `yaml:"port"`
	SSLMode   string     `yaml:"sslmode"`
	User      string     `yaml:"user"`
	Password  string     `yaml:"password"`
	Database  string     `yaml:"database"` // to connect to
	Databases []Database `yaml:"databases"`
}

// Database is one with an owner of its own.
type Database struct {
	Name     string `yaml:"name"`
	Role     string `yaml:"role"`
	Password string `yaml:"password"`
}

// RabbitMQ is a broker's management interface, and an administrator of it.
type RabbitMQ struct {
	URL      string `yaml:"url"`
	User     string `yaml:"user"`
	Password string `yaml:"password"`
	VHost    string `yaml:"vhost"`
	Users    []User `yaml:"users"`
}

// User may do what a service's part of the topology asks for, and nothing else.
type User struct {
	Name     string `yaml:"name"`
	Service  string `yaml:"service"`
	Password string `yaml:"password"`
}

// Make makes what the plan says; say tells what was made. A server that does not answer yet is tried again
// until ctx ends. The errors are in words.
func (p Plan) Make(ctx context.Context, bucket *s3.Bucket, say func(string, ...any)) error {
	if p.PostgreSQL != nil {
		if err := patiently(ctx, say, func() error { return p.PostgreSQL.make(ctx, say) }); err != nil {
			return fmt.Errorf("postgresql: %w", err)
		}
	}
	if p.RabbitMQ != nil {
		if err := patiently(ctx, say, func() error { return p.RabbitMQ.make(ctx, say) }); err != nil {
			return fmt.Errorf("rabbitmq: %w", err)
		}
	}
	if p.Bucket && bucket != nil {
		if err := patiently(ctx, say, func() error { return makeBucket(ctx, bucket, say) }); err != nil {
			return fmt.Errorf("s3: %w", err)
		}
	}
	return nil
}

// patiently tries again while a server is away.
func patiently(ctx context.Context, say func(string, ...any), try func() error) error {
	last := ""
	for wait := 500 * time.Millisecond; ; wait = min(2*wait, 10*time.Second) {
		err := try()
		if err == nil || !fault.Is(err, fault.Unavailable) {
			return err
		}
		if err.Error() != last {
			last = err.Error()
			say("waiting: %s", last)
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return err
		}
	}
}

func (p *PostgreSQL) make(ctx context.Context, say func(string, ...any)) error {
	u := url.URL{Scheme: "postgres", User: url.UserPassword(p.User, p.Password), Host: net.JoinHostPort(p.Host, strconv.Itoa(p.Port)), Path: "/" + p.Database,
		RawQuery: url.Values{"sslmode": {p.SSLMode}, "connect_timeout": {"10"}}.Encode()}
	conn, err := pgx.Connect(ctx, u.String())
	if err != nil {
		return words(err, p)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for _, d := range p.Databases {
		role, name := pgx.Identifier{d.Role}.Sanitize(), pgx.Identifier{d.Name}.Sanitize()
		var hasRole, hasDatabase bool
		err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1), EXISTS (SELECT FROM pg_database WHERE datname = $2)`, d.Role, d.Name).Scan(&hasRole, &hasDatabase)
		if err != nil {
			return words(err, p)
		}
		verb := "CREATE"
		if hasRole {
			verb = "ALTER"
		}
		if _, err := conn.Exec(ctx, verb+" ROLE "+role+" LOGIN PASSWORD "+literal(d.Password)); err != nil {
			return words(err, p)
		}
		if hasDatabase {
			continue
		}
		// A role that is no superuser makes a database for another one only as its member.
		if _, err := conn.Exec(ctx, "GRANT "+role+" TO CURRENT_USER"); err != nil {
			return words(err, p)
		}
		for _, sql := range []string{"CREATE DATABASE " + name + " OWNER " + role + " ENCODING 'UTF8' TEMPLATE template0", "REVOKE CONNECT ON DATABASE " + name + " FROM PUBLIC"} {
			if _, err := conn.Exec(ctx, sql); err != nil {
				return words(err, p)
			}
		}
		say("database %s made, owned by %s", d.Name, d.Role)
	}
	return nil
}

// literal quotes a text for SQL statements that take no parameters.
func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

func words(err error, p *PostgreSQL) error {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		switch pgErr.Code {
		case "28P01", "28000":
			return fault.Wrap(err, fault.Forbidden, "the server at %s does not let %s in (%s): see postgresql.adminUser and adminPassword", p.Host, p.User, pgErr.Message)
		case "42501":
			return fault.Wrap(err, fault.Forbidden, "%s may not do this (%s): give a role with CREATEROLE and CREATEDB, or make the databases by hand and give postgresql.urls", p.User, pgErr.Message)
		case "3D000":
			return fault.Wrap(err, fault.Invalid, "there is no database %s to connect to: see postgresql.adminDatabase", p.Database)
		case "57P03", "53300":
			return fault.Wrap(err, fault.Unavailable, "the server at %s: %s", p.Host, pgErr.Message)
		}
		return fault.Wrap(err, fault.Internal, "%s", pgErr.Message)
	}
	if strings.Contains(err.Error(), "server refused TLS connection") {
		return fault.Wrap(err, fault.Invalid, "the server at %s speaks no TLS: set postgresql.sslmode to disable, on a network that nobody else reads", p.Host)
	}
	return fault.Wrap(err, fault.Unavailable, "the server at %s:%d does not answer: %s", p.Host, p.Port, err)
}

func (r *RabbitMQ) make(ctx context.Context, say func(string, ...any)) error {
	vhost := url.PathEscape(r.VHost)
	if err := r.put(ctx, "/api/vhosts/"+vhost, map[string]any{"default_queue_type": "quorum"}); err != nil {
		return err
	}
	for _, u := range r.Users {
		if err := r.put(ctx, "/api/users/"+url.PathEscape(u.Name), map[string]any{"password": u.Password, "tags": ""}); err != nil {
			return err
		}
		own := "^" + u.Service + "[.].*$"
		if err := r.put(ctx, "/api/permissions/"+vhost+"/"+url.PathEscape(u.Name), map[string]any{
			"configure": own, "write": "^(" + u.Service + "[.].*|amq[.]default)$", "read": "^(" + u.Service + "[.].*|[a-z]+[.]v1)$"}); err != nil {
			return err
		}
	}
	say("virtual host %s with %d users", r.VHost, len(r.Users))
	return nil
}

func (r *RabbitMQ) put(ctx context.Context, path string, body any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, strings.TrimRight(r.URL, "/")+path, bytes.NewReader(data))
	if err != nil {
		return fault.InvalidField("rabbitmq.managementURL", "is no URL", "give http://HOST:15672")
	}
	req.SetBasicAuth(r.User, r.Password)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "the management interface at %s does not answer: %s", r.URL, err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 2000))
	switch {
	case resp.StatusCode < 300:
		return nil
	case resp.StatusCode == http.StatusUnauthorized:
		return fault.New(fault.Forbidden, "the broker at %s does not let %s in: see rabbitmq.adminUser and adminPassword; guest is let in from the broker's own machine alone", r.URL, r.User)
	case resp.StatusCode >= 500:
		return fault.New(fault.Unavailable, "the broker at %s answers %s: %s", r.URL, resp.Status, text)
	}
	return fault.New(fault.Invalid, "the broker at %s answers %s to PUT %s: %s", r.URL, resp.Status, path, text)
}

func makeBucket(ctx context.Context, b *s3.Bucket, say func(string, ...any)) error {
	made, err := b.Make(ctx)
	if made {
		say("bucket %s made", b.Config.Bucket)
	}
	return err
}
