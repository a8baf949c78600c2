// Package dev is `pelton dev`: it watches a workspace, has it built and deployed by the server
// of this home (started here when none runs), and prints one line per event.
package dev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/pelton-run/pelton/platform/cli/factory"
	"github.com/pelton-run/pelton/platform/cli/local"
)

// Options of `pelton dev`.
type Options struct {
	Dir      string
	Home     string // Defaults to ./.pelton
	Listen   string // Defaults to 127.0.0.1:8080, else the next free port up to 8099
	Project  string
	Showcase bool // start one real run of the weather example and say how to go on
	Trust    bool
	Out      io.Writer
	Color    bool
}

// NewCmd makes the command.
func NewCmd() *cobra.Command {
	o := Options{}
	cmd := &cobra.Command{
		Use:     "dev [DIR]",
		Example: "  pelton dev\n  pelton dev functions/examples --listen 127.0.0.1:9000",
		Short:   "Watch a workspace: every save is built, checked and deployed",
		Long: `Watches DIR (default: the current folder), builds its actions, deploys its workflows and
prints one line per event. It uses the running server of the home, or starts one and ends it
with Ctrl-C. A broken save keeps the last good build.

What steps print is shown as it comes, each line after [step], and one line tells how each run
ended. Types that pelton action gen wrote are written again when action.yaml changes.

A file .env in DIR becomes secrets of the project, at the start and whenever it is saved: lines of
KEY=VALUE, # comments, values in 'single' or "double" quotes. Workflows reach them as
${secrets.KEY}. Values are never printed; keep the file out of Git.`,
		Args: factory.AtMostOne,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Dir = "."
			if len(args) == 1 {
				o.Dir = args[0]
			}
			o.Out = cmd.OutOrStdout()
			if f, ok := o.Out.(*os.File); ok {
				if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
					o.Color = true
				}
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
			defer stop()
			return Run(ctx, o)
		},
	}
	cmd.Flags().StringVar(&o.Home, "home", ".pelton", "folder of the server's data")
	cmd.Flags().StringVar(&o.Listen, "listen", "", "address of the server (default: 127.0.0.1:8080, or the next free port up to 8099)")
	cmd.Flags().StringVar(&o.Project, "project", "default", "project to deploy into")
	cmd.Flags().BoolVar(&o.Showcase, "showcase", false, "start one real run of the weather-report example once it is live")
	cmd.Flags().BoolVar(&o.Trust, "trust-actions", false, "allow an address beyond this machine although actions can read what this user can")
	return cmd
}

// Run works until ctx ends or the server does.
func Run(ctx context.Context, o Options) error {
	workspaces, err := findWorkspaces(o.Dir)
	if err != nil {
		return err
	}
	home, err := filepath.Abs(o.Home)
	if err != nil {
		return err
	}
	state, running := local.Find(ctx, home)
	var server *local.Server
	if running {
		fmt.Fprintf(o.Out, "Pelton of %s already runs: %s\n", home, client{state.URL, state.Token}.page(ctx))
		if o.Showcase {
			return nil
		}
	} else {
		args := []string{}
		if o.Trust {
			args = append(args, "--trust-actions")
		}
		server, err = local.Start(ctx, local.StartOptions{
			Home: home, Listen: o.Listen, Args: args, Out: o.Out, Log: filepath.Join(home, "log", "peltond.log"),
		})
		if err != nil {
			return err
		}
		defer server.Stop()
		state = server.State
	}
	return session{Options: o, client: client{state.URL, state.Token}, home: home, server: server}.run(ctx, workspaces)
}

// first is the example that is ready at once: it has no dependencies, and waits for nobody's builds.
const first = "hello"

// workspace is one folder that holds actions or workflows.
type workspace struct{ name, dir string }

// findWorkspaces: the folder itself when it is a workspace, else its children that are.
func findWorkspaces(dir string) ([]workspace, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(abs); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("%s is not a folder: name the folder that holds actions/ and workflows/", dir)
	}
	if isWorkspace(abs) {
		return []workspace{{filepath.Base(abs), abs}}, nil
	}
	entries, err := os.ReadDir(abs)
	if err != nil {
		return nil, err
	}
	var found []workspace
	for _, e := range entries {
		if sub := filepath.Join(abs, e.Name()); e.IsDir() && !strings.HasPrefix(e.Name(), ".") && isWorkspace(sub) {
			found = append(found, workspace{e.Name(), sub})
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s holds no actions/ and no workflows/: make a first action with `pelton action new NAME`, or name another folder", dir)
	}
	// The one that is ready first comes first: without dependencies there is nothing to install.
	sort.SliceStable(found, func(i, j int) bool { return found[i].name == first && found[j].name != first })
	return found, nil
}

func isWorkspace(dir string) bool {
	for _, name := range []string{"pelton.yaml", "actions", "workflows", "action.yaml", "ryax_metadata.yaml"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return true
		}
	}
	return false
}

type session struct {
	Options
	client client
	home   string
	server *local.Server
}

func (s session) run(ctx context.Context, workspaces []workspace) error {
	printer := newPrinter(s.Out, s.Color)
	streams, end := context.WithCancel(ctx)
	defer end()
	if err := s.follow(streams, printer, workspaces); err != nil {
		return err
	}
	for _, w := range workspaces {
		if err := s.watch(ctx, w); err != nil {
			return fmt.Errorf("watch %s: %w", w.dir, err)
		}
		fmt.Fprintf(s.Out, "  watching  %s\n", w.dir)
		if s.Showcase && w.name == first {
			if err := s.live(ctx, w.name, w.name); err != nil && ctx.Err() == nil { // and what comes next goes on
				fmt.Fprintf(s.Out, "  the %s example is not live: %v\n", w.name, err)
			}
		}
	}
	if s.Showcase {
		if err := s.showcase(ctx, printer); err != nil && ctx.Err() == nil {
			// The platform stays up: a build that failed is told, and can be mended and saved.
			fmt.Fprintf(s.Out, "\n  the weather-report example did not run: %v\n", err)
			s.ready(ctx, "")
		}
	} else {
		fmt.Fprintf(s.Out, "\nPelton is ready   %s\n", s.client.page(ctx))
	}
	if s.server == nil {
		<-ctx.Done()
		return nil
	}
	select {
	case <-ctx.Done():
		fmt.Fprintln(s.Out, "\nstopping")
		return nil
	case <-s.server.Done():
		log := filepath.Join(s.home, "log", "peltond.log")
		if err := s.server.Err(); err != nil {
			return fmt.Errorf("the platform has ended (%w); its log is %s", err, log)
		}
		return fmt.Errorf("somebody else has stopped the platform; its log is %s", log)
	}
}

// follow opens the streams of the three services and reads the author's own files, all of which
// go on until ctx ends.
func (s session) follow(ctx context.Context, printer *printer, workspaces []workspace) error {
	dir, err := filepath.Abs(s.Dir)
	if err != nil {
		return err
	}
	own, err := newFiles(dir, workspaces, printer, &secrets{
		file: filepath.Join(dir, envFile), project: s.Project, client: s.client, printer: printer, set: map[string]string{},
	})
	if err != nil {
		return fmt.Errorf("watch %s: %w", dir, err)
	}
	printer.stack = func(run string) string { return s.stackOf(ctx, run) }
	own.start(ctx) // secrets first: a deployed trigger may need them
	go own.follow(ctx)
	streams := map[string]func([]byte){"repository": printer.repository, "studio": printer.studio, "runner": printer.runner}
	open := make(chan struct{}, len(streams))
	for service, print := range streams {
		var once sync.Once
		path := "/" + service + "/v1/projects/" + url.PathEscape(s.Project) + "/events"
		go s.client.events(ctx, path, print, func() { once.Do(func() { open <- struct{}{} }) })
	}
	for range streams {
		select {
		case <-open:
		case <-ctx.Done():
			return nil
		case <-s.done():
			return nil // told by run
		}
	}
	return nil
}

// done is closed when the server that was started here has ended.
func (s session) done() <-chan struct{} {
	if s.server == nil {
		return nil
	}
	return s.server.Done()
}

type repository struct {
	ID, Name, URL, Path string
	Watch               bool
	AutoDeploy          bool `json:"auto_deploy"`
}

// watch adds the folder, or finds it added by an earlier start. One that was added without being
// watched, or whose folder is gone because it was moved with the home, is added anew; what was
// built and deployed stays.
func (s session) watch(ctx context.Context, w workspace) error {
	base := "/repository/v1/projects/" + url.PathEscape(s.Project) + "/repositories"
	add := func() error {
		return s.client.json(ctx, http.MethodPost, base, map[string]any{"name": w.name, "path": w.dir, "watch": true, "auto_deploy": true}, nil)
	}
	err := add()
	var p *problem
	if !errors.As(err, &p) || p.Status != http.StatusConflict {
		return err
	}
	r, found, lerr := s.repository(ctx, w.name)
	switch {
	case lerr != nil || !found:
		return errors.Join(err, lerr)
	case r.Path == w.dir && r.Watch && r.AutoDeploy:
		return nil
	case r.Path != w.dir && (r.Path == "" || exists(r.Path)):
		return fmt.Errorf("the name %s is that of %s%s in this home: forget that one with `pelton repo remove %s`, or take another home with --home DIR", w.name, r.URL, r.Path, w.name)
	}
	if err := s.client.json(ctx, http.MethodDelete, base+"/"+url.PathEscape(r.ID), nil, nil); err != nil {
		return err
	}
	return add()
}

// repository finds one of the project's by its name.
func (s session) repository(ctx context.Context, name string) (repository, bool, error) {
	cursor := ""
	for {
		var page struct {
			Items      []repository
			NextCursor string `json:"next_cursor"`
		}
		path := "/repository/v1/projects/" + url.PathEscape(s.Project) + "/repositories?limit=200&cursor=" + url.QueryEscape(cursor)
		if err := s.client.json(ctx, http.MethodGet, path, nil, &page); err != nil {
			return repository{}, false, err
		}
		for _, r := range page.Items {
			if r.Name == name {
				return r, true, nil
			}
		}
		if cursor = page.NextCursor; cursor == "" {
			return repository{}, false, nil
		}
	}
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }
