// Package backup writes what a platform keeps into one file while it works, and fills an empty platform
// from it. It knows tables, files and keys; what they mean is the services' own.
package backup

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/pelton-run/pelton/platform/kit/fault"
)

// format of the file: a tar (POSIX) of the entries below, compressed by Zstandard.
//
//	backup.json                      Head
//	db/<service>/schema.json         schema
//	db/<service>/<table>/<n>         COPY text of the table's columns, cut anywhere, n from 0
//	home/{keys,bundles,deps}/…       as they lie in the home
//	files/<project>/{sha256,source}/<2 hex>/<62 hex>
//	manifest.json                    Manifest, last: without it the file is not whole
const format = 1

const (
	headName     = "backup.json"
	manifestName = "manifest.json"
	chunk        = 4 << 20
)

// Head is the first entry.
type Head struct {
	Format  int       `json:"format"`
	ID      string    `json:"id"`
	Version string    `json:"version"` // of the program that made it
	At      time.Time `json:"at"`
}

// Manifest is the last entry. Sum is the SHA-256 over name, size and content of every entry before it.
type Manifest struct {
	Sum       string                    `json:"sum"`
	Entries   int                       `json:"entries"`
	Databases map[string]map[string]int `json:"databases"` // service, table: rows
	Files     int                       `json:"files"`
	Bytes     int64                     `json:"bytes"`
	Builds    []string                  `json:"builds"` // artifacts that live deployments and unfinished runs need
}

// summed counts what an archive is made of.
type summed struct {
	hash    hash.Hash
	entries int
}

func (s *summed) begin(h *tar.Header) {
	fmt.Fprintf(s.hash, "%s\x00%d\x00%s\x00", h.Name, h.Size, h.Linkname)
	s.entries++
}

func (s *summed) sum() string { return hex.EncodeToString(s.hash.Sum(nil)) }

// writer writes an archive. Not for concurrent use.
type writer struct {
	z *zstd.Encoder
	t *tar.Writer
	summed
}

func newWriter(w io.Writer) (*writer, error) {
	z, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	return &writer{z: z, t: tar.NewWriter(z), summed: summed{hash: sha256.New()}}, nil
}

// add adds an entry of exactly h.Size bytes.
func (w *writer) add(h *tar.Header, r io.Reader) error {
	h.Format = tar.FormatPAX
	if h.Mode == 0 {
		h.Mode = 0o600
	}
	if err := w.t.WriteHeader(h); err != nil {
		return err
	}
	w.begin(h)
	if r == nil {
		return nil
	}
	n, err := io.Copy(io.MultiWriter(w.t, w.hash), io.LimitReader(r, h.Size))
	if err == nil && n < h.Size {
		err = fmt.Errorf("%s has %d bytes of %d", h.Name, n, h.Size)
	}
	return err
}

func (w *writer) bytes(name string, data []byte) error {
	return w.add(&tar.Header{Name: name, Size: int64(len(data))}, bytes.NewReader(data))
}

func (w *writer) json(name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return w.bytes(name, data)
}

// end completes the archive.
func (w *writer) end(m Manifest) error {
	m.Sum, m.Entries = w.sum(), w.entries
	return errors.Join(w.json(manifestName, m), w.t.Close(), w.z.Close())
}

// chunks cuts what is written to it into entries.
type chunks struct {
	w    *writer
	name string
	n    int
	buf  []byte
}

func (c *chunks) Write(p []byte) (int, error) {
	c.buf = append(c.buf, p...)
	for len(c.buf) >= chunk {
		if err := c.flush(chunk); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

func (c *chunks) flush(n int) error {
	if n == 0 {
		return nil
	}
	err := c.w.bytes(fmt.Sprintf("%s/%06d", c.name, c.n), c.buf[:n])
	c.n++
	c.buf = append(c.buf[:0], c.buf[n:]...)
	return err
}

// reader reads an archive.
type reader struct {
	z *zstd.Decoder
	t *tar.Reader
	summed
}

func newReader(r io.Reader) (*reader, error) {
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	return &reader{z: z, t: tar.NewReader(z), summed: summed{hash: sha256.New()}}, nil
}

func (r *reader) next() (*tar.Header, error) {
	h, err := r.t.Next()
	if err != nil {
		return nil, err
	}
	if !fs.ValidPath(h.Name) {
		return nil, fault.New(fault.Invalid, "the backup has an entry %q, which no backup has", h.Name)
	}
	return h, nil
}

func (r *reader) close() { r.z.Close() }

// decode reads an entry as JSON.
func decode[T any](r io.Reader) (v T, err error) {
	err = json.NewDecoder(r).Decode(&v)
	return v, err
}

// Verify reads a whole backup and tells whether it is one and complete, without writing anything.
func Verify(file io.Reader) (Head, Manifest, error) {
	r, err := newReader(file)
	if err != nil {
		return Head{}, Manifest{}, err
	}
	defer r.close()
	var head Head
	for first := true; ; first = false {
		h, err := r.next()
		if errors.Is(err, io.EOF) {
			return head, Manifest{}, fault.New(fault.Invalid, "the backup is not complete: its end is missing")
		}
		if err != nil {
			return head, Manifest{}, fault.Wrap(err, fault.Invalid, "the file is no backup, or is damaged after %d entries: %s", r.entries, err)
		}
		if h.Name == manifestName {
			m, err := decode[Manifest](r.t)
			if err == nil && (m.Sum != r.sum() || m.Entries != r.entries) {
				err = fault.New(fault.Invalid, "the backup is damaged: its content is not what its manifest says")
			}
			return head, m, err
		}
		r.begin(h)
		content := io.TeeReader(r.t, r.hash)
		if first {
			if head, err = decode[Head](content); err != nil || h.Name != headName || head.ID == "" {
				return head, Manifest{}, fault.New(fault.Invalid, "the file is no backup of a Pelton")
			}
			if head.Format != format {
				return head, Manifest{}, fault.New(fault.Invalid, "the backup has the format %d, made by version %s; this version reads %d", head.Format, head.Version, format)
			}
		}
		if _, err := io.Copy(io.Discard, content); err != nil {
			return head, Manifest{}, fault.Wrap(err, fault.Invalid, "the backup is damaged in %s: %s", h.Name, err)
		}
	}
}
