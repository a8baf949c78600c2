package local

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"sync"

	"github.com/pelton-run/pelton/platform/kit/fault"
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
	block, begun := ids[blockKey]
	if !begun {
		block = blockOf(o.file)
		ids[blockKey] = block
	}
	n, known := ids[project]
	if !known {
		n = len(ids) - 1 // of what is kept, the block is no user
		if n >= blockSize {
			return owner{}, fault.New(fault.Exhausted, "there are users for the builds of %d projects, and all are given", blockSize-1)
		}
		ids[project] = n
	}
	if !known || !begun {
		if err := o.save(ids); err != nil {
			return owner{}, err
		}
	}
	return owner{o.first.uid + block + n, o.first.gid + block + n}, nil
}

// Every home has a block of users of its own: what one Pelton clears away by its user must not be
// what another one of the same machine runs.
const (
	blockKey  = "/block" // no project has this name
	blockSize = 1000
	blocks    = 4000
)

func blockOf(file string) int {
	abs, err := filepath.Abs(file)
	if err != nil {
		abs = file
	}
	h := fnv.New32a()
	h.Write([]byte(abs))
	return int(h.Sum32()%blocks) * blockSize
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
