package suite

import (
	"archive/tar"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/zstd"

	"github.com/pelton-run/pelton/platform/cli/factory"
	"github.com/pelton-run/pelton/platform/cli/run"
)

// upload stores the files beside a test that it names; what is not there is told by who knows
// whether a file is wanted.
func (st *stage) upload(ctx context.Context, t *workflowTest) (map[string]json.RawMessage, error) {
	out := map[string]json.RawMessage{}
	for _, path := range t.Paths() {
		file := filepath.Join(filepath.Dir(t.file), filepath.FromSlash(path))
		info, err := os.Stat(file)
		if err != nil {
			continue
		}
		st.mu.Lock()
		v := st.uploaded[file]
		st.mu.Unlock()
		if v == nil {
			if info.IsDir() {
				v, err = st.uploadFolder(ctx, file)
			} else {
				v, err = run.Upload(ctx, st.client, file)
			}
			if err != nil {
				return nil, fmt.Errorf("upload %s: %w", file, err)
			}
			st.mu.Lock()
			st.uploaded[file] = v
			st.mu.Unlock()
		}
		out[path] = v
	}
	return out, nil
}

// uploadFolder stores a folder as actions exchange them: a tar archive, compressed with zstd, the
// same for the same content.
func (st *stage) uploadFolder(ctx context.Context, dir string) (json.RawMessage, error) {
	r, w := io.Pipe()
	go func() { w.CloseWithError(pack(w, dir)) }()
	defer r.Close()
	resp, err := st.client.Do(ctx, "POST", st.client.Path("runner", "files")+factory.Query("name", filepath.Base(dir)), "application/zstd", r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var f struct {
		Digest string `json:"$file"`
		Size   int64  `json:"size"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&f); err != nil {
		return nil, err
	}
	return json.Marshal(map[string]any{"$dir": f.Digest, "size": f.Size, "name": filepath.Base(dir)})
}

func pack(out io.Writer, dir string) error {
	z, err := zstd.NewWriter(out, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	t := tar.NewWriter(z)
	err = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		h := &tar.Header{Name: filepath.ToSlash(name), Mode: 0o644, Size: info.Size(), Typeflag: tar.TypeReg}
		switch {
		case d.IsDir():
			h.Name, h.Mode, h.Size, h.Typeflag = h.Name+"/", 0o755, 0, tar.TypeDir
		case !info.Mode().IsRegular():
			return fmt.Errorf("%s is neither a file nor a folder", p)
		case info.Mode()&0o100 != 0:
			h.Mode = 0o755
		}
		if err := t.WriteHeader(h); err != nil || d.IsDir() {
			return err
		}
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(t, f)
		return err
	})
	if err == nil {
		err = t.Close()
	}
	if err == nil {
		err = z.Close()
	}
	return err
}
