// Package webui is the browser application: React sources, built by Vite into dist and served
// from the binary below /app/. It speaks to the public HTTP interfaces only and holds no secret.
package webui

import (
	"embed"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"
)

//go:embed all:dist
var dist embed.FS

// Nothing from elsewhere is loaded or spoken to; inline styles are how components set sizes.
const policy = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

// Built tells whether the application is in this binary.
func Built() bool {
	_, err := fs.Stat(dist, "dist/index.html")
	return err == nil
}

// Handler serves the application below prefix ("/app/"): files by their names, and the page for
// every other path, since the page itself reads the address.
func Handler(prefix string) http.Handler {
	files, err := fs.Sub(dist, "dist")
	if err != nil {
		panic(err) // the folder is part of the sources
	}
	return handler(prefix, files)
}

func handler(prefix string, files fs.FS) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Content-Security-Policy", policy)
		name := strings.TrimPrefix(path.Clean(r.URL.Path), strings.TrimSuffix(prefix, "/"))
		name = strings.TrimPrefix(name, "/")
		if info, err := fs.Stat(files, name); name != "" && err == nil && !info.IsDir() && !strings.HasPrefix(name, ".") {
			if strings.HasPrefix(name, "assets/") { // their names hold a digest
				h.Set("Cache-Control", "public, max-age=31536000, immutable")
			}
			http.ServeFileFS(w, r, files, name)
			return
		}
		if strings.HasPrefix(name, "assets/") {
			http.NotFound(w, r) // a page from before an upgrade: never answer a script with HTML
			return
		}
		page, err := fs.ReadFile(files, "index.html")
		if err != nil {
			h.Set("Content-Type", "text/plain; charset=utf-8")
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, "The web page is not in this binary: it is built with Node.js 20.19 or later.\n"+
				"Install Node.js (Debian: apt install nodejs npm, macOS: brew install node) and run make build.\n"+
				"Everything else works without it: pelton run list, pelton workflow list, pelton --help.\n")
			return
		}
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Cache-Control", "no-cache")
		_, _ = w.Write(page)
	})
}
