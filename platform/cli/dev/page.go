package dev

import (
	"context"
	"net/http"
	"net/url"
	"strings"
)

// page is the address of the web page with a code that signs in once; the server's bare address
// where its binary has no page or gives no code.
func (c client) page(ctx context.Context) string {
	resp, err := c.do(ctx, http.MethodGet, "/app/", "", nil)
	if err != nil {
		return c.url
	}
	resp.Body.Close()
	if !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") {
		return c.url
	}
	var made struct{ Code string }
	if err := c.json(ctx, http.MethodPost, "/authorization/v1/login/codes", nil, &made); err != nil || made.Code == "" {
		return c.url + "/app/"
	}
	return c.url + "/app/?code=" + url.QueryEscape(made.Code) + "  (signs you in once)"
}
