package builder

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	builderv1 "github.com/pelton-run/pelton/builder/contracts/builder/v1"
	repositoryv1 "github.com/pelton-run/pelton/builder/internal/infra/contracts/repository/v1"
	"github.com/pelton-run/pelton/eventing/bus"
	"github.com/pelton-run/pelton/eventing/membus"
	"github.com/pelton-run/pelton/functions/formats/action"
	"github.com/pelton-run/pelton/platform/kit/id"
	"github.com/pelton-run/pelton/platform/kit/outbox"
)

// bench is a service on a bus of its own, and what it told.
type bench struct {
	t    *testing.T
	svc  *Service
	bus  *membus.Bus
	told chan bus.Message
	dir  string
}

func newBench(t *testing.T) *bench {
	t.Helper()
	dir, err := os.MkdirTemp("", "pelton-builder-") //nolint:usetesting // reachable for the users that build
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	b := &bench{t: t, bus: membus.New(t.TempDir(), slog.New(slog.DiscardHandler)), told: make(chan bus.Message, 1000), dir: dir}
	b.svc, err = New(Config{Home: dir, FilesDir: filepath.Join(dir, "files")}, Deps{Publisher: b.bus, Subscriber: b.bus, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	require.NoError(t, b.bus.Subscribe(t.Context(), bus.Queue{Name: "test", Exchange: "builder.v1", Keys: []string{"BuildStarted", "BuildLogged", "BuildSucceeded", "BuildFailed"}},
		func(_ context.Context, m bus.Message) error { b.told <- m; return nil }))
	require.NoError(t, b.svc.Subscribe(ctx))
	return b
}

func (b *bench) publish(m proto.Message) <-chan error {
	b.t.Helper()
	msg, err := outbox.NewMessage("repository.v1", m, time.Now())
	require.NoError(b.t, err)
	done := make(chan error, 1)
	b.bus.Publish(msg, func(err error) { done <- err })
	return done
}

// order puts an action's source into the filestore and makes an order of it.
func (b *bench) order(files map[string]string) *repositoryv1.BuildOrdered {
	b.t.Helper()
	src := b.t.TempDir()
	var tarred bytes.Buffer
	w := tar.NewWriter(&tarred)
	for name, text := range files {
		require.NoError(b.t, os.WriteFile(filepath.Join(src, name), []byte(text), 0o644))
		require.NoError(b.t, w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))}))
		_, err := w.Write([]byte(text))
		require.NoError(b.t, err)
	}
	require.NoError(b.t, w.Close())
	a, problems := action.Load(os.DirFS(src), ".", "sample")
	require.False(b.t, problems.Errors(), "%v", problems)
	digest, err := action.Digest(os.DirFS(src), ".")
	require.NoError(b.t, err)
	sum := sha256.Sum256(tarred.Bytes())
	name := hex.EncodeToString(sum[:])
	path := filepath.Join(b.dir, "files", "default", "source", name[:2], name[2:])
	require.NoError(b.t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(b.t, os.WriteFile(path, tarred.Bytes(), 0o600))
	return &repositoryv1.BuildOrdered{OrderId: id.New(), Project: "default", Build: digest, ActionJson: a.JSON(), SourceDigest: "sha256:" + name, Path: "actions/sample", Repository: "repo"}
}

// next waits for a message of a key.
func (b *bench) next(key string, into proto.Message) {
	b.t.Helper()
	for {
		select {
		case m := <-b.told:
			if m.Key == key {
				require.NoError(b.t, proto.Unmarshal(m.Body, into))
				return
			}
			require.NotContains(b.t, []string{"BuildSucceeded", "BuildFailed"}, m.Key, "%s", m.Body)
		case <-b.t.Context().Done():
			b.t.Fatal("no " + key)
		}
	}
}

const meta = "apiVersion: pelton.dev/v1\nkind: Processor\nspec:\n  runtime: python3\n  inputs: []\n  outputs: []\n"

func TestOrders(t *testing.T) {
	b := newBench(t)
	o := b.order(map[string]string{"action.yaml": meta, "handler.py": "def handle(inputs):\n    return {}\n"})
	require.NoError(t, <-b.publish(o), "an order is confirmed once it has ended")
	var started builderv1.BuildStarted
	b.next("BuildStarted", &started)
	require.Equal(t, o.OrderId, started.OrderId)
	var made builderv1.BuildSucceeded
	b.next("BuildSucceeded", &made)
	require.False(t, made.Cached)
	require.FileExists(t, filepath.Join(strings.TrimPrefix(made.Artifact, "file://"), "bundle.json"))

	o.OrderId = id.New()
	require.NoError(t, <-b.publish(o))
	b.next("BuildSucceeded", &made)
	require.True(t, made.Cached)

	o.OrderId, o.Force = id.New(), true
	require.NoError(t, <-b.publish(o))
	b.next("BuildSucceeded", &made)
	require.False(t, made.Cached, "a forced one is made again")

	require.NoError(t, <-b.publish(&repositoryv1.BuildDropped{Project: "default", Build: o.Build, AtUnixMs: time.Now().Add(time.Minute).UnixMilli()}))
	require.NoDirExists(t, strings.TrimPrefix(made.Artifact, "file://"))
	left, err := os.ReadDir(filepath.Join(b.dir, "cache", "src"))
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestFailures(t *testing.T) {
	b := newBench(t)
	var f builderv1.BuildFailed
	require.NoError(t, <-b.publish(b.order(map[string]string{"action.yaml": meta, "handler.py": "def handle(inputs):\n    return {\n"})))
	b.next("BuildFailed", &f)
	require.Equal(t, "compile", f.Kind)
	require.Equal(t, "handler.py", f.File)
	require.EqualValues(t, 2, f.Line)
	require.True(t, strings.HasPrefix(f.Message, "actions/sample/handler.py:2: "), f.Message)

	o := b.order(map[string]string{"action.yaml": meta, "handler.py": "def handle(inputs):\n    return {}\n"})
	o.SourceDigest = "sha256:" + strings.Repeat("0", 64)
	require.NoError(t, <-b.publish(o))
	b.next("BuildFailed", &f)
	require.Equal(t, "internal", f.Kind)
	o.SourceDigest = "../../../etc/passwd"
	require.NoError(t, <-b.publish(o))
	b.next("BuildFailed", &f)
	require.Contains(t, f.Message, "no digest")
}

// slow is an action whose dependency says that it is being built, and does not come to an end.
func (b *bench) slow() (*repositoryv1.BuildOrdered, string) {
	said := filepath.Join(b.dir, "said-"+id.New())
	require.NoError(b.t, os.WriteFile(said, nil, 0o666))
	require.NoError(b.t, os.Chmod(said, 0o666))
	// A program of that name before all others stands for a package manager that hangs.
	uv := filepath.Join(b.dir, "path", "uv")
	require.NoError(b.t, os.MkdirAll(filepath.Dir(uv), 0o755))
	require.NoError(b.t, os.WriteFile(uv, []byte("#!/bin/sh\necho begun\nsetsid sleep 1000 &\necho $$ $! > "+said+"\nexec sleep 1000\n"), 0o755))
	b.t.Setenv("PATH", filepath.Dir(uv)+":"+os.Getenv("PATH"))
	return b.order(map[string]string{"action.yaml": meta, "handler.py": "def handle(inputs):\n    return {}\n", "requirements.txt": "x==1\n"}), said
}

func TestCancelUnderWay(t *testing.T) {
	b := newBench(t)
	o, said := b.slow()
	done := b.publish(o)
	var logged builderv1.BuildLogged
	b.next("BuildLogged", &logged)
	require.Equal(t, []string{"begun"}, logged.Lines)
	require.NoError(t, <-b.publish(&repositoryv1.BuildCancelled{OrderId: o.OrderId, Project: "default"}))
	require.NoError(t, <-done)
	var f builderv1.BuildFailed
	b.next("BuildFailed", &f)
	require.Equal(t, "cancelled", f.Kind)
	pids, err := os.ReadFile(said)
	require.NoError(t, err)
	for _, pid := range strings.Fields(string(pids)) {
		stat, err := os.ReadFile("/proc/" + pid + "/stat")
		require.True(t, err != nil || strings.Contains(string(stat), ") Z "), "process %s lives: %s", pid, stat)
	}
}

func TestCancelBefore(t *testing.T) {
	b := newBench(t)
	o := b.order(map[string]string{"action.yaml": meta, "handler.py": "def handle(inputs):\n    return {}\n"})
	require.NoError(t, <-b.publish(&repositoryv1.BuildCancelled{OrderId: o.OrderId, Project: "default"}))
	require.NoError(t, <-b.publish(o))
	var f builderv1.BuildFailed
	b.next("BuildFailed", &f)
	require.Equal(t, "cancelled", f.Kind)
	require.NoDirExists(t, filepath.Join(b.dir, "bundles"))
}

// TestStop: an order that a stop interrupts is told nothing of: it is built after the next start.
func TestStop(t *testing.T) {
	b := newBench(t)
	o, _ := b.slow()
	msg, err := outbox.NewMessage("repository.v1", o, time.Now())
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.svc.ordered(ctx, msg) }()
	var logged builderv1.BuildLogged
	b.next("BuildLogged", &logged)
	stop()
	require.ErrorIs(t, <-ended, context.Canceled)
	for {
		select {
		case m := <-b.told:
			require.NotContains(t, []string{"BuildSucceeded", "BuildFailed"}, m.Key)
			continue
		default:
		}
		break
	}
}
