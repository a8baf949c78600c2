package process_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/runner/internal/app/apptest"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/dirfiles"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/process"
)

func TestExecutor(t *testing.T) {
	program := filepath.Join(t.TempDir(), "wrapper")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "github.com/pelton-run/pelton/wrapper/cmd/wrapper").CombinedOutput()
	require.NoError(t, err, string(out))
	apptest.Executors(t, func(t *testing.T) apptest.Compute {
		home, err := os.MkdirTemp("", "process-") //nolint:usetesting // short: sockets lie in it
		require.NoError(t, err)
		t.Cleanup(func() { _ = os.RemoveAll(home) })
		sockets := filepath.Join(home, "s")
		require.NoError(t, os.Mkdir(sockets, 0o700))
		dir := func(name string) string { return filepath.Join(home, name) }
		files := dirfiles.Store{Dir: dir("files")}
		r, err := process.Open(process.Config{Wrapper: program, SocketDir: sockets, RunDir: dir("run"), StateDir: dir("x"), LogDir: dir("log"), Files: files, FilesDir: files.Dir,
			KeyDir: dir("keys"), Cap: 2, Log: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		t.Cleanup(r.Close)
		return apptest.Compute{Deployer: r, Executor: r, Cap: 2,
			Build: func(t *testing.T, handler string) domain.Build {
				sum := sha256.Sum256([]byte(handler))
				digest := hex.EncodeToString(sum[:])
				apptest.WriteBundle(t, dir(digest), "sha256:"+digest, handler, 2)
				return domain.Build{Digest: "sha256:" + digest, Artifact: "file://" + dir(digest), Action: "test@1.0", Kind: "Processor", Runtime: "python3"}
			},
			Kill: func(string) {
				entries, err := filepath.Glob(filepath.Join(dir("run"), "*.json"))
				require.NoError(t, err)
				require.Len(t, entries, 1)
				text, err := os.ReadFile(entries[0])
				require.NoError(t, err)
				var rec struct{ PID int }
				require.NoError(t, json.Unmarshal(text, &rec))
				require.NoError(t, syscall.Kill(rec.PID, syscall.SIGKILL))
			},
		}
	})
}
