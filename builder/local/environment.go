package local

import (
	"os"
	"path/filepath"
	"strings"
)

// passed are the settings of this process that package managers and compilers see: how to reach
// registries, and which. Everything else stays here, above all what the platform is configured with.
var passed = map[string]bool{
	"PATH": true, "HTTP_PROXY": true, "HTTPS_PROXY": true, "NO_PROXY": true, "ALL_PROXY": true,
	"SSL_CERT_FILE": true, "SSL_CERT_DIR": true, "REQUESTS_CA_BUNDLE": true, "CURL_CA_BUNDLE": true, "NODE_EXTRA_CA_CERTS": true,
	"PIP_CERT": true, "PIP_INDEX_URL": true, "PIP_EXTRA_INDEX_URL": true, "PIP_TRUSTED_HOST": true, "PIP_FIND_LINKS": true, "PIP_DEFAULT_TIMEOUT": true,
	"UV_INDEX_URL": true, "UV_EXTRA_INDEX_URL": true, "UV_DEFAULT_INDEX": true, "UV_INDEX": true, "UV_FIND_LINKS": true, "UV_NO_INDEX": true,
	"UV_INDEX_STRATEGY": true, "UV_INSECURE_HOST": true, "UV_NATIVE_TLS": true, "UV_SYSTEM_CERTS": true, "UV_HTTP_TIMEOUT": true, "UV_OFFLINE": true,
	"UV_CONCURRENT_DOWNLOADS": true, "UV_CONCURRENT_BUILDS": true, "UV_CONCURRENT_INSTALLS": true, "UV_EXCLUDE_NEWER": true,
	"NPM_CONFIG_REGISTRY": true, "NPM_CONFIG_PROXY": true, "NPM_CONFIG_HTTPS_PROXY": true, "NPM_CONFIG_NOPROXY": true, "NPM_CONFIG_CAFILE": true,
	"NPM_CONFIG_CA": true, "NPM_CONFIG_STRICT_SSL": true, "NPM_CONFIG_FETCH_TIMEOUT": true, "NPM_CONFIG_FETCH_RETRIES": true, "NPM_CONFIG_OFFLINE": true,
	"NPM_CONFIG_PREFER_OFFLINE": true, "NPM_CONFIG_NODEDIR": true, "NPM_CONFIG_IGNORE_SCRIPTS": true,
	"GOPROXY": true, "GOSUMDB": true, "GONOSUMDB": true, "GOPRIVATE": true, "GONOPROXY": true, "GOINSECURE": true, "GOTOOLCHAIN": true,
}

// passes tells whether a variable is handed on. Credentials of an index or a scope are, since the
// index is of no use without them; those to publish are not.
func passes(name string) bool {
	upper := strings.ToUpper(name)
	switch {
	case passed[upper]:
		return true
	case strings.HasPrefix(upper, "UV_INDEX_"):
		return strings.HasSuffix(upper, "_USERNAME") || strings.HasSuffix(upper, "_PASSWORD")
	}
	return false
}

// environment is what package managers and compilers see: a home and a folder for temporary files
// of their own, and the user's proxy, mirror, index and certificate settings.
func (j *job) environment(extra ...string) []string {
	env := []string{"HOME=" + j.cache, "TMPDIR=" + filepath.Join(j.work, "tmp"), "LANG=C.UTF-8", "LC_ALL=C.UTF-8", "PYTHONDONTWRITEBYTECODE=1", "CI=1", "NO_COLOR=1"}
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); passes(name) {
			env = append(env, kv)
		}
	}
	return append(env, extra...)
}

// reachable is an interpreter that an unprivileged user may run: where we are root and the found
// one lies in a folder of root's own, the system's is taken.
func reachable(path string) string {
	if os.Geteuid() != 0 || open(path) {
		return path
	}
	for _, p := range []string{"/usr/bin/python3", "/usr/local/bin/python3"} {
		if real, err := filepath.EvalSymlinks(p); err == nil {
			return real
		}
	}
	return path
}

// open tells whether every user may walk down to path.
func open(path string) bool {
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err == nil && info.Mode().Perm()&0o001 == 0 {
			return false
		}
		if dir == filepath.Dir(dir) {
			return true
		}
	}
}
