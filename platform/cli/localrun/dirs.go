package localrun

import (
	"io/fs"
	"os"
	"path/filepath"

	"github.com/pelton-run/pelton/functions/formats/action"
	"github.com/pelton-run/pelton/platform/cli/factory"
)

// Dirs are the folders with metadata at or below root.
func Dirs(root string) ([]string, error) {
	info, err := os.Stat(root)
	if err != nil || !info.IsDir() {
		return nil, factory.Usage("%s is no folder: name the folder of an action, or one above", root)
	}
	var dirs []string
	err = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !d.IsDir() {
			return nil
		}
		if p != root && action.Skip(d.Name()) {
			return fs.SkipDir
		}
		for _, name := range action.Files {
			if _, err := os.Stat(filepath.Join(p, name)); err == nil {
				dirs = append(dirs, p)
				return fs.SkipDir // an action holds no other actions
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(dirs) == 0 {
		return nil, factory.Usage("%s holds no action.yaml and no ryax_metadata.yaml: make an action with `pelton action new NAME`", root)
	}
	return dirs, nil
}
