package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
)

func TestAllows(t *testing.T) {
	h := parse("# comment\nRegistry.example.org\n*.pkg.example.net # all of it\nmirror.local private\n")
	for host, want := range map[string]struct{ ok, private bool }{
		"registry.example.org": {true, false}, "REGISTRY.example.org.": {true, false}, "evil-registry.example.org": {}, "registry.example.org.evil.net": {},
		"a.pkg.example.net": {true, false}, "b.a.pkg.example.net": {true, false}, "pkg.example.net": {}, "mirror.local": {true, true}, "": {},
	} {
		if ok, private := h.allows(host); ok != want.ok || private != want.private {
			t.Errorf("%q: %v, %v; want %v", host, ok, private, want)
		}
	}
}

func TestPublic(t *testing.T) {
	for ip, want := range map[string]bool{"127.0.0.1": false, "10.1.2.3": false, "169.254.169.254": false, "0.0.0.0": false, "192.168.1.1": false, "93.184.215.14": true} {
		if got := public(netip.MustParseAddr(ip)); got != want {
			t.Errorf("%s: %v", ip, got)
		}
	}
}

// A listed name that leads to this machine is refused by its address, others by their name.
func TestRefused(t *testing.T) {
	srv := httptest.NewServer(newProxy(parse("localhost")))
	defer srv.Close()
	at, _ := url.Parse(srv.URL)
	client := http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(at)}}
	for target, want := range map[string]string{"http://localhost/": "private", "http://example.invalid/": "not a package host", "http://localhost:8080/": "port 80 or 443"} {
		res, err := client.Get(target)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != http.StatusForbidden || !strings.Contains(string(body), want) {
			t.Errorf("%s: %s %s", target, res.Status, body)
		}
	}
	conn, err := net.Dial("tcp", at.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "CONNECT 127.0.0.1:443 HTTP/1.1\r\nHost: 127.0.0.1:443\r\n\r\n")
	answer := make([]byte, 12)
	if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != "HTTP/1.1 403" {
		t.Errorf("CONNECT: %q %v", answer, err)
	}
}
