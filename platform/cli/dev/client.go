package dev

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// client speaks to the local server as its administrator.
type client struct{ url, token string }

type problem struct {
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Title  string `json:"title"`
	Errors []struct {
		Field   string `json:"field"`
		Message string `json:"message"`
		Remedy  string `json:"remedy"`
	} `json:"errors"`
}

func (p *problem) Error() string {
	s := p.Detail
	if s == "" {
		s = p.Title
	}
	for _, e := range p.Errors {
		s += fmt.Sprintf("\n  %s: %s", e.Field, e.Message)
		if e.Remedy != "" {
			s += " (" + e.Remedy + ")"
		}
	}
	return s
}

func (c client) do(ctx context.Context, method, path, contentType string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.url+path, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 400 {
		defer resp.Body.Close()
		data, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
		p := &problem{Status: resp.StatusCode, Detail: string(data)}
		_ = json.Unmarshal(data, p)
		return nil, p
	}
	return resp, nil
}

// json sends in (nil = no body) and decodes the answer into out (nil = dropped).
func (c client) json(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	contentType := ""
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body, contentType = bytes.NewReader(data), "application/json"
	}
	resp, err := c.do(ctx, method, path, contentType, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	}
	return json.NewDecoder(resp.Body).Decode(out)
}

// events reads a stream of server-sent events until ctx ends and calls f with the data of each;
// a cut stream is opened again. opened is called after each attempt to open it: what
// happens from the first that succeeded on is told.
func (c client) events(ctx context.Context, path string, f func(data []byte), opened func()) {
	for ctx.Err() == nil {
		resp, err := c.do(ctx, http.MethodGet, path, "", nil)
		opened() // of a server without this stream, too
		if err == nil {
			lines := bufio.NewScanner(resp.Body)
			lines.Buffer(make([]byte, 64<<10), 4<<20)
			for lines.Scan() {
				if data, ok := strings.CutPrefix(lines.Text(), "data:"); ok {
					f([]byte(strings.TrimSpace(data)))
				}
			}
			resp.Body.Close()
		}
		select {
		case <-ctx.Done():
		case <-time.After(300 * time.Millisecond):
		}
	}
}
