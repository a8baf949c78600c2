package s3files_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/s3"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/s3files"
)

const upload = "0123456789abcdef0123456789abcdef"

// request sends what an action could: it has the URL and makes the rest itself.
func request(t *testing.T, method string, u app.PieceURL, body []byte, more map[string]string) (int, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, u.URL, bytes.NewReader(body))
	require.NoError(t, err)
	for _, headers := range []map[string]string{u.Headers, more} {
		for k, v := range headers {
			req.Header.Set(k, v)
		}
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, text
}

func digest(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// put uploads pieces as a wrapper does.
func put(t *testing.T, s s3files.Store, pieces ...[]byte) {
	t.Helper()
	var sums []app.Sum
	for _, p := range pieces {
		sums = append(sums, sha256.Sum256(p))
	}
	urls, err := s.Pieces(t.Context(), "p", upload, 0, sums)
	require.NoError(t, err)
	for i, u := range urls {
		status, text := request(t, http.MethodPut, u, pieces[i], nil)
		require.Equal(t, http.StatusOK, status, "%s", text)
	}
}

func TestTransfers(t *testing.T) {
	s := open(t)
	first, last := bytes.Repeat([]byte("0123456789abcdef"), int(s.PieceSize()/16)), []byte("the rest")
	for name, pieces := range map[string][][]byte{"empty": {{}}, "one piece": {[]byte("hello")}, "two pieces": {first, last}} {
		t.Run(name, func(t *testing.T) {
			whole := bytes.Join(pieces, nil)
			put(t, s, pieces...)
			for range 2 { // the answer to the first may have been lost
				require.NoError(t, s.Finish(t.Context(), "p", upload, digest(whole), len(pieces)))
			}
			u, size, err := s.Fetch(t.Context(), "p", digest(whole))
			require.NoError(t, err)
			require.EqualValues(t, len(whole), size)
			status, got := request(t, http.MethodGet, app.PieceURL{URL: u}, nil, nil)
			require.Equal(t, http.StatusOK, status)
			require.True(t, bytes.Equal(whole, got))
			_, _, err = s.Fetch(t.Context(), "other", digest(whole))
			require.True(t, fault.Is(err, fault.NotFound), "%v", err)
		})
	}
	t.Run("pieces that are not what they should be", func(t *testing.T) {
		put(t, s, first, last)
		bad := s.Finish(t.Context(), "p", upload, digest([]byte("forged")), 2)
		require.ErrorContains(t, bad, "and not "+digest([]byte("forged")))
		there, err := s.Keep(t.Context(), "p", digest([]byte("forged")))
		require.NoError(t, err)
		require.False(t, there)
		put(t, s, last, first)
		require.ErrorContains(t, s.Finish(t.Context(), "p", upload, digest(append(last, first...)), 2), "piece 0 of the upload has 8 bytes instead of")
		require.ErrorContains(t, s.Finish(t.Context(), "p", strings.Repeat("f", 32), digest([]byte("never")), 1), "a piece of the upload is missing")
		require.ErrorContains(t, s.Finish(t.Context(), "p", "../../x", digest([]byte("never")), 1), "no name of an upload")
	})
}

// TestHostile: whoever has every URL that an action of a project is given reads nothing of another
// project and changes no blob.
func TestHostile(t *testing.T) {
	c := config(t)
	s, err := s3files.Open(t.Context(), c)
	require.NoError(t, err)
	secret, _, err := s.Put(t.Context(), "other", strings.NewReader("the secret of another project"))
	require.NoError(t, err)
	own, _, err := s.Put(t.Context(), "p", strings.NewReader("own"))
	require.NoError(t, err)
	sum := sha256.Sum256([]byte("mine"))
	urls, err := s.Pieces(t.Context(), "p", upload, 0, []app.Sum{sum})
	require.NoError(t, err)
	u := urls[0]
	source := "/" + c.Bucket + "/" + c.Prefix + "other/sha256/" + secret[7:9] + "/" + secret[9:]

	for name, attack := range map[string]func() (int, []byte){
		"other content": func() (int, []byte) { return request(t, http.MethodPut, u, []byte("evil"), nil) },
		"other checksum": func() (int, []byte) {
			return request(t, http.MethodPut, app.PieceURL{URL: u.URL}, []byte("evil"), map[string]string{"X-Amz-Checksum-Sha256": "AAAA"})
		},
		"no checksum": func() (int, []byte) {
			return request(t, http.MethodPut, app.PieceURL{URL: u.URL}, []byte("evil"), nil)
		},
		"a copy": func() (int, []byte) {
			return request(t, http.MethodPut, u, nil, map[string]string{"X-Amz-Copy-Source": source})
		},
		"an archive to be unpacked": func() (int, []byte) {
			return request(t, http.MethodPut, u, []byte("mine"), map[string]string{"X-Amz-Meta-Snowball-Auto-Extract": "true"})
		},
		"reading by it":  func() (int, []byte) { return request(t, http.MethodGet, u, nil, nil) },
		"removing by it": func() (int, []byte) { return request(t, http.MethodDelete, u, nil, nil) },
		"another key": func() (int, []byte) {
			parsed, err := url.Parse(u.URL)
			require.NoError(t, err)
			parsed.Path = "/" + c.Bucket + "/" + c.Prefix + "p/sha256/" + own[7:9] + "/" + own[9:]
			return request(t, http.MethodPut, app.PieceURL{URL: parsed.String(), Headers: u.Headers}, []byte("mine"), nil)
		},
		"a part of a copy": func() (int, []byte) {
			return request(t, http.MethodPut, app.PieceURL{URL: u.URL + "&partNumber=1&uploadId=x", Headers: u.Headers}, nil, map[string]string{"X-Amz-Copy-Source": source})
		},
	} {
		status, text := attack()
		require.GreaterOrEqual(t, status, 400, "%s: %s", name, text)
		require.NotContains(t, string(text), "secret of", name)
	}
	// A blob's URL for reading is good for nothing else, nor for another blob.
	get, _, err := s.Fetch(t.Context(), "p", own)
	require.NoError(t, err)
	for _, method := range []string{http.MethodPut, http.MethodDelete, http.MethodPost} {
		status, _ := request(t, method, app.PieceURL{URL: get}, []byte("evil"), nil)
		require.GreaterOrEqual(t, status, 400, method)
	}
	status, _ := request(t, http.MethodGet, app.PieceURL{URL: strings.Replace(get, "p/sha256/"+own[7:9]+"/"+own[9:], "other/sha256/"+secret[7:9]+"/"+secret[9:], 1)}, nil, nil)
	require.GreaterOrEqual(t, status, 400)

	// A piece that is already there is what its sum says, whatever else was tried.
	require.Error(t, s.Finish(t.Context(), "p", upload, secret, 1))
	status, _ = request(t, http.MethodPut, u, []byte("mine"), nil)
	require.Equal(t, http.StatusOK, status)
	require.Error(t, s.Finish(t.Context(), "p", upload, secret, 1))
	require.NoError(t, s.Finish(t.Context(), "p", upload, digest([]byte("mine")), 1))
	r, _, err := s.Open(t.Context(), "p", own)
	require.NoError(t, err)
	defer r.Close()
	text, err := io.ReadAll(r)
	require.NoError(t, err)
	require.Equal(t, "own", string(text))
}

// TestWords: what is wrong with the settings or the store is told so that one can mend it.
func TestWords(t *testing.T) {
	good := config(t)
	for says, change := range map[string]func(*s3.Config){
		`has no bucket "no-such-bucket": create it`: func(c *s3.Config) { c.Bucket = "no-such-bucket" },
		"cannot be reached":                         func(c *s3.Config) { c.Endpoint = "127.0.0.1:1" },
		"s3.credentials: cannot be read":            func(c *s3.Config) { c.Credentials = "/nowhere" },
		"does not know the access key":              func(c *s3.Config) { c.Credentials = credentials(t, "nobody", "not the secret") },
	} {
		c := good
		change(&c)
		_, err := s3files.Open(t.Context(), c)
		require.ErrorContains(t, err, says)
		require.NotContains(t, err.Error(), "not the secret")
	}
}
