// Command uitest starts a platform of its own with the hello example and runs the browser tests
// of the web page against it. Screenshots land in build/screenshots.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"

	"github.com/pelton-run/pelton/platform/e2e/harness"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "uitest:", err)
		os.Exit(1)
	}
}

func run() error {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	p, err := harness.Start(ctx, harness.Options{})
	if err != nil {
		return err
	}
	defer func() { _ = p.Stop(); os.RemoveAll(p.Home) }()
	work := filepath.Join(p.Home, "workspace")
	if err := os.CopyFS(work, os.DirFS(filepath.Join(harness.Root(), "functions", "examples", "hello"))); err != nil {
		return err
	}
	if err := p.AddFolder(ctx, "hello", work); err != nil {
		return err
	}
	if err := p.WaitLive(ctx, "hello"); err != nil {
		return err
	}
	password := regexp.MustCompile(`password ([^\s]+)`).FindStringSubmatch(p.LogTail(1000))
	if password == nil {
		return errors.New("the platform did not tell the first password")
	}
	cmd := exec.CommandContext(ctx, "npm", "run", "--silent", "e2e")
	cmd.Dir = filepath.Join(harness.Root(), "platform", "webui")
	cmd.Env = append(os.Environ(), "PELTON_E2E_URL="+p.URL, "PELTON_E2E_PASSWORD="+password[1],
		"PELTON_SCREENSHOTS="+filepath.Join(harness.Root(), "build", "screenshots"))
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%w\n%s", err, p.LogTail(30))
	}
	return nil
}
