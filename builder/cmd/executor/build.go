//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/GoogleContainerTools/kaniko/pkg/config"
	"github.com/GoogleContainerTools/kaniko/pkg/constants"
	"github.com/GoogleContainerTools/kaniko/pkg/executor"
	"github.com/GoogleContainerTools/kaniko/pkg/image"
	"github.com/GoogleContainerTools/kaniko/pkg/util"
	"github.com/sirupsen/logrus"

	"github.com/pelton-run/pelton/builder/internal/infra/kaniko/spec"
)

// ended leaves the result where the builder reads it, and is the exit code. 1 is an end that a
// second try would not change.
func ended(r spec.Result, err error) int {
	if err != nil && r.Error == nil {
		r.Error = &spec.Failure{Kind: "internal", Message: err.Error()}
	}
	if r.Error != nil {
		fmt.Fprintln(os.Stderr, "#", r.Error.Message)
	}
	if err := spec.Report(r); err != nil {
		fmt.Fprintln(os.Stderr, "executor: the result cannot be left:", err)
		return 2
	}
	if r.Error != nil {
		return 1
	}
	return 0
}

func build(ctx context.Context, env func(string) (string, bool)) (r spec.Result, err error) {
	var b spec.Build
	text, _ := env(spec.BuildVariable)
	if err := spec.Decode(text, &b); err != nil {
		return r, fmt.Errorf("%s: %w", spec.BuildVariable, err)
	}
	r.Phases = map[string]int64{}
	phase := func(name string, f func() error) error {
		start := time.Now()
		err := f()
		r.Phases[name] += time.Since(start).Milliseconds()
		return err
	}
	if err := phase("fetch", func() error { return prepare(ctx, b) }); err != nil {
		return r, err
	}
	// From here on kaniko takes this container's whole file system for the image's.
	err = phase("kaniko", func() error { return kaniko(b) })
	r.Error = problem(err)
	return r, err
}

// kaniko builds the image into a tar.
func kaniko(b spec.Build) error {
	if b.Base != "" {
		image.RetrieveRemoteImage = there(spec.Base, b.Base, image.RetrieveRemoteImage)
	}
	logrus.SetFormatter(plain{})
	logrus.SetOutput(os.Stdout)
	logrus.SetLevel(logrus.InfoLevel)
	opts := &config.KanikoOptions{
		DockerfilePath: config.DockerfilePath, SrcContext: spec.Context, SnapshotMode: constants.SnapshotModeFull, SingleSnapshot: b.Single,
		CustomPlatform: "linux/" + runtime.GOARCH, NoPush: true, TarPath: spec.Image, KanikoDir: config.KanikoDir,
		Compression: config.GZip, CompressionLevel: 1, CompressedCaching: false, IgnoreVarRun: true, SkipUnusedStages: true,
		ImageFSExtractRetry: 2, RegistryOptions: config.RegistryOptions{ImageDownloadRetry: 2},
	}
	if b.Single { // our own lines leave no file changed but its time and size the same
		opts.SnapshotMode = constants.SnapshotModeRedo
	}
	// Names and links do not matter to anybody in the tar; it wants one.
	if err := opts.Destinations.Set("build/out:latest"); err != nil {
		return err
	}
	for _, host := range b.Insecure {
		if err := opts.InsecureRegistries.Set(host); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(b.Args)) {
		if err := opts.BuildArgs.Set(name + "=" + b.Args[name]); err != nil {
			return err
		}
	}
	util.AddToDefaultIgnoreList(util.IgnoreListEntry{Path: "/var/run"})
	util.AddToDefaultIgnoreList(util.IgnoreListEntry{Path: spec.Out})
	if err := util.InitIgnoreList(); err != nil {
		return err
	}
	// This image's own files are nobody's business, and in nobody's image.
	if err := util.DeleteFilesystem(); err != nil {
		return err
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	img, err := executor.DoBuild(opts)
	if err != nil {
		return err
	}
	if err := executor.DoPush(img, opts); err != nil {
		return fmt.Errorf("write the image: %w", err)
	}
	return os.Chmod(spec.Image, 0o644)
}

// plain writes kaniko's lines without colours and times, which the build's log has of its own, and
// without what only its authors ask for.
type plain struct{}

var worth = regexp.MustCompile(`^(RUN|COPY|ADD|FROM|Building stage|Retrieving image [^m]|Unpacking|Taking snapshot|Saving)`)

func (plain) Format(e *logrus.Entry) ([]byte, error) {
	text := strings.TrimRight(e.Message, "\n")
	if e.Level >= logrus.InfoLevel && !worth.MatchString(text) {
		return nil, nil
	}
	if e.Level < logrus.InfoLevel {
		text = e.Level.String() + ": " + text
	}
	return []byte("# " + text + "\n"), nil
}

var (
	exitStatus = regexp.MustCompile(`exit status (\d+)|signal: (\w+)`)
	unpullable = regexp.MustCompile(`(?i)(UNAUTHORIZED|MANIFEST_UNKNOWN|NAME_UNKNOWN|DENIED|no such host|connection refused|i/o timeout|x509|HTTP response to HTTPS client)`)
)

// problem puts what kaniko says into words.
func problem(err error) *spec.Failure {
	if err == nil {
		return nil
	}
	text := err.Error()
	var failed *os.PathError
	switch {
	case strings.Contains(text, "no space left on device"):
		return &spec.Failure{Kind: "limit", Setting: "builder.limits.disk", Message: "the build filled its disk: install less, or raise builder.limits.disk"}
	case strings.Contains(text, "waiting for process to exit"):
		how := exitStatus.FindString(text)
		if strings.Contains(how, "signal: killed") || strings.Contains(how, "status 137") {
			return &spec.Failure{Kind: "limit", Setting: "builder.limits.memory", Message: "a command of the build was killed, most likely for its memory: install less, or raise builder.limits.memory"}
		}
		return &spec.Failure{Kind: "run", Message: "a command of the build failed (" + how + ")"}
	case unpullable.MatchString(text):
		return &spec.Failure{Kind: "network", Message: "an image that the build starts from cannot be fetched: " + text}
	case strings.Contains(text, "dockerfile parse error"), strings.Contains(text, "unknown instruction"):
		return &spec.Failure{Kind: "compile", Message: "Dockerfile: " + text}
	case errors.As(err, &failed) && strings.HasPrefix(failed.Path, spec.Context):
		rel, _ := filepath.Rel(spec.Context, failed.Path)
		return &spec.Failure{Kind: "compile", Message: "the build needs " + rel + ", which is not in the action's folder"}
	}
	return &spec.Failure{Kind: "internal", Message: text}
}
