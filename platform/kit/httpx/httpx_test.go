package httpx_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/httpx"
)

type body struct {
	Name  string   `json:"name"`
	Count int      `json:"count"`
	Tags  []string `json:"tags"`
}

func TestDecodeJSON(t *testing.T) {
	for in, want := range map[string]string{
		`{"name":"a","count":1}`: "",
		``:                       "the body is empty",
		`{"nam":"a"}`:            "did you mean name?",
		`{"zebra":1}`:            "the fields are name, count, tags",
		`{"count":"x"}`:          "count: is a string",
		`{"tags":{}}`:            "tags: is a object",
		`{"name":`:               "the JSON ends in the middle",
		`{"name":"a"} {}`:        "there is more after the JSON value",
		`nope`:                   "is not JSON",
		`{"name":"` + strings.Repeat("x", 200) + `"}`: "larger than 100 bytes",
	} {
		var v body
		err := httpx.DecodeJSON(httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(in)), &v, 100)
		if want == "" {
			require.NoError(t, err, in)
			continue
		}
		require.ErrorContains(t, err, want, in)
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader("name: a"))
	r.Header.Set("Content-Type", "application/yaml")
	require.True(t, fault.Is(httpx.DecodeJSON(r, &body{}, 100), fault.Unsupported))
}

func TestPageOf(t *testing.T) {
	get := func(query string) (httpx.Page, error) {
		return httpx.PageOf(httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/x?"+query, nil), "state")
	}
	p, err := get("")
	require.NoError(t, err)
	require.Equal(t, httpx.Page{Limit: 50}, p)
	p, err = get("limit=7&state=failed&cursor=" + httpx.Cursor("after this"))
	require.NoError(t, err)
	require.Equal(t, httpx.Page{Limit: 7, Cursor: "after this"}, p)
	for query, want := range map[string]string{"limit=0": "1 to 200", "limit=x": "1 to 200", "limit=201": "1 to 200", "stat=x": "did you mean state?", "cursor=%21": "is not a cursor"} {
		_, err := get(query)
		require.ErrorContains(t, err, want, query)
	}
}

func TestProblems(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		header string
	}{
		{fault.New(fault.NotFound, "there is no run"), 404, ""},
		{fault.New(fault.Unauthenticated, "who are you"), 401, "WWW-Authenticate"},
		{fault.New(fault.Unavailable, "soon"), 503, "Retry-After"},
		{fault.New(fault.Exhausted, "enough"), 429, "Retry-After"},
		{errors.New("a secret of the inside"), 500, ""},
	} {
		w := httptest.NewRecorder()
		httpx.Handle(func(http.ResponseWriter, *http.Request) error { return c.err }).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
		require.Equal(t, c.status, w.Code)
		require.Equal(t, "application/problem+json", w.Header().Get("Content-Type"))
		require.NotContains(t, w.Body.String(), "secret of the inside")
		if c.header != "" {
			require.NotEmpty(t, w.Header().Get(c.header))
		}
	}
}

func TestUserContentNeverRunsAsOurs(t *testing.T) {
	h := http.Header{}
	httpx.UserContent(h, "a\r\nb/../c.html", "text/html; charset=utf-8")
	require.Equal(t, "sandbox allow-scripts", h.Get("Content-Security-Policy"))
	require.Equal(t, "nosniff", h.Get("X-Content-Type-Options"))
	require.NotContains(t, h.Get("Content-Disposition"), "/")
	require.NotContains(t, h.Get("Content-Disposition"), "\n")
	httpx.UserContent(h, "x", "no type at all;;")
	require.Equal(t, "application/octet-stream", h.Get("Content-Type"))
	require.Contains(t, h.Get("Content-Disposition"), "attachment")
}

func TestCheckHost(t *testing.T) {
	ok := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	code := func(h http.Handler, host string) int {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		r.Host = host
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code
	}
	h := httpx.CheckHost([]string{"pelton.example"}, false, ok)
	for host, want := range map[string]int{"127.0.0.1:8080": 200, "localhost": 200, "[::1]:1": 200, "a.localhost": 200, "Pelton.Example:8080": 200, "evil.example": 403, "127.0.0.1.evil.example": 403, "": 403} {
		require.Equal(t, want, code(h, host), host)
	}
	require.Equal(t, 200, code(httpx.CheckHost(nil, true, ok), "any.example"))
}

func TestHub(t *testing.T) {
	var h httpx.Hub[int]
	a, stopA := h.Subscribe("a")
	b, stopB := h.Subscribe("a")
	other, stopOther := h.Subscribe("b")
	defer stopB()
	defer stopOther()
	h.Publish("a", 1)
	require.Equal(t, 1, <-a)
	require.Equal(t, 1, <-b)
	stopA()
	for i := range 5000 { // b does not read: the publisher never waits
		h.Publish("a", i)
	}
	require.Empty(t, a)
	require.Empty(t, other)
	require.Equal(t, 0, <-b)
}

// Streams arrive event by event, and a server that stops ends them.
func TestStreams(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	events := make(chan string)
	h := httpx.Handle(func(w http.ResponseWriter, r *http.Request) error {
		return httpx.SendAll(w, r, events, func(s string) string { return "name" })
	})
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- httpx.Serve(ctx, l, h, 2*time.Second) }()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+l.Addr().String(), nil)
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, "text/event-stream", resp.Header.Get("Content-Type"))
	lines := bufio.NewScanner(resp.Body)
	for _, e := range []string{"one", "two"} {
		events <- e
		require.True(t, lines.Scan())
		require.Equal(t, "event: name", lines.Text())
		require.True(t, lines.Scan())
		require.Equal(t, `data: "`+e+`"`, lines.Text())
		require.True(t, lines.Scan())
	}
	stop()
	_, err = io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, <-served)
}
