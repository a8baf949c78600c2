package server

import "net/http"

// web serves the web page, and leads there from the root.
func (p *process) web(mux *http.ServeMux) {
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/app/", http.StatusFound)
	})
}
