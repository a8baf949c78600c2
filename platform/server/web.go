package server

import (
	"net/http"

	"github.com/pelton-run/pelton/platform/webui"
)

// web serves the browser application below /app/, and sends the bare address there.
func (p *process) web(mux *http.ServeMux) {
	mux.Handle("/app/", webui.Handler("/app/"))
	to := http.RedirectHandler("/app/", http.StatusFound)
	mux.Handle("GET /{$}", to)
	mux.Handle("GET /app", to)
}
