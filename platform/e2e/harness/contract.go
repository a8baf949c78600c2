package harness

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/pelton-run/pelton/platform/kit/openapi/contract"
)

// Services are those with an OpenAPI document.
var Services = []string{"authorization", "repository", "studio", "runner", "bridge"}

// client is an HTTP client that tells violation of each answer that differs from the documents
// which the server at url serves; without violation nothing is checked.
func client(url string, o Options) *http.Client {
	base := http.DefaultTransport
	if o.Patient {
		base = patient{base}
	}
	if o.Violation == nil {
		return &http.Client{Transport: base}
	}
	d := &documents{url: url, base: base, loaded: map[string]*contract.Contract{}}
	return &http.Client{Transport: &contract.Transport{Base: base, Find: d.find, Report: o.Violation}}
}

// documents are the documents of a server, each read when the first answer needs it.
type documents struct {
	url    string
	base   http.RoundTripper
	mu     sync.Mutex
	loaded map[string]*contract.Contract
}

func (d *documents) find(path string) (*contract.Contract, error) {
	service, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if !slices.Contains(Services, service) {
		return nil, nil //nolint:nilnil // nothing describes other paths
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if c := d.loaded[service]; c != nil {
		return c, nil
	}
	data, err := d.read("/" + service + "/openapi.json")
	if err != nil {
		return nil, err
	}
	c, err := contract.Load(data)
	if err != nil {
		return nil, fmt.Errorf("the OpenAPI document of %s: %w", service, err)
	}
	d.loaded[service] = c
	return c, nil
}

func (d *documents) read(path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, d.url+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := d.base.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET %s: %s", path, resp.Status)
	}
	return io.ReadAll(resp.Body)
}
