package blob

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	pb "github.com/pelton-run/pelton/wrapper/wrapperpb"
)

// far is a runner and a store of small pieces, which can be made to fail.
type far struct {
	*httptest.Server

	mu     sync.Mutex
	blobs  map[string][]byte // by digest
	pieces map[string][]byte
	sums   map[string]string
	broken int // connections that are to be cut half way
	down   int // requests that are to be answered with 503
	spoilt bool
}

func newFar(t *testing.T) *far {
	t.Helper()
	f := &far{blobs: map[string][]byte{}, pieces: map[string][]byte{}, sums: map[string]string{}}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func (f *far) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down > 0 {
		f.down--
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	key := r.URL.Path[1:]
	if r.Method == http.MethodPut {
		if err != nil || digest(body) != f.sums[key] || r.Header.Get("X-Sum") != f.sums[key] {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		f.pieces[key] = body
		return
	}
	blob := f.blobs[key]
	from := 0
	if at, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes="); ok {
		from, _ = strconv.Atoi(strings.TrimSuffix(at, "-"))
		w.Header().Set("Content-Length", strconv.Itoa(len(blob)-from))
		w.WriteHeader(http.StatusPartialContent)
	} else {
		w.Header().Set("Content-Length", strconv.Itoa(len(blob)))
	}
	rest := blob[from:]
	if f.broken > 0 {
		f.broken--
		_, _ = w.Write(rest[:len(rest)/2])
		panic(http.ErrAbortHandler)
	}
	_, _ = w.Write(rest)
}

func (f *far) ask(_ context.Context, q *pb.FileAsk) (*pb.FileGrant, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch what := q.What.(type) {
	case *pb.FileAsk_Fetch:
		blob, ok := f.blobs[what.Fetch]
		return &pb.FileGrant{Missing: !ok, Size: int64(len(blob)), Urls: []*pb.FileURL{{Url: f.URL + "/" + what.Fetch}}}, nil
	case *pb.FileAsk_Keep:
		_, ok := f.blobs[what.Keep.Digest]
		return &pb.FileGrant{Missing: !ok, PieceSize: 1000}, nil
	case *pb.FileAsk_Pieces:
		g := &pb.FileGrant{}
		for i, sum := range what.Pieces.Sha256 {
			key := what.Pieces.Upload + "/" + strconv.Itoa(int(what.Pieces.First)+i)
			f.sums[key] = "sha256:" + hex.EncodeToString(sum)
			g.Urls = append(g.Urls, &pb.FileURL{Url: f.URL + "/" + key, Headers: map[string]string{"X-Sum": f.sums[key]}})
		}
		return g, nil
	case *pb.FileAsk_Finish:
		var whole []byte
		for i := range what.Finish.Pieces {
			whole = append(whole, f.pieces[what.Finish.Upload+"/"+strconv.Itoa(int(i))]...)
		}
		if digest(whole) != what.Finish.Digest {
			return nil, errors.New("another digest")
		}
		if f.spoilt {
			whole = append(whole[:0:0], "spoilt"...)
		}
		f.blobs[what.Finish.Digest] = whole
		return &pb.FileGrant{}, nil
	}
	return nil, errors.New("unknown")
}

func TestRemote(t *testing.T) {
	f := newFar(t)
	s := OpenRemote(t.Context(), f.ask, t.TempDir())
	s.remote.pause = time.Microsecond
	for _, size := range []int{0, 1, 1000, 1001, 20500} {
		content := bytes.Repeat([]byte("abcdefg"), size)[:size]
		f.down = 2
		d, n, err := s.Put(bytes.NewReader(content))
		require.NoError(t, err)
		require.Equal(t, digest(content), d)
		require.EqualValues(t, size, n)
		f.broken, f.down = 3, 1
		got, err := s.ReadAll(d, 1<<20)
		require.NoError(t, err)
		require.Equal(t, content, append([]byte{}, got...))
	}
	f.broken, f.down = 0, 0
	_, _, err := s.open("sha256:" + strings.Repeat("0", 64))
	require.ErrorIs(t, err, os.ErrNotExist)

	root, err := os.OpenRoot(t.TempDir())
	require.NoError(t, err)
	require.NoError(t, root.MkdirAll("d/e", 0o700))
	require.NoError(t, root.WriteFile("d/e/x", bytes.Repeat([]byte("x"), 5000), 0o600))
	ref, err := s.PutDir(root, "d")
	require.NoError(t, err)
	dest := filepath.Join(t.TempDir(), "d")
	require.NoError(t, s.FetchDir(ref.Dir, dest, -1, -1))
	text, err := os.ReadFile(filepath.Join(dest, "e", "x"))
	require.NoError(t, err)
	require.Len(t, text, 5000)
}

// TestRemoteFails: what is damaged, gone or changed meanwhile is told, and ends with the execution.
func TestRemoteFails(t *testing.T) {
	f := newFar(t)
	ctx, cancel := context.WithCancel(t.Context())
	s := OpenRemote(ctx, f.ask, t.TempDir())
	s.remote.pause = time.Microsecond
	f.spoilt = true
	d, _, err := s.Put(strings.NewReader("good"))
	require.NoError(t, err)
	_, err = s.ReadAll(d, 100)
	require.ErrorContains(t, err, "is damaged")
	require.ErrorContains(t, s.FetchFile(d, filepath.Join(t.TempDir(), "x"), -1, -1), "is damaged")

	_, _, err = s.Put(&changing{Reader: strings.NewReader("first")})
	require.ErrorContains(t, err, "changed while it was kept")

	f.down = 1000
	_, _, err = s.Put(strings.NewReader("nowhere"))
	require.ErrorContains(t, err, "the filestore answers 503")
	cancel()
	_, _, err = s.Put(strings.NewReader("late"))
	require.ErrorIs(t, err, context.Canceled)
}

// changing is a file that has another content from the third reading on.
type changing struct {
	*strings.Reader

	n int
}

func (c *changing) Seek(offset int64, whence int) (int64, error) {
	if c.n++; c.n == 3 {
		c.Reset("other")
	}
	return c.Reader.Seek(offset, whence)
}
