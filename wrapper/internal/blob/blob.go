// Package blob reads and puts files of the filestore by digest. The store is a folder,
// DIR/sha256/<2 hex>/<62 hex>, written to DIR/tmp, synced, renamed, the folder synced; or it is elsewhere,
// and reached by URLs that somebody gives (remote.go).
package blob

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Ref is a reference to a file or folder as it travels in values.
type Ref struct {
	File string `json:"$file,omitempty"`
	Dir  string `json:"$dir,omitempty"`
	Text string `json:"$ref,omitempty"`
	Size int64  `json:"size"`
	Name string `json:"name,omitempty"`
	Type string `json:"type,omitempty"`
}

// Digest is whichever the reference has.
func (r Ref) Digest() string {
	switch {
	case r.File != "":
		return r.File
	case r.Dir != "":
		return r.Dir
	}
	return r.Text
}

// Store is a project's filestore.
type Store struct {
	dir    string
	remote *remote // nil: it is the folder
}

// Open makes a Store of a URL "file:///dir/<project>".
func Open(url string) (*Store, error) {
	dir, ok := strings.CutPrefix(url, "file://")
	if !ok || !filepath.IsAbs(dir) {
		return nil, fmt.Errorf("filestore %q is no file:// URL", url)
	}
	return &Store{dir: dir}, nil
}

// open opens a blob for reading; os.ErrNotExist if it is not there.
func (s *Store) open(digest string) (r io.ReadCloser, size int64, err error) {
	p, err := s.path(digest)
	if err != nil {
		return nil, 0, err
	}
	if s.remote != nil {
		return s.remote.open(digest)
	}
	f, err := os.Open(p)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

func (s *Store) path(digest string) (string, error) {
	h, ok := strings.CutPrefix(digest, "sha256:")
	if _, err := hex.DecodeString(h); !ok || err != nil || len(h) != 64 {
		return "", fmt.Errorf("%q is no digest", digest)
	}
	return filepath.Join(s.dir, "sha256", h[:2], h[2:]), nil
}

// ReadAll reads a small blob whole and checks it.
func (s *Store) ReadAll(digest string, limit int64) ([]byte, error) {
	r, size, err := s.open(digest)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if size > limit {
		return nil, fmt.Errorf("a value of %d bytes is over the limit of %d", size, limit)
	}
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(data); "sha256:"+hex.EncodeToString(sum[:]) != digest {
		return nil, fmt.Errorf("blob %s is damaged", digest)
	}
	return data, nil
}

// FetchFile makes the blob a file at dest, owned by uid (-1 = us): a reflink where the file
// system has it, else a copy whose digest is checked. Never a hard link: user code could write
// through it into the store.
func (s *Store) FetchFile(digest, dest string, uid, gid int) error {
	src, _, err := s.open(digest)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(dest, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer dst.Close()
	if f, ok := src.(*os.File); !ok || !reflink(dst, f) {
		h := sha256.New()
		if _, err := io.CopyBuffer(io.MultiWriter(dst, h), src, make([]byte, 256<<10)); err != nil {
			return err
		}
		if "sha256:"+hex.EncodeToString(h.Sum(nil)) != digest {
			return fmt.Errorf("blob %s is damaged", digest)
		}
	}
	if uid >= 0 {
		if err := dst.Chown(uid, gid); err != nil {
			return err
		}
	}
	return dst.Close()
}

// PutFile keeps a regular file below a root, with its digest. No part of the path may lead out of
// the root, also when somebody changes links while we look.
func (s *Store) PutFile(root *os.Root, path string) (Ref, error) {
	f, err := openRegular(root, path)
	if err != nil {
		return Ref{}, err
	}
	defer f.Close()
	head := make([]byte, 512)
	n, _ := io.ReadFull(f, head)
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return Ref{}, err
	}
	digest, size, err := s.Put(f)
	if err != nil {
		return Ref{}, err
	}
	return Ref{File: digest, Size: size, Name: filepath.Base(path), Type: mediaType(path, head[:n])}, nil
}

// openRegular opens a regular file; a pipe or a device put in its place is not waited for.
func openRegular(root *os.Root, path string) (*os.File, error) {
	f, err := root.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", filepath.Base(path))
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func mediaType(path string, head []byte) string {
	ext := strings.ToLower(filepath.Ext(path))
	// The tables of machines differ; the common ones are told the same everywhere.
	switch ext {
	case ".svg":
		return "image/svg+xml"
	case ".csv":
		return "text/csv"
	case ".json":
		return "application/json"
	case ".html", ".htm":
		return "text/html; charset=utf-8"
	case ".txt", ".md":
		return "text/plain; charset=utf-8"
	case ".pdf":
		return "application/pdf"
	case ".png":
		return "image/png"
	case ".jpg", ".jpeg":
		return "image/jpeg"
	}
	if t := mime.TypeByExtension(ext); t != "" {
		return t
	}
	return http.DetectContentType(head)
}

// PutBytes puts text.
func (s *Store) PutBytes(data []byte) (Ref, error) {
	digest, size, err := s.Put(strings.NewReader(string(data)))
	return Ref{Text: digest, Size: size}, err
}

// Put streams r into the store.
func (s *Store) Put(r io.Reader) (digest string, size int64, err error) {
	if s.remote != nil {
		return s.remote.put(r)
	}
	tmpDir := filepath.Join(s.dir, "tmp")
	if err := os.MkdirAll(tmpDir, 0o700); err != nil {
		return "", 0, err
	}
	var name [16]byte
	if _, err := rand.Read(name[:]); err != nil {
		return "", 0, err
	}
	tmp := filepath.Join(tmpDir, hex.EncodeToString(name[:]))
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", 0, err
	}
	defer func() {
		f.Close()
		if err != nil {
			os.Remove(tmp)
		}
	}()
	h := sha256.New()
	if size, err = io.CopyBuffer(io.MultiWriter(f, h), r, make([]byte, 256<<10)); err != nil {
		return "", 0, err
	}
	digest = "sha256:" + hex.EncodeToString(h.Sum(nil))
	dest, err := s.path(digest)
	if err != nil {
		return "", 0, err
	}
	if again, err := s.touch(dest); err != nil || again {
		return digest, size, errors.Join(err, os.Remove(tmp))
	}
	if err = f.Sync(); err != nil {
		return "", 0, err
	}
	if err = os.MkdirAll(filepath.Dir(dest), 0o700); err != nil {
		return "", 0, err
	}
	unlock, err := s.lock()
	if err != nil {
		return "", 0, err
	}
	err = os.Rename(tmp, dest)
	unlock()
	if err != nil {
		return "", 0, err
	}
	return digest, size, syncDir(filepath.Dir(dest))
}

// lock takes the lock of the project's blobs, shared, while one is put: the runner, which takes it
// alone to remove one that has not been put for long, never takes what is put again.
func (s *Store) lock() (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(s.dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		if err = syscall.Flock(int(f.Fd()), syscall.LOCK_SH); !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}

// touch counts as a put of a blob that is there; false if it is not.
func (s *Store) touch(dest string) (bool, error) {
	if _, err := os.Stat(dest); errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	unlock, err := s.lock()
	if err != nil {
		return false, err
	}
	defer unlock()
	now := time.Now()
	err = os.Chtimes(dest, now, now)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// JSON is the reference as a value.
func (r Ref) JSON() []byte {
	data, _ := json.Marshal(r)
	return data
}
