package local

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
)

// Unpack makes a folder of an action's packed source (a tar), whose digest it checks.
func Unpack(r io.Reader, digest, dir string) error {
	h := sha256.New()
	packed := io.TeeReader(r, h)
	if err := unpackTar(packed, dir); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, packed); err != nil {
		return err
	}
	if "sha256:"+hex.EncodeToString(h.Sum(nil)) != digest {
		return errors.New("the source is damaged in the filestore")
	}
	return nil
}

func unpackTar(f io.Reader, dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	tr := tar.NewReader(f)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := root.MkdirAll(filepath.Dir(h.Name), 0o755); err != nil {
			return err
		}
		out, err := root.OpenFile(h.Name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, os.FileMode(h.Mode)&0o755)
		if err != nil {
			return err
		}
		_, err = io.Copy(out, tr)
		if err = errors.Join(err, out.Close()); err != nil {
			return err
		}
	}
}

// DefaultIndex is where Python packages come from unless settings say otherwise.
const DefaultIndex = "https://pypi.org/simple"

// FetchUV fetches the pinned uv from a package index to dest. It trusts what SSL_CERT_FILE and
// PIP_CERT name, and takes the environment's proxy. Errors are *Error.
func FetchUV(ctx context.Context, index, dest string) error {
	w, err := uvWheel()
	if err != nil {
		return err
	}
	if err := fetchTool(ctx, index, "uv", w, "uv-"+uvVersion+".data/scripts/uv", dest); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return unfetched(index, err)
	}
	return nil
}
