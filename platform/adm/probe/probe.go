// Package probe is a small service that tells how the way to services of a cluster behaves, and its client:
// streams that stay open, many calls at once, calls spread over pods.
package probe

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pelton-run/pelton/platform/kit/fault"
)

// Handler answers POST /stream by sending each line back at once, and GET /hold?ms=N with name after N ms.
func Handler(name string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /stream", func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		_ = rc.EnableFullDuplex() // HTTP/2 is so by itself
		w.WriteHeader(http.StatusOK)
		_ = rc.Flush()
		for s := bufio.NewScanner(r.Body); s.Scan(); {
			if _, err := fmt.Fprintln(w, s.Text()); err != nil {
				return
			}
			_ = rc.Flush()
		}
	})
	mux.HandleFunc("GET /hold", func(w http.ResponseWriter, r *http.Request) {
		ms, err := strconv.Atoi(r.URL.Query().Get("ms"))
		if err != nil || ms < 0 || ms > 60_000 {
			http.Error(w, "ms: give a number from 0 to 60000", http.StatusBadRequest)
			return
		}
		t := time.NewTimer(time.Duration(ms) * time.Millisecond)
		defer t.Stop()
		select {
		case <-t.C:
			_, _ = io.WriteString(w, name)
		case <-r.Context().Done():
		}
	})
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	return mux
}

// Serve serves the probe over HTTP/1.1 and HTTP/2 without TLS until ctx ends.
func Serve(ctx context.Context, l net.Listener, name string) error {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	p.SetUnencryptedHTTP2(true)
	srv := &http.Server{Handler: Handler(name), Protocols: p, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(l); ctx.Err() == nil {
		return err
	}
	return nil
}

// Client calls a probe as the runner calls actions: HTTP/2 without TLS to a gateway, with the service's name
// as authority.
type Client struct {
	Gateway string // HOST:PORT
	Host    string // the service's name; Gateway when empty
	http    *http.Client
	once    sync.Once
}

func (c *Client) do(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	c.once.Do(func() {
		p := new(http.Protocols)
		p.SetUnencryptedHTTP2(true)
		c.http = &http.Client{Transport: &http.Transport{Protocols: p, DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext}}
	})
	req, err := http.NewRequestWithContext(ctx, method, "http://"+c.Gateway+path, body)
	if err != nil {
		return nil, err
	}
	if c.Host != "" {
		req.Host = c.Host
	}
	return c.http.Do(req)
}

// Hold makes one call that takes ms milliseconds, and gives the name of the pod that answered.
func (c *Client) Hold(ctx context.Context, ms int) (string, error) {
	resp, err := c.do(ctx, http.MethodGet, fmt.Sprintf("/hold?ms=%d", ms), nil)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1000))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(text)))
	}
	return string(text), err
}

// Ready waits until the probe answers: a route may lag behind the service.
func (c *Client) Ready(ctx context.Context) error {
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		try, cancel := context.WithTimeout(ctx, 10*time.Second)
		_, err := c.Hold(try, 0)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fault.New(fault.Unavailable, "the probe at %s (as %s) does not answer: %s", c.Gateway, c.Host, err)
		}
	}
}

// Parallel makes n calls of ms milliseconds at once; it gives how many each pod answered, and the first
// failure with how many there were.
func (c *Client) Parallel(ctx context.Context, n, ms int) (map[string]int, error) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	pods, failed := map[string]int{}, 0
	var first error
	for range n {
		wg.Go(func() {
			pod, err := c.Hold(ctx, ms)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				pods[pod]++
				return
			}
			if failed++; first == nil {
				first = err
			}
		})
	}
	wg.Wait()
	if failed > 0 {
		return pods, fault.New(fault.Unavailable, "%d of %d calls at once failed: %s", failed, n, first)
	}
	return pods, nil
}

// Stream keeps a two-way stream open for a time, sending a line every second in one direction and wanting it
// back; it gives how long the stream lived.
func (c *Client) Stream(ctx context.Context, whole time.Duration) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, whole+30*time.Second)
	defer cancel()
	r, w := io.Pipe()
	defer w.Close()
	began := time.Now()
	resp, err := c.do(ctx, http.MethodPost, "/stream", r)
	if err != nil {
		return 0, fault.New(fault.Unavailable, "a stream could not be opened: %s", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return 0, fault.New(fault.Unavailable, "a stream was answered %s", resp.Status)
	}
	back := bufio.NewReader(resp.Body)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for i := 0; time.Since(began) < whole; i++ {
		line := fmt.Sprintf("line %d\n", i)
		sent := make(chan error, 1)
		go func() { _, err := io.WriteString(w, line); sent <- err }()
		got, err := back.ReadString('\n')
		if err == nil {
			err = <-sent
		}
		if err == nil && got != line {
			err = fmt.Errorf("%q came back for %q", got, line)
		}
		if err != nil {
			lived := time.Since(began).Round(time.Second)
			return lived, fault.New(fault.Unavailable, "a two-way stream was cut after %s: %s", lived, err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return time.Since(began), ctx.Err()
		}
	}
	return time.Since(began), nil
}
