package backup

import (
	"archive/tar"
	"errors"
	"io"
	"strings"

	"github.com/pelton-run/pelton/platform/kit/fault"
)

// Keys gives the keys that a backup holds, by their paths below the home's folder keys. Verify has found the
// backup whole.
func Keys(file io.Reader) (map[string][]byte, error) {
	r, err := newReader(file)
	if err != nil {
		return nil, err
	}
	defer r.close()
	keys := map[string][]byte{}
	for {
		h, err := r.next()
		if errors.Is(err, io.EOF) || err == nil && strings.HasPrefix(h.Name, "files/") { // which come after the home
			return keys, nil
		}
		if err != nil {
			return nil, fault.Wrap(err, fault.Invalid, "the file is no backup, or is damaged: %s", err)
		}
		path, ok := strings.CutPrefix(h.Name, "home/keys/")
		if !ok || h.Typeflag != tar.TypeReg {
			continue
		}
		if keys[path], err = io.ReadAll(io.LimitReader(r.t, 1<<20)); err != nil {
			return nil, err
		}
	}
}
