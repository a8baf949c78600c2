package pgserver

import (
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	embedded "github.com/fergusstrange/embedded-postgres"

	"github.com/pelton-run/pelton/platform/kit/fault"
)

// binaries finds a folder with postgres and initdb, newest version first, or fetches one.
func binaries(cache string, log *slog.Logger) (string, error) {
	var candidates []string
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin", "/opt/homebrew/opt/postgresql@*/bin", "/usr/local/opt/postgresql@*/bin", "/usr/pgsql-*/bin"} {
		found, _ := filepath.Glob(pattern)
		candidates = append(candidates, found...)
	}
	sort.Slice(candidates, func(i, j int) bool { return version(candidates[i]) > version(candidates[j]) })
	if p, err := exec.LookPath("postgres"); err == nil {
		if p, err = filepath.EvalSymlinks(p); err == nil {
			candidates = append([]string{filepath.Dir(p)}, candidates...)
		}
	}
	candidates = append(candidates, filepath.Join(cache, "bin"))
	for _, dir := range candidates {
		if executable(filepath.Join(dir, "postgres")) && executable(filepath.Join(dir, "initdb")) && version(dir) >= 13 {
			return dir, nil
		}
	}
	log.Info("PostgreSQL is not on this machine: fetching it once", "into", cache)
	return fetch(cache)
}

// version is the major version that a folder's name tells, 99 when it tells none.
func version(dir string) int {
	for _, part := range strings.FieldsFunc(dir, func(r rune) bool { return r == '/' || r == '@' || r == '-' }) {
		if n, err := strconv.Atoi(part); err == nil && n >= 8 && n < 90 {
			return n
		}
	}
	return 99
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode()&0o111 != 0
}

// fetch has the library download and unpack the binaries; its own start is used once, in a
// folder that is thrown away, since it does not offer the unpacking alone.
func fetch(cache string) (string, error) {
	if os.Geteuid() == 0 {
		return "", fault.New(fault.Unavailable, "PostgreSQL is missing: install it with `apt-get install -y postgresql` (as root it cannot be fetched into the home)")
	}
	tmp, err := os.MkdirTemp("", "pelton-pg-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	db := embedded.NewDatabase(embedded.DefaultConfig().BinariesPath(cache).CachePath(filepath.Join(tmp, "cache")).
		RuntimePath(filepath.Join(tmp, "run")).DataPath(filepath.Join(tmp, "data")).Port(54329).Logger(io.Discard))
	if err := db.Start(); err != nil {
		return "", fault.Wrap(err, fault.Unavailable, "PostgreSQL is missing and could not be fetched: install it (Debian, Ubuntu: sudo apt-get install postgresql; macOS: brew install postgresql@16)")
	}
	if err := db.Stop(); err != nil {
		return "", err
	}
	return filepath.Join(cache, "bin"), nil
}
