package local

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"
)

// seal makes what a build's user wrote below dir ours, so that no later build changes it, and
// readable for everybody. It works from the top down: a folder that is ours gets no new entries
// while its own are dealt with. Links are never followed; a file that has further names, which
// may be anybody's, is copied; what is neither file, folder nor link is removed.
func (w owner) seal(dir string) error {
	if w.uid < 0 {
		return nil
	}
	if err := errors.Join(os.Lchown(dir, os.Geteuid(), os.Getegid()), os.Chmod(dir, 0o755)); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return w.below(root, ".", 0)
}

const maxSealDepth = 128

func (w owner) below(root *os.Root, dir string, depth int) error {
	if depth > maxSealDepth {
		return &Error{Kind: "limit", Message: fmt.Sprintf("the build made folders more than %d deep", maxSealDepth)}
	}
	d, err := root.Open(dir)
	if err != nil {
		return err
	}
	entries, err := d.ReadDir(-1)
	if err = errors.Join(err, d.Close()); err != nil {
		return err
	}
	for _, e := range entries {
		p := path.Join(dir, e.Name())
		info, err := root.Lstat(p)
		if err != nil {
			return err
		}
		switch mode := info.Mode(); {
		case mode.IsDir():
			if err := errors.Join(root.Lchown(p, os.Geteuid(), os.Getegid()), root.Chmod(p, 0o755)); err != nil {
				return err
			}
			err = w.below(root, p, depth+1)
		case mode.IsRegular():
			err = w.sealFile(root, p, info)
		case mode&fs.ModeSymlink != 0:
			err = root.Lchown(p, os.Geteuid(), os.Getegid())
		default:
			err = root.Remove(p)
		}
		if err != nil {
			return fmt.Errorf("seal %s: %w", p, err)
		}
	}
	return nil
}

func (w owner) sealFile(root *os.Root, p string, info fs.FileInfo) error {
	mode := os.FileMode(0o644)
	if info.Mode()&0o111 != 0 {
		mode = 0o755
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Nlink > 1 {
		if int(st.Uid) != w.uid {
			return root.Remove(p) // a name for a file of somebody else, whose rights stay what they are
		}
		return copyOver(root, p, mode)
	}
	return errors.Join(root.Lchown(p, os.Geteuid(), os.Getegid()), root.Chmod(p, mode))
}

// copyOver gives the name a file of its own.
func copyOver(root *os.Root, p string, mode os.FileMode) error {
	in, err := root.Open(p)
	if err != nil {
		return err
	}
	defer in.Close()
	tmp := p + ".sealed"
	_ = root.Remove(tmp)
	out, err := root.OpenFile(tmp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err = errors.Join(err, out.Close()); err != nil {
		return err
	}
	return root.Rename(tmp, p)
}
