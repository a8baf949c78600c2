package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/pelton-run/pelton/functions/formats/action"
	"github.com/pelton-run/pelton/functions/formats/problem"
	"github.com/pelton-run/pelton/functions/formats/workflow"
	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/repository/internal/domain"
)

// Deps of the use cases.
type Deps struct {
	Store   Store
	Git     Source
	Folder  Source
	Watcher Watcher
	Files   Files
	Events  Events
	Now     func() time.Time
	NewID   func() string
	Log     *slog.Logger

	Retention Retention
}

// Service is the use cases. Safe for concurrent use.
type Service struct {
	Deps
	mu       sync.Mutex
	scanning map[string]*sync.Mutex
	watching map[string]context.CancelFunc
	base     context.Context
	told     map[string]string // what a scan told of a place last
}

// New makes the use cases.
func New(d Deps) *Service {
	d.Retention = d.Retention.OrDefaults()
	return &Service{Deps: d, scanning: map[string]*sync.Mutex{}, watching: map[string]context.CancelFunc{}, told: map[string]string{}, base: context.Background()}
}

// Run watches the folders that are to be watched, and collects what is old, until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	s.mu.Lock()
	s.base = ctx
	s.mu.Unlock()
	repos, err := s.Store.Repositories(ctx, "")
	if err != nil {
		return err
	}
	for _, r := range repos {
		if r.Watch {
			s.watch(r)
		}
	}
	s.collect(ctx)
	return nil
}

// Add adds a repository and scans it at once.
func (s *Service) Add(ctx context.Context, r domain.Repository) (domain.Repository, error) {
	r.ID, r.CreatedAt = s.NewID(), s.Now()
	r, err := domain.NewRepository(r)
	if err != nil {
		return domain.Repository{}, err
	}
	// What cannot be read is not added: the address is wrong while somebody is there to mend it.
	co, err := s.source(r).Checkout(ctx, r)
	if err != nil {
		return domain.Repository{}, err
	}
	co.Close()
	if err := s.Store.AddRepository(ctx, r); err != nil {
		return domain.Repository{}, err
	}
	if r.Watch {
		s.watch(r)
	} else {
		go func() {
			if _, err := s.Scan(context.WithoutCancel(ctx), r.Project, r.ID); err != nil {
				s.Log.Warn("scan", "repository", r.Name, "err", err)
			}
		}()
	}
	return r, nil
}

// Remove forgets a repository; what was built from it stays.
func (s *Service) Remove(ctx context.Context, project, id string) error {
	if err := s.Store.RemoveRepository(ctx, project, id); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if stop := s.watching[id]; stop != nil {
		stop()
		delete(s.watching, id)
	}
	return nil
}

func (s *Service) source(r domain.Repository) Source {
	if r.Path != "" {
		return s.Folder
	}
	return s.Git
}

func (s *Service) watch(r domain.Repository) {
	s.mu.Lock()
	ctx, cancel := context.WithCancel(s.base)
	s.watching[r.ID] = cancel
	s.mu.Unlock()
	scan := func() {
		if _, err := s.scan(ctx, r); err != nil && ctx.Err() == nil {
			s.Log.Warn("scan of a watched folder", "repository", r.Name, "err", err)
		}
	}
	go func() {
		if err := s.Watcher.Watch(ctx, r.Path, scan); err != nil && ctx.Err() == nil {
			s.Log.Warn("watch", "folder", r.Path, "err", err)
			scan() // what cannot be watched is looked at once
		}
	}()
}

// Scan reads a repository now.
func (s *Service) Scan(ctx context.Context, project, id string) (domain.Scan, error) {
	r, err := s.Store.Repository(ctx, project, id)
	if err != nil {
		return domain.Scan{}, err
	}
	return s.scan(ctx, r)
}

// alone keeps others from reading the repository until unlock is called.
func (s *Service) alone(repository string) (unlock func()) {
	s.mu.Lock()
	lock := s.scanning[repository]
	if lock == nil {
		lock = &sync.Mutex{}
		s.scanning[repository] = lock
	}
	s.mu.Unlock()
	lock.Lock()
	return lock.Unlock
}

// scan reads the repository; two scans of one repository follow each other.
func (s *Service) scan(ctx context.Context, r domain.Repository) (domain.Scan, error) {
	unlock := s.alone(r.ID)
	defer unlock()
	o := Outcome{Repository: r, KeepScans: s.Retention.Scans, Scan: domain.Scan{ID: s.NewID(), Project: r.Project, RepositoryID: r.ID, State: "finished", StartedAt: s.Now()}}
	s.Events.Publish(r.Project, Event{Type: "scan_started", Repository: r.ID, Scan: o.Scan.ID})
	err := s.read(ctx, r, &o)
	if err != nil {
		if ctx.Err() != nil {
			return domain.Scan{}, ctx.Err()
		}
		o.Scan.State, o.Scan.Error = "failed", err.Error()
		if f := fault.As(err); f != nil {
			o.Scan.Error = f.Message
		}
		o.Orders, o.Offers, o.Workflows = nil, nil, nil
	}
	o.Scan.FinishedAt = s.Now()
	if err := s.Store.SaveScan(ctx, o); err != nil {
		return domain.Scan{}, err
	}
	s.tell(r, o)
	return o.Scan, nil
}

// tell publishes what changed since the scan before.
func (s *Service) tell(r domain.Repository, o Outcome) {
	for _, kind := range []struct {
		event   string
		entries []domain.Entry
	}{{"action_error", o.Scan.Actions}, {"workflow_error", o.Scan.Workflows}} {
		for _, e := range kind.entries {
			text := fmt.Sprint(e.Errors)
			key := r.ID + "/" + e.Path
			s.mu.Lock()
			same := s.told[key] == text
			s.told[key] = text
			s.mu.Unlock()
			if e.State == "error" && !same {
				s.Events.Publish(r.Project, Event{Type: kind.event, Repository: r.ID, Scan: o.Scan.ID, Path: e.Path, Action: e.ID, Errors: e.Errors})
			}
		}
	}
	for _, order := range o.Orders {
		s.Events.Publish(r.Project, Event{Type: "build_queued", Repository: r.ID, Order: order.Build.ID, Build: order.Build.Build, Path: order.Build.Path, Action: order.Build.Action})
	}
	s.Events.Publish(r.Project, Event{Type: "scan_finished", Repository: r.ID, Scan: o.Scan.ID, Message: o.Scan.Error})
}

// found is an action of a scan that may be built.
type found struct {
	dir    string
	digest string
	action action.Action
}

// read finds everything in the tree and decides what is to be built.
func (s *Service) read(ctx context.Context, r domain.Repository, o *Outcome) error {
	co, err := s.source(r).Checkout(ctx, r)
	if err != nil {
		return err
	}
	defer co.Close()
	o.Scan.Commit = co.Commit
	actions, workflows, err := places(co.FS)
	if fault.As(err) != nil {
		return err
	}
	if err != nil {
		return fault.Wrap(err, fault.Invalid, "the repository cannot be read")
	}
	builds, broken := map[string]string{}, map[string]string{}
	var good []found
	for _, dir := range actions {
		e, f := readAction(co.FS, dir)
		o.Scan.Actions = append(o.Scan.Actions, e)
		if e.State == "error" {
			broken[dir] = e.Errors[0].String()
			continue
		}
		builds[dir] = f.digest
		good = append(good, f)
	}
	if err := s.decide(ctx, r, co, good, o); err != nil {
		return err
	}
	for _, file := range workflows {
		data, err := fs.ReadFile(co.FS, file)
		if err != nil {
			return err
		}
		w, problems := workflow.Parse(file, data)
		e := domain.Entry{Path: file, ID: w.Name, State: "ok", Errors: locations(problems)}
		if problems.Errors() {
			e.State = "error"
		}
		o.Scan.Workflows = append(o.Scan.Workflows, e)
		if w.Name != "" {
			o.Workflows = append(o.Workflows, Found{Path: file, YAML: string(data), Builds: within(builds, file), Broken: within(broken, file)})
		}
	}
	return nil
}

// within names folders as `uses: ./…` of a workflow does: relative to the workspace, which is the
// folder above workflows/.
func within(m map[string]string, file string) map[string]string {
	root := path.Dir(file)
	if path.Base(root) == "workflows" {
		root = path.Dir(root)
	}
	out := map[string]string{}
	for dir, v := range m {
		out[dir] = v
		if root != "." {
			if rel, ok := strings.CutPrefix(dir, root+"/"); ok {
				out[rel] = v
			}
		}
	}
	return out
}

func readAction(fsys fs.FS, dir string) (domain.Entry, found) {
	a, problems := action.Load(fsys, dir, dir)
	e := domain.Entry{Path: dir, ID: a.ID, Version: a.Version, State: "ok", Errors: locations(problems)}
	if problems.Errors() {
		e.State = "error"
		return e, found{}
	}
	digest, err := action.Digest(fsys, dir)
	if err != nil {
		e.State = "error"
		e.Errors = append(e.Errors, domain.Location{File: dir, Message: err.Error(), Remedy: "mend the folder"})
		return e, found{}
	}
	e.Build = digest
	return e, found{dir, digest, a}
}

func locations(list problem.List) []domain.Location {
	var out []domain.Location
	for _, p := range list {
		if !p.Warning {
			out = append(out, domain.Location{File: p.File, Line: p.Line, Column: p.Column, Path: p.Path, Message: p.Message, Remedy: p.Remedy})
		}
	}
	return out
}

// decide orders builds of what was never built, and offers what was.
func (s *Service) decide(ctx context.Context, r domain.Repository, co Checkout, good []found, o *Outcome) error {
	var digests []string
	for _, f := range good {
		digests = append(digests, f.digest)
	}
	known, err := s.Store.LatestBuilds(ctx, r.Project, digests)
	if err != nil {
		return err
	}
	ordered := map[string]bool{}
	for _, f := range good {
		if ordered[f.digest] {
			continue
		}
		ordered[f.digest] = true
		b := domain.Build{Project: r.Project, Build: f.digest, RepositoryID: r.ID, Repository: r.Name, Commit: co.Commit,
			Path: f.dir, Action: f.action.Label(), ActionJSON: f.action.JSON(), CreatedAt: s.Now()}
		switch k := known[f.digest]; k.State {
		case domain.Succeeded:
			b.ID, b.Artifact = k.ID, k.Artifact
			o.Offers = append(o.Offers, b)
			continue
		case domain.Queued, domain.Building:
			continue
		case domain.Failed:
			if r.Watch && k.Kind != "network" && k.Kind != "runtime_missing" {
				continue // the same content fails the same way; a save of other content is another build
			}
		}
		digest, size, err := s.snapshot(ctx, r.Project, co, f.dir, f.digest)
		if errors.Is(err, errChanged) {
			continue // the change is seen by another scan
		}
		if err != nil {
			return err
		}
		b.ID, b.State = s.NewID(), domain.Queued
		o.Orders = append(o.Orders, Order{Build: b, SourceDigest: digest, SourceSize: size, Dev: r.Watch})
	}
	return nil
}

var errChanged = errors.New("the folder changed while it was read")

// snapshot keeps the source of a build. A watched folder may change between the moment that its
// digest was taken and the end of the copy: what would be built then is not what the digest names.
func (s *Service) snapshot(ctx context.Context, project string, co Checkout, dir, build string) (digest string, size int64, err error) {
	digest, size, err = s.Files.PutTree(ctx, project, co.FS, dir)
	if err != nil || co.Commit != "" {
		return digest, size, err
	}
	if now, err := action.Digest(co.FS, dir); err != nil || now != build {
		return "", 0, errors.Join(errChanged, err)
	}
	return digest, size, nil
}

// Limits of a scan.
const (
	maxEntries = 20000
	maxDepth   = 32
	maxActions = 500
)

// places finds the folders that hold metadata and the files that hold workflows.
func places(fsys fs.FS) (actions, workflows []string, err error) {
	count := 0
	err = fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // gone while we looked
			}
			return err
		}
		if count++; count > maxEntries {
			return fault.New(fault.Invalid, "the repository holds more than %d files and folders: keep data and dependencies out of it, or in folders that are ignored", maxEntries)
		}
		if p != "." && action.Skip(d.Name()) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if strings.Count(p, "/") > maxDepth {
			return fault.New(fault.Invalid, "%s lies more than %d folders deep: lay the repository out flatter", p, maxDepth)
		}
		if d.IsDir() {
			if action.Find(fsys, p) != "" {
				if actions = append(actions, p); len(actions) > maxActions {
					return fault.New(fault.Invalid, "the repository holds more than %d actions: spread them over several", maxActions)
				}
			}
			return nil
		}
		if ext := path.Ext(p); (ext == ".yaml" || ext == ".yml") && path.Base(path.Dir(p)) == "workflows" && d.Type().IsRegular() {
			if info, err := d.Info(); err == nil && info.Size() < 1<<20 {
				workflows = append(workflows, p)
			}
		}
		return nil
	})
	return actions, workflows, err
}

// Cancel stops a build that waits or is under way.
func (s *Service) Cancel(ctx context.Context, project, id string) (domain.Build, error) {
	return s.Store.CancelBuild(ctx, project, id, s.Now())
}
