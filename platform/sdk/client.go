// Package sdk is the Go client of Pelton's public HTTP interfaces. It knows no rule of any
// service: it sends, decodes, and turns problem details into errors.
package sdk

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Client speaks to one server. Safe for concurrent use.
type Client struct {
	URL     string // of the server, without a slash at the end
	Token   string // bearer token or API key, may be empty before the login
	Project string
	HTTP    *http.Client // Defaults to http.DefaultClient
	// Patience is how long a request is sent again that a service which is just starting or stopping has not looked
	// at. Defaults to 0: its answer is an error at once.
	Patience time.Duration
}

// Problem is an error answer (RFC 9457).
type Problem struct {
	Type   string         `json:"type"`
	Title  string         `json:"title"`
	Status int            `json:"status"`
	Detail string         `json:"detail"`
	Code   string         `json:"code"`
	Run    string         `json:"run"`
	Errors []ProblemField `json:"errors"`
}

// ProblemField is one field at fault.
type ProblemField struct {
	Field   string `json:"field"`
	Message string `json:"message"`
	Remedy  string `json:"remedy"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
}

func (p *Problem) Error() string {
	var b strings.Builder
	switch {
	case p.Detail != "":
		b.WriteString(p.Detail)
	case p.Title != "":
		b.WriteString(p.Title)
	default:
		fmt.Fprintf(&b, "the server answered %d %s", p.Status, http.StatusText(p.Status))
	}
	for _, f := range p.Errors {
		// One field is often told by the detail as a whole already.
		if len(p.Errors) == 1 && f.Line == 0 && strings.Contains(p.Detail, f.Message) {
			if f.Remedy != "" && !strings.Contains(p.Detail, f.Remedy) {
				b.WriteString(" (" + f.Remedy + ")")
			}
			break
		}
		b.WriteString("\n  ")
		if f.Line > 0 {
			fmt.Fprintf(&b, "line %d, column %d: ", f.Line, f.Column)
		}
		if f.Field != "" {
			b.WriteString(f.Field + ": ")
		}
		b.WriteString(f.Message)
		if f.Remedy != "" {
			b.WriteString(" (" + f.Remedy + ")")
		}
	}
	return b.String()
}

// Unreachable says that no server answered.
type Unreachable struct {
	URL string
	Err error
}

func (e *Unreachable) Error() string { return "no Pelton answers at " + e.URL + ": " + e.Err.Error() }
func (e *Unreachable) Unwrap() error { return e.Err }

// Path joins a service, the client's project and path elements, each escaped:
// Path("runner", "runs", id) is /runner/v1/projects/<project>/runs/<id>.
func (c *Client) Path(service string, elements ...string) string {
	p := "/" + service + "/v1/projects/" + url.PathEscape(c.Project)
	for _, e := range elements {
		p += "/" + url.PathEscape(e)
	}
	return p
}

// Do sends a request; the caller closes the body. Answers of 400 and above are *Problem.
func (c *Client) Do(ctx context.Context, method, path, contentType string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.URL+path, body)
	if err != nil {
		return nil, err
	}
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	for began := time.Now(); ; {
		resp, err := c.send(req)
		if !unseen(err) || time.Since(began) > c.Patience || req.Body != nil && req.GetBody == nil {
			return resp, err
		}
		if err := rest(ctx, 200*time.Millisecond); err != nil {
			return nil, err
		}
		if req = req.Clone(ctx); req.GetBody != nil {
			if req.Body, err = req.GetBody(); err != nil {
				return nil, err
			}
		}
	}
}

// unseen: the service is just starting or stopping, and has done nothing.
func unseen(err error) bool {
	var p *Problem
	return errors.As(err, &p) && p.Code == "not_serving"
}

func rest(ctx context.Context, d time.Duration) error {
	pause := time.NewTimer(d)
	defer pause.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-pause.C:
		return nil
	}
}

func (c *Client) send(req *http.Request) (*http.Response, error) {
	client := c.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		if ctx := req.Context(); ctx.Err() != nil {
			return nil, ctx.Err()
		}
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // without the URL, which Unreachable tells
		}
		return nil, &Unreachable{URL: c.URL, Err: err}
	}
	if resp.StatusCode < 400 {
		return resp, nil
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	p := &Problem{}
	if json.Unmarshal(data, p) != nil {
		p.Detail = strings.TrimSpace(string(data))
	}
	p.Status = resp.StatusCode
	return nil, p
}

// Raw sends a body (nil = none) and returns the answer's bytes.
func (c *Client) Raw(ctx context.Context, method, path, contentType string, body []byte) ([]byte, error) {
	var r io.Reader
	if body != nil {
		r = bytes.NewReader(body)
	}
	resp, err := c.Do(ctx, method, path, contentType, r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return io.ReadAll(resp.Body)
}

// JSON sends in (nil = no body) and returns the answer, decoded into out when out is not nil.
func (c *Client) JSON(ctx context.Context, method, path string, in, out any) (json.RawMessage, error) {
	var body []byte
	contentType := ""
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return nil, err
		}
		contentType = "application/json"
	}
	data, err := c.Raw(ctx, method, path, contentType, body)
	if err != nil || out == nil || len(bytes.TrimSpace(data)) == 0 {
		return data, err
	}
	if err := json.Unmarshal(data, out); err != nil {
		return nil, fmt.Errorf("read the answer of %s %s: %w", method, path, err)
	}
	return data, nil
}

// Get reads a path into out and returns the answer as it came.
func (c *Client) Get(ctx context.Context, path string, out any) (json.RawMessage, error) {
	return c.JSON(ctx, http.MethodGet, path, nil, out)
}

// Events reads server-sent events until ctx ends, the server says that nothing more comes
// (event "end"), or f returns false. A cut stream is opened again after a short pause; f is
// called with nil data whenever a stream was (re)opened, so that callers read the state anew.
func (c *Client) Events(ctx context.Context, path string, f func(data []byte) bool) error {
	for {
		resp, err := c.Do(ctx, http.MethodGet, path, "", nil)
		var u *Unreachable
		if err != nil && !errors.As(err, &u) && !draining(err) {
			return err
		}
		if err == nil {
			more := f(nil) && readEvents(resp.Body, f)
			resp.Body.Close()
			if !more {
				return nil
			}
		}
		if err := rest(ctx, 300*time.Millisecond); err != nil {
			return err
		}
	}
}

// draining: the server goes down or is not ready yet, and will be back.
func draining(err error) bool {
	var p *Problem
	return errors.As(err, &p) && p.Status == http.StatusServiceUnavailable
}

// readEvents returns false when f wants no more or the server said "end".
func readEvents(r io.Reader, f func([]byte) bool) bool {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 64<<10), 4<<20)
	event := ""
	for lines.Scan() {
		line := lines.Text()
		if line == "" {
			event = ""
			continue
		}
		if v, ok := strings.CutPrefix(line, "event:"); ok {
			event = strings.TrimSpace(v)
		}
		if v, ok := strings.CutPrefix(line, "data:"); ok {
			if event == "end" || !f([]byte(strings.TrimSpace(v))) {
				return false
			}
		}
	}
	return true
}
