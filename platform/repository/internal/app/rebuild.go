package app

import (
	"context"
	"errors"

	"github.com/pelton-run/pelton/functions/formats/action"
	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/repository/internal/domain"
)

// BuildRequest asks for an action of a repository's newest scan.
type BuildRequest struct {
	Project    string
	Repository string // name or id; may be left out while one repository alone has the action
	Action     string // id or id@version
	Path       string // or the folder in the repository
	Force      bool   // although it is built
}

// place is where a request leads.
type place struct {
	repository domain.Repository
	entry      domain.Entry
}

// Build orders a build of what the newest scan found, and reports whether it did: without Force what
// is built, waits or is under way is told instead.
func (s *Service) Build(ctx context.Context, q BuildRequest) (b domain.Build, ordered bool, err error) {
	at, err := s.find(ctx, q)
	if err != nil {
		return domain.Build{}, false, err
	}
	r := at.repository
	unlock := s.alone(r.ID)
	defer unlock()
	known, err := s.Store.LatestBuilds(ctx, r.Project, []string{at.entry.Build})
	if err != nil {
		return domain.Build{}, false, err
	}
	if k, ok := known[at.entry.Build]; ok {
		switch underWay := k.State == domain.Queued || k.State == domain.Building; {
		case underWay && q.Force:
			return domain.Build{}, false, fault.New(fault.Conflict, "build %s of %s is %s: wait for it, or cancel it first", k.ID, k.Action, k.State)
		case underWay, k.State == domain.Succeeded && !q.Force:
			return k, false, nil
		}
	}
	o, err := s.orderOf(ctx, at, q.Force)
	if err != nil {
		return domain.Build{}, false, err
	}
	if err := s.Store.OrderBuild(ctx, o); err != nil {
		return domain.Build{}, false, err
	}
	s.Events.Publish(r.Project, Event{Type: "build_queued", Repository: r.ID, Order: o.Build.ID, Build: o.Build.Build, Path: o.Build.Path, Action: o.Build.Action})
	return o.Build, true, nil
}

// orderOf reads the action again: what is built has to be what the scan told.
func (s *Service) orderOf(ctx context.Context, at place, force bool) (Order, error) {
	r, e := at.repository, at.entry
	co, err := s.source(r).Checkout(ctx, r)
	if err != nil {
		return Order{}, err
	}
	defer co.Close()
	a, problems := action.Load(co.FS, e.Path, e.Path)
	digest := ""
	if !problems.Errors() {
		if digest, err = action.Digest(co.FS, e.Path); err != nil {
			return Order{}, fault.Wrap(err, fault.Invalid, "%s cannot be read", e.Path)
		}
	}
	changed := fault.New(fault.Conflict, "%s of repository %s has changed since its newest scan: scan the repository again", e.Path, r.Name)
	if digest != e.Build {
		return Order{}, changed
	}
	source, size, err := s.snapshot(ctx, r.Project, co, e.Path, digest)
	if errors.Is(err, errChanged) {
		return Order{}, changed
	}
	if err != nil {
		return Order{}, err
	}
	return Order{SourceDigest: source, SourceSize: size, Dev: r.Watch, Force: force, Build: domain.Build{
		ID: s.NewID(), State: domain.Queued, Project: r.Project, Build: digest, RepositoryID: r.ID, Repository: r.Name, Commit: co.Commit,
		Path: e.Path, Action: a.Label(), ActionJSON: a.JSON(), CreatedAt: s.Now(),
	}}, nil
}

// find is the one action that the request means.
func (s *Service) find(ctx context.Context, q BuildRequest) (place, error) {
	if (q.Action == "") == (q.Path == "") {
		return place{}, fault.InvalidField("action", "has to be given, or else path, and not both", `give action ("id" or "id@version") or path (its folder in the repository)`)
	}
	all, err := s.Store.Repositories(ctx, q.Project)
	if err != nil {
		return place{}, err
	}
	var found []place
	var names []string
	known := q.Repository == ""
	for _, r := range all {
		names = append(names, r.Name)
		if q.Repository != "" && q.Repository != r.Name && q.Repository != r.ID {
			continue
		}
		known = true
		scans, err := s.Store.Scans(ctx, q.Project, r.ID, 1, "")
		if err != nil {
			return place{}, err
		}
		for _, scan := range scans {
			for _, e := range scan.Actions {
				if q.Path != "" && e.Path == q.Path || q.Action != "" && (e.ID == q.Action || e.ID+"@"+e.Version == q.Action) {
					found = append(found, place{r, e})
				}
			}
		}
	}
	switch {
	case !known:
		return place{}, fault.InvalidField("repository", "there is no repository "+q.Repository+" in the project", proposal(q.Repository, names))
	case len(found) == 0:
		return place{}, fault.New(fault.NotFound, "the newest scan found no action %s: check the name, or scan its repository again", q.Action+q.Path)
	case len(found) > 1 && found[0].repository.ID != found[1].repository.ID:
		return place{}, fault.InvalidField("repository", "has to be given: "+found[0].repository.Name+" and "+found[1].repository.Name+" both hold "+q.Action+q.Path, "give the name or id of one of them")
	case len(found) > 1:
		return place{}, fault.InvalidField("action", q.Action+" lies in "+found[0].entry.Path+" and in "+found[1].entry.Path, "give path instead")
	case found[0].entry.State == "error":
		return place{}, fault.New(fault.Invalid, "the newest scan found errors in it: %s", found[0].entry.Errors[0].String())
	}
	return found[0], nil
}

func proposal(name string, names []string) string {
	if near := fault.Nearest(name, names); near != "" {
		return "did you mean " + near + "?"
	}
	return "give the name or id of a repository of this project"
}
