package miniotest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// module is the folder of the module that pins MinIO.
func module() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "minio")
}

// Program is the path of the MinIO of this version of the project. It is built once for each user of a
// machine, from its Go module into the user's cache folder, which takes minutes; say is called before.
func Program(ctx context.Context, say func(string)) (string, error) {
	sum := sha256.New()
	for _, name := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join(module(), name))
		if err != nil {
			return "", err
		}
		sum.Write(text)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "pelton", "minio")
	program := filepath.Join(dir, hex.EncodeToString(sum.Sum(nil))[:16])
	if _, err := os.Stat(program); !errors.Is(err, fs.ErrNotExist) {
		return program, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	lock, err := os.Create(filepath.Join(dir, "lock")) // several packages test at the same time
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	if _, err := os.Stat(program); err == nil {
		return program, nil
	}
	began := time.Now()
	say("building MinIO for the tests, once on this machine: this takes some minutes")
	part := program + ".part"
	defer os.Remove(part)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", part, "github.com/minio/minio")
	cmd.Dir = module()
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=-mod=readonly")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build MinIO: %w\n%s", err, out)
	}
	say("built MinIO in " + time.Since(began).Round(time.Second).String())
	return program, os.Rename(part, program)
}
