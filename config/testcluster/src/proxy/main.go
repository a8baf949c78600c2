// Command proxy is an HTTP proxy that leads to listed hosts only: proxy ADDRESS FILE. Pods have no
// other way out of the machine. FILE has a host a line; *.example.com stands for every host below
// example.com, and # begins a comment. The port must be 80 or 443, and the address that a name
// leads to must not be a loopback or private one unless the line says so by a following " private".
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: proxy ADDRESS FILE")
		os.Exit(2)
	}
	text, err := os.ReadFile(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	p := newProxy(parse(string(text)))
	srv := &http.Server{Addr: os.Args[1], Handler: p, ReadHeaderTimeout: 30 * time.Second}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	context.AfterFunc(ctx, func() { _ = srv.Close() })
	if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}

// hosts maps an allowed name, or ".example.com" for all below it, to whether its address may be private.
type hosts map[string]bool

func parse(text string) hosts {
	h := hosts{}
	for s := bufio.NewScanner(strings.NewReader(text)); s.Scan(); {
		line, _, _ := strings.Cut(s.Text(), "#")
		if f := strings.Fields(line); len(f) > 0 {
			h[strings.TrimPrefix(strings.ToLower(f[0]), "*")] = len(f) > 1 && f[1] == "private"
		}
	}
	return h
}

// allows tells whether host may be reached, and whether at a private address.
func (h hosts) allows(host string) (ok, private bool) {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if private, ok = h[host]; ok {
		return true, private
	}
	for rest := host; ; {
		i := strings.IndexByte(rest, '.')
		if i < 0 {
			return false, false
		}
		if private, ok = h[rest[i:]]; ok {
			return true, private
		}
		rest = rest[i+1:]
	}
}

type proxy struct {
	hosts   hosts
	forward *httputil.ReverseProxy
}

func newProxy(h hosts) *proxy {
	p := &proxy{hosts: h}
	transport := &http.Transport{
		DialContext:           func(ctx context.Context, _, addr string) (net.Conn, error) { return p.dial(ctx, addr) },
		ResponseHeaderTimeout: 2 * time.Minute,
		MaxIdleConnsPerHost:   8,
		IdleConnTimeout:       time.Minute,
	}
	p.forward = &httputil.ReverseProxy{
		Transport: transport,
		Rewrite:   func(r *httputil.ProxyRequest) { r.Out.Header.Del("Proxy-Authorization") },
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			refuse(w, r, err)
		},
	}
	return p
}

// refusal is an error that the caller's settings, not the network, are the reason of.
type refusal string

func (r refusal) Error() string { return string(r) }

func refuse(w http.ResponseWriter, r *http.Request, err error) {
	code := http.StatusBadGateway
	var no refusal
	if errors.As(err, &no) {
		code = http.StatusForbidden
	}
	log.Printf("%s %s: %v", r.Method, r.Host, err)
	http.Error(w, err.Error(), code)
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method == http.MethodConnect:
		p.tunnel(w, r)
	case r.URL.IsAbs() && r.URL.Scheme == "http":
		p.forward.ServeHTTP(w, r)
	default:
		http.Error(w, "this is a proxy: send it CONNECT, or a request with a whole http:// URL", http.StatusBadRequest)
	}
}

func (p *proxy) tunnel(w http.ResponseWriter, r *http.Request) {
	far, err := p.dial(r.Context(), r.Host)
	if err != nil {
		refuse(w, r, err)
		return
	}
	defer far.Close()
	near, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		refuse(w, r, err)
		return
	}
	defer near.Close()
	if _, err := io.WriteString(near, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { _, _ = io.Copy(far, buffered); closeWrite(far) })
	both.Go(func() { _, _ = io.Copy(near, far); closeWrite(near) })
	both.Wait()
}

func closeWrite(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.CloseWrite()
	}
}

// dial connects to host:port if it is allowed. The name is resolved once, and what was checked is what is dialled.
func (p *proxy) dial(ctx context.Context, addr string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, refusal(addr + " is not HOST:PORT")
	}
	ok, private := p.hosts.allows(host)
	if !ok {
		return nil, refusal(addr + " is not a package host that this cluster lets through; PELTON_CLUSTER_PROXY_HOSTS names further ones")
	}
	if port != "80" && port != "443" {
		return nil, refusal(addr + " is not at port 80 or 443, the only ones that this cluster lets through")
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip4", host)
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	err = refusal("all addresses of " + host + " are private ones")
	for _, ip := range found {
		if ip = ip.Unmap(); !private && !public(ip) {
			continue
		}
		var c net.Conn
		if c, err = d.DialContext(ctx, "tcp", net.JoinHostPort(ip.String(), port)); err == nil {
			return c, nil
		}
	}
	return nil, err
}

func public(ip netip.Addr) bool {
	return ip.IsGlobalUnicast() && !ip.IsPrivate()
}
