package server

import (
	"fmt"
	"net/http"
)

// web answers at the root: where the interfaces are.
func (p *process) web(mux *http.ServeMux) {
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		fmt.Fprintf(w, "Pelton %s\n\nThis version has no web page yet. Use the command line:\n\n"+
			"  pelton run list | run show RUN | run logs RUN | workflow list | action list | repo list\n\n"+
			"or the interfaces below /authorization/v1, /repository/v1, /studio/v1 and /runner/v1.\n"+
			"Deployed HTTP triggers are described at /user-api/<project>/-/openapi.json.\n", Version)
	})
}
