package blob

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	pb "github.com/pelton-run/pelton/wrapper/wrapperpb"
)

// Ask asks the runner. An answer that says no is an error.
type Ask func(ctx context.Context, q *pb.FileAsk) (*pb.FileGrant, error)

// remote is a store elsewhere. What is read and put is checked by its digest at both ends.
type remote struct {
	ctx context.Context //nolint:containedctx // of the execution that has the store
	ask Ask
	tmp string

	pause time.Duration // half the one before the second attempt; it doubles
}

// OpenRemote makes a Store that is elsewhere; everything ends with ctx. Below tmp lies what has to be
// complete before it can be put.
func OpenRemote(ctx context.Context, ask Ask, tmp string) *Store {
	return &Store{remote: &remote{ctx: ctx, ask: ask, tmp: tmp, pause: 25 * time.Millisecond}}
}

// Remote tells whether the store is elsewhere.
func (s *Store) Remote() bool { return s != nil && s.remote != nil }

const (
	attempts = 8  // of each transfer: for some seconds
	urls     = 16 // asked for at a time
)

// client goes straight to the store: proxies of the environment are for user code.
var client = &http.Client{
	Transport: &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: 2 * time.Minute, MaxIdleConnsPerHost: 8, IdleConnTimeout: 30 * time.Second,
		DisableCompression: true, WriteBufferSize: 64 << 10, ReadBufferSize: 64 << 10,
	},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// DownError tells that the store cannot be used now.
type DownError struct{ Reason string }

func (e *DownError) Error() string { return e.Reason }

// statusError is an answer of the store that will be the same again.
type statusError struct {
	status int
	text   string
}

func (e *statusError) Error() string {
	return fmt.Sprintf("the filestore answers %d: %s", e.status, e.text)
}

// do sends a request. The error holds no URL: that is a key.
func (r *remote) do(method string, u *pb.FileURL, body io.Reader, size int64, head http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(r.ctx, method, u.GetUrl(), body)
	if err != nil {
		return nil, errors.New("the filestore's URL cannot be read")
	}
	if body != nil {
		if req.ContentLength = size; size == 0 {
			req.Body = http.NoBody
		}
	}
	for k, v := range u.GetHeaders() {
		req.Header.Set(k, v)
	}
	for k, v := range head {
		req.Header[k] = v
	}
	resp, err := client.Do(req)
	if r.ctx.Err() != nil {
		if err == nil {
			resp.Body.Close()
		}
		return nil, r.ctx.Err()
	}
	if u := (*url.Error)(nil); errors.As(err, &u) {
		err = u.Err
	}
	if err != nil {
		return nil, &DownError{"the filestore cannot be reached: " + err.Error()}
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
		resp.Body.Close()
		if resp.StatusCode >= http.StatusInternalServerError {
			return nil, &DownError{fmt.Sprintf("the filestore answers %d: %s", resp.StatusCode, text)}
		}
		return nil, &statusError{resp.StatusCode, string(text)}
	}
	return resp, nil
}

// again tells, after a pause, whether a transfer that failed is worth another attempt.
func (r *remote) again(n int, err error) bool {
	var answer *statusError
	if r.ctx.Err() != nil || n >= attempts || errors.As(err, &answer) {
		return false
	}
	t := time.NewTimer(r.pause << n)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-r.ctx.Done():
		return false
	}
}

// open opens a blob; a connection that breaks is mended under the reader.
func (r *remote) open(digest string) (io.ReadCloser, int64, error) {
	g, err := r.ask(r.ctx, &pb.FileAsk{What: &pb.FileAsk_Fetch{Fetch: digest}})
	if err != nil {
		return nil, 0, err
	}
	if g.GetMissing() || len(g.GetUrls()) != 1 {
		return nil, 0, os.ErrNotExist
	}
	d := &download{r: r, url: g.GetUrls()[0], size: g.GetSize()}
	if err := d.connect(); err != nil {
		return nil, 0, err
	}
	return d, d.size, nil
}

// download is a blob under way.
type download struct {
	r      *remote
	url    *pb.FileURL
	at     int64
	size   int64
	failed int // since the last byte
	body   io.ReadCloser
}

func (d *download) connect() error {
	for {
		var head http.Header
		if d.at > 0 {
			head = http.Header{"Range": {fmt.Sprintf("bytes=%d-", d.at)}}
		}
		resp, err := d.r.do(http.MethodGet, d.url, nil, 0, head)
		if err == nil && d.at > 0 && resp.StatusCode != http.StatusPartialContent {
			resp.Body.Close()
			return errors.New("the filestore does not go on with a file where it broke off")
		}
		if err == nil {
			d.body = resp.Body
			return nil
		}
		if answer := (*statusError)(nil); errors.As(err, &answer) && answer.status == http.StatusNotFound {
			return os.ErrNotExist
		}
		if d.failed++; !d.r.again(d.failed, err) {
			return err
		}
	}
}

func (d *download) Read(p []byte) (int, error) {
	for {
		n, err := d.body.Read(p)
		if d.at += int64(n); n > 0 {
			d.failed = 0
			return n, nil
		}
		if errors.Is(err, io.EOF) && d.at >= d.size {
			return 0, io.EOF
		}
		if err == nil {
			continue
		}
		d.body.Close()
		if d.failed++; !d.r.again(d.failed, err) {
			if d.r.ctx.Err() != nil {
				return 0, d.r.ctx.Err()
			}
			return 0, &DownError{"the filestore broke off: " + err.Error()}
		}
		if err := d.connect(); err != nil {
			return 0, err
		}
	}
}

func (d *download) Close() error { return d.body.Close() }

// put puts what r holds. It is read twice: a stream is kept in a file meanwhile.
func (r *remote) put(in io.Reader) (digest string, size int64, err error) {
	file, ok := in.(io.ReadSeeker)
	if !ok {
		f, err := os.CreateTemp(r.tmp, "put-")
		if err != nil {
			return "", 0, err
		}
		defer f.Close()
		if err := os.Remove(f.Name()); err != nil { // it goes with us, however we end
			return "", 0, err
		}
		if _, err := io.CopyBuffer(f, in, make([]byte, 256<<10)); err != nil {
			return "", 0, err
		}
		file = f
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return "", 0, err
	}
	h := sha256.New()
	if size, err = io.CopyBuffer(h, file, make([]byte, 256<<10)); err != nil {
		return "", 0, err
	}
	digest = "sha256:" + hex.EncodeToString(h.Sum(nil))
	g, err := r.ask(r.ctx, &pb.FileAsk{What: &pb.FileAsk_Keep{Keep: &pb.FileKeep{Digest: digest}}})
	if err != nil || !g.GetMissing() {
		return digest, size, err
	}
	return digest, size, r.upload(file, digest, size, g.GetPieceSize())
}

func (r *remote) upload(file io.ReadSeeker, digest string, size, pieceSize int64) error {
	if pieceSize <= 0 {
		return errors.New("the runner tells no size of pieces")
	}
	var name [16]byte
	if _, err := rand.Read(name[:]); err != nil {
		return err
	}
	upload, pieces := hex.EncodeToString(name[:]), max(1, int((size+pieceSize-1)/pieceSize))
	for first := 0; first < pieces; first += urls {
		n := min(urls, pieces-first)
		sums, err := sumsOf(file, int64(first)*pieceSize, n, pieceSize)
		if err != nil {
			return err
		}
		g, err := r.ask(r.ctx, &pb.FileAsk{What: &pb.FileAsk_Pieces{Pieces: &pb.FilePieces{Upload: upload, First: int32(first), Sha256: sums}}}) //nolint:gosec // at most 10,000
		if err != nil {
			return err
		}
		if len(g.GetUrls()) != n {
			return errors.New("the runner gives other URLs than it was asked for")
		}
		for i, u := range g.GetUrls() {
			at := int64(first+i) * pieceSize
			if err := r.putPiece(file, at, min(pieceSize, size-at), u); err != nil {
				return err
			}
		}
	}
	_, err := r.ask(r.ctx, &pb.FileAsk{What: &pb.FileAsk_Finish{Finish: &pb.FileFinish{Upload: upload, Digest: digest, Pieces: int32(pieces)}}}) //nolint:gosec // at most 10,000
	return err
}

// sumsOf are the sums of n pieces from a place on.
func sumsOf(file io.ReadSeeker, at int64, n int, pieceSize int64) ([][]byte, error) {
	if _, err := file.Seek(at, io.SeekStart); err != nil {
		return nil, err
	}
	sums := make([][]byte, n)
	buf := make([]byte, 256<<10)
	for i := range sums {
		h := sha256.New()
		if _, err := io.CopyBuffer(h, io.LimitReader(file, pieceSize), buf); err != nil {
			return nil, err
		}
		sums[i] = h.Sum(nil)
	}
	return sums, nil
}

func (r *remote) putPiece(file io.ReadSeeker, at, size int64, u *pb.FileURL) error {
	for n := 1; ; n++ {
		if _, err := file.Seek(at, io.SeekStart); err != nil {
			return err
		}
		// The transport may go on reading after an early answer: what it has is cut off then.
		body := &cut{r: io.LimitReader(file, size)}
		resp, err := r.do(http.MethodPut, u, body, size, nil)
		body.close()
		if err == nil {
			return resp.Body.Close()
		}
		if answer := (*statusError)(nil); errors.As(err, &answer) && answer.status == http.StatusBadRequest {
			return fmt.Errorf("the file was changed while it was kept, or damaged on its way: %w", err)
		}
		if !r.again(n, err) {
			return err
		}
	}
}
