package app

import (
	"strings"
	"sync"

	"github.com/pelton-run/pelton/platform/studio/internal/domain"
)

// standing knows which revision came of what a scan wanted last of each workflow, as long as this process
// lives. Every scan finds every workflow and offers every action again; a workflow that wants what it wanted
// before need not be compiled for that. Safe for concurrent use.
type standing struct {
	mu    sync.Mutex
	known map[string]stood
}

type stood struct {
	path, yaml string
	builds     map[string]string // of the folders that it uses
	revision   int
}

// of is the revision that a workflow led to when it last wanted the same.
func (s *standing) of(w *domain.Workflow) (revision int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x, ok := s.known[w.Project+"/"+w.Name]
	if !ok || x.path != w.Path || x.yaml != w.WantedYAML {
		return 0, false
	}
	for dir, build := range x.builds {
		if w.Builds[dir] != build || w.Broken[dir] != "" {
			return 0, false
		}
	}
	return x.revision, true
}

// note remembers what a workflow without problems led to, if it is made of folders of its repository alone: an
// action of the library and another workflow may be another one each time. Folders are as `uses` has them.
func (s *standing) note(w *domain.Workflow, uses map[string]domain.Build, calls bool, revision int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil {
		s.known = map[string]stood{}
	}
	x := stood{path: w.Path, yaml: w.WantedYAML, builds: map[string]string{}, revision: revision}
	for name, b := range uses {
		dir, folder := folderOf(name)
		calls = calls || !folder
		x.builds[dir] = b.Build
	}
	if calls {
		delete(s.known, w.Project+"/"+w.Name)
		return
	}
	s.known[w.Project+"/"+w.Name] = x
}

// folderOf is the folder that `uses` names, if it names one.
func folderOf(uses string) (dir string, ok bool) {
	dir, ok = strings.CutPrefix(uses, "./")
	return strings.TrimSuffix(dir, "/"), ok
}
