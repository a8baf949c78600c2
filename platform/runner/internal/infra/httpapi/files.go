package httpapi

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"path"
	"time"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/httpx"
)

// maxUpload bounds one uploaded file.
const maxUpload = 16 << 30

// putFile streams the body into the filestore and answers with the value that names it.
func (a *API) putFile(w http.ResponseWriter, r *http.Request) error {
	head := make([]byte, 512)
	n, err := io.ReadFull(r.Body, head)
	if err != nil && n == 0 && r.ContentLength > 0 {
		return fault.Wrap(err, fault.Invalid, "the body could not be read")
	}
	body := io.MultiReader(bytes.NewReader(head[:n]), r.Body)
	digest, size, err := a.Files.Put(r.Context(), r.PathValue("project"), http.MaxBytesReader(w, io.NopCloser(body), maxUpload))
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return fault.Wrap(err, fault.TooLarge, "a file has at most 16 GiB")
	}
	if err != nil {
		return err
	}
	name := path.Base(path.Clean("/" + r.URL.Query().Get("name")))
	if name == "/" {
		name = "data"
	}
	kind := r.Header.Get("Content-Type")
	if kind == "" || kind == "application/octet-stream" || kind == "application/x-www-form-urlencoded" {
		if kind = mime.TypeByExtension(path.Ext(name)); kind == "" {
			kind = http.DetectContentType(head[:n])
		}
	}
	return httpx.WriteJSON(w, http.StatusCreated, map[string]any{"$file": digest, "size": size, "name": name, "type": kind})
}

func (a *API) getFile(w http.ResponseWriter, r *http.Request) error {
	f, _, err := a.Files.Open(r.Context(), r.PathValue("project"), r.PathValue("digest"))
	if err != nil {
		return err
	}
	defer f.Close()
	q := r.URL.Query()
	httpx.UserContent(w.Header(), q.Get("name"), q.Get("type"))
	w.Header().Set("ETag", `"`+r.PathValue("digest")+`"`)
	w.Header().Set("Cache-Control", "private, max-age=31536000, immutable")
	http.ServeContent(w, r, "", time.Time{}, f)
	return nil
}
