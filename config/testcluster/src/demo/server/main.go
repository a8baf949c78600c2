// Command server is the demo function: HTTP/1.1, h2c and gRPC on $PORT, and a sink
// that remembers the CloudEvents it was sent (GET /events lists them).
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"

	"testcluster/demo/ticks"
)

var started = time.Now()

func main() {
	g := grpc.NewServer()
	ticks.Register(g)
	var mu sync.Mutex
	var events []string
	mux := http.NewServeMux()
	mux.HandleFunc("GET /events", func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintln(w, strings.Join(events, "\n"))
	})
	mux.HandleFunc("GET /get", func(w http.ResponseWriter, r *http.Request) { // fetches ?url= from inside the cluster
		timeout, err := time.ParseDuration(r.FormValue("timeout"))
		if err != nil {
			timeout = 30 * time.Second
		}
		c := http.Client{Timeout: timeout}
		res, err := c.Get(r.FormValue("url"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer res.Body.Close()
		fmt.Fprintln(w, res.Status)
		_, _ = io.Copy(w, res.Body)
	})
	mux.HandleFunc("GET /dial", func(w http.ResponseWriter, r *http.Request) { // connects to ?to= from inside the cluster
		c, err := net.DialTimeout("tcp", r.FormValue("to"), 3*time.Second)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		c.Close()
		fmt.Fprintln(w, "connected")
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if id := r.Header.Get("Ce-Id"); id != "" {
			b, _ := io.ReadAll(r.Body)
			mu.Lock()
			events = append(events, fmt.Sprintf("%s %s %s", id, r.Header.Get("Ce-Type"), b))
			mu.Unlock()
			log.Printf("event %s %s", id, b)
			w.WriteHeader(http.StatusAccepted)
			return
		}
		fmt.Fprintf(w, "hello from %s over %s, up %s\n", os.Getenv("K_REVISION"), r.Proto, time.Since(started).Round(time.Millisecond))
	})
	port := os.Getenv("PORT")
	if port == "" {
		port = "8080"
	}
	srv := &http.Server{Addr: ":" + port, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 2 && strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
			g.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})}
	srv.Protocols = new(http.Protocols)
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	log.Fatal(srv.ListenAndServe())
}
