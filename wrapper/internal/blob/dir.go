package blob

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// PutDir keeps a folder below a root as a deterministic tar.zst: names in order, no times, no owners.
func (s *Store) PutDir(root *os.Root, path string) (Ref, error) {
	dir, err := root.OpenRoot(path)
	if err != nil {
		return Ref{}, err
	}
	defer dir.Close()
	pr, pw := io.Pipe()
	packed := make(chan struct{})
	go func() {
		defer close(packed)
		pw.CloseWithError(pack(dir, pw))
	}()
	digest, size, err := s.Put(pr)
	pr.CloseWithError(err)
	<-packed
	return Ref{Dir: digest, Size: size, Name: filepath.Base(path)}, err
}

func pack(dir *os.Root, w io.Writer) error {
	zw, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	tw := tar.NewWriter(zw)
	err = fs.WalkDir(dir.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == "." {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		h := &tar.Header{Name: path, Mode: 0o644, Format: tar.FormatPAX}
		switch {
		case d.IsDir():
			h.Typeflag, h.Mode, h.Name = tar.TypeDir, 0o755, h.Name+"/"
			return tw.WriteHeader(h)
		case info.Mode().IsRegular():
			f, err := openRegular(dir, filepath.FromSlash(path))
			if err != nil {
				return err
			}
			defer f.Close()
			if info, err = f.Stat(); err != nil { // of what is read, whatever lay there before
				return err
			}
			h.Typeflag, h.Size = tar.TypeReg, info.Size()
			if info.Mode()&0o111 != 0 {
				h.Mode = 0o755
			}
			if err := tw.WriteHeader(h); err != nil {
				return err
			}
			_, err = io.CopyN(tw, f, info.Size())
			return err
		}
		return fmt.Errorf("%s is neither a file nor a folder: links and devices cannot be passed on", path)
	})
	return errors.Join(err, tw.Close(), zw.Close())
}

// FetchDir unpacks a folder at dest, owned by uid (-1 = us). Names that leave dest are errors.
func (s *Store) FetchDir(digest, dest string, uid, gid int) error {
	f, _, err := s.open(digest)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	packed := io.TeeReader(f, h)
	if err := unpack(packed, dest, uid, gid); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, packed); err != nil {
		return err
	}
	if "sha256:"+hex.EncodeToString(h.Sum(nil)) != digest {
		return fmt.Errorf("blob %s is damaged", digest)
	}
	return nil
}

func unpack(packed io.Reader, dest string, uid, gid int) error {
	zr, err := zstd.NewReader(packed, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(64<<20))
	if err != nil {
		return err
	}
	defer zr.Close()
	if err := mkdir(dest, uid, gid); err != nil {
		return err
	}
	tr := tar.NewReader(zr)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if !filepath.IsLocal(h.Name) {
			return fmt.Errorf("the folder holds the name %q, which leaves it", h.Name)
		}
		path := filepath.Join(dest, filepath.FromSlash(strings.TrimSuffix(h.Name, "/")))
		switch h.Typeflag {
		case tar.TypeDir:
			err = mkdir(path, uid, gid)
		case tar.TypeReg:
			err = unpackFile(tr, path, os.FileMode(h.Mode)&0o755|0o600, uid, gid)
		default:
			err = fmt.Errorf("the folder holds %q, which is neither a file nor a folder", h.Name)
		}
		if err != nil {
			return err
		}
	}
}

func unpackFile(r io.Reader, path string, mode os.FileMode, uid, gid int) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	if uid >= 0 {
		err = errors.Join(err, f.Chown(uid, gid))
	}
	return errors.Join(err, f.Close())
}

func mkdir(path string, uid, gid int) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	if uid >= 0 {
		return os.Lchown(path, uid, gid)
	}
	return nil
}
