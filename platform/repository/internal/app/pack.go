package app

import (
	"archive/tar"
	"io"
	"io/fs"
	"path"

	"github.com/pelton-run/pelton/functions/formats/action"
)

// Pack writes a tar of a folder's files in the order of their names, without times or owners.
func Pack(w io.Writer, fsys fs.FS, dir string) error {
	files, err := action.Walk(fsys, dir)
	if err != nil {
		return err
	}
	tw := tar.NewWriter(w)
	for _, name := range files {
		if err := packFile(tw, fsys, path.Join(dir, name), name); err != nil {
			return err
		}
	}
	return tw.Close()
}

func packFile(tw *tar.Writer, fsys fs.FS, p, name string) error {
	f, err := fsys.Open(p)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	mode := int64(0o644)
	if info.Mode()&0o111 != 0 {
		mode = 0o755
	}
	if err := tw.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Size: info.Size(), Mode: mode, Format: tar.FormatPAX}); err != nil {
		return err
	}
	_, err = io.Copy(tw, f)
	return err
}
