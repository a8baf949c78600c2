package local

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
)

// owner is whom a build runs as; a negative uid is ourselves.
type owner struct{ uid, gid int }

// owners gives each project a user of its own, kept in a file so that its caches stay its own. The
// first of the range fetches tools.
type owners struct {
	mu    sync.Mutex
	file  string
	first owner
}

const toolOwner = "" // no project has this name

func (o *owners) of(project string) (owner, error) {
	if o.first.uid < 0 || os.Geteuid() != 0 {
		return owner{-1, -1}, nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	ids := map[string]int{toolOwner: 0}
	data, err := os.ReadFile(o.file)
	if err == nil {
		err = json.Unmarshal(data, &ids)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return owner{}, fmt.Errorf("read %s: %w", o.file, err)
	}
	n, known := ids[project]
	if !known {
		n = len(ids)
		ids[project] = n
		if err := o.save(ids); err != nil {
			return owner{}, err
		}
	}
	return owner{o.first.uid + n, o.first.gid + n}, nil
}

func (o *owners) save(ids map[string]int) error {
	data, err := json.Marshal(ids)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(o.file), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(o.file+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return errors.Join(os.Rename(f.Name(), o.file), syncDir(filepath.Dir(o.file)))
}

// own makes dir a folder that only the owner reaches. Its parent is ours, so that nobody has put
// something else in its place.
func (w owner) own(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if w.uid < 0 {
		return nil
	}
	return os.Lchown(dir, w.uid, w.gid)
}
