// Package apptest holds one exported suite per port of the runner, run by every adapter,
// and what those suites share.
package apptest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/kit/id"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
	"github.com/pelton-run/pelton/platform/runner/internal/domain/domaintest"
)

// clock is the real one: suites run against real servers.
func clock() time.Time { return time.Now() } //nolint:forbidigo // the suites' one reading of the clock

// Database is a store under test: what a restart of the runner finds again.
type Database struct {
	Store   app.Store
	Journal func(fence int64) app.Journal
}

// Runner is a running Service with what it runs on.
type Runner struct {
	*app.Service
	Exec     *Executor // nil when started with another one
	Deployer *Deployer
	Files    Files
	DB       Database
	Config   app.Config // of the starts to come
	exec     app.Executor
	peers    app.Peers
	t        testing.TB
	cancel   context.CancelFunc
	done     chan error
}

// Start runs a service on the database and waits until it is ready.
func Start(t testing.TB, db Database, exec *Executor) *Runner {
	t.Helper()
	r := newRunner(t, db, exec)
	r.Exec = exec
	return r
}

// StartWith is Start with any executor.
func StartWith(t testing.TB, db Database, exec app.Executor) *Runner {
	t.Helper()
	return newRunner(t, db, exec)
}

// StartReplica starts one of several services on a database and an executor.
func StartReplica(t testing.TB, db Database, exec *Executor, cfg app.Config, peers app.Peers) *Runner {
	t.Helper()
	r := &Runner{Exec: exec, exec: exec, Deployer: &Deployer{}, Files: Files{Dir: t.TempDir()}, DB: db, Config: cfg, peers: peers, t: t}
	r.start(cfg)
	t.Cleanup(r.Stop)
	return r
}

func newRunner(t testing.TB, db Database, exec app.Executor) *Runner {
	t.Helper()
	r := &Runner{exec: exec, Deployer: &Deployer{}, Files: Files{Dir: t.TempDir()}, DB: db, t: t}
	r.start(r.Config)
	t.Cleanup(r.Stop)
	return r
}

func (r *Runner) start(cfg app.Config) {
	r.t.Helper()
	cfg.CancelGrace = time.Second
	r.Service = app.New(cfg, app.Deps{
		Store: r.DB.Store, Journal: r.DB.Journal, Compiler: domaintest.Compiler{}, Deployer: r.Deployer, Executor: r.exec, Peers: r.peers,
		Files: r.Files, Cipher: rot{}, Announce: announcer{}, Schemas: anySchema{}, Now: clock, NewID: id.New, Jitter: func() float64 { return 0.5 },
		Log: slog.New(slog.NewTextHandler(r.t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel, r.done = cancel, make(chan error, 1)
	go func(s *app.Service, done chan error) { done <- s.Run(ctx) }(r.Service, r.done)
	select {
	case <-r.Ready():
	case err := <-r.done:
		require.NoError(r.t, err)
		r.t.Fatal("the service stopped before it was ready")
	case <-time.After(time.Minute):
		r.t.Fatal("the service is not ready after a minute")
	}
}

// Stop ends the service in good order. A second call does nothing.
func (r *Runner) Stop() {
	if r.cancel == nil {
		return
	}
	r.cancel()
	r.cancel = nil
	require.NoError(r.t, <-r.done)
}

// Restart starts a new service on the same database, as after a stop of the process.
// Attempts under way go on meanwhile.
func (r *Runner) Restart() {
	r.t.Helper()
	r.Stop()
	r.Exec.Detach()
	r.start(r.Config)
}

// Again starts a new service after Stop.
func (r *Runner) Again() { r.t.Helper(); r.start(r.Config) }

// Usurp starts a new service while the old one still runs, as after a partition: the old
// one must find itself fenced. It returns what the old one's Run returned.
func (r *Runner) Usurp(poke func(old *app.Service)) error {
	r.t.Helper()
	old, done, cancel := r.Service, r.done, r.cancel
	defer cancel()
	r.Exec.Detach()
	r.start(r.Config)
	poke(old)
	select {
	case err := <-done:
		return err
	case <-time.After(time.Minute):
		return errors.New("the fenced service still runs after a minute")
	}
}

// Deploy makes a workflow live in project "p" and returns the deployment's id.
func (r *Runner) Deploy(d domain.Definition) string {
	r.t.Helper()
	dep := id.New()
	require.NoError(r.t, r.Service.Deploy(r.t.Context(), app.DeployWorkflow{ID: dep, Project: "p", Definition: d, At: clock()}))
	got, err := r.Service.Deployment(r.t.Context(), "p", dep)
	require.NoError(r.t, err)
	require.Equal(r.t, app.DeploymentLive, got.State, got.Reason)
	return dep
}

// Begin starts a run of a workflow in project "p".
func (r *Runner) Begin(workflow string, inputs domain.Values) string {
	r.t.Helper()
	s, err := r.StartRun(r.t.Context(), app.StartRun{Project: "p", Workflow: workflow, Inputs: inputs, Trigger: app.Trigger{Kind: "manual"}})
	require.NoError(r.t, err)
	return s.ID
}

// Wait awaits a run's end.
func (r *Runner) Wait(run string) app.RunResult {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	res, err := r.Await(ctx, "p", run)
	require.NoError(r.t, err)
	require.True(r.t, res.State.Ended(), "run %s is %s", run, res.State)
	return res
}

// Step makes an action step whose inputs are name, JSON pairs.
func Step(name string, with ...string) domain.StepSpec {
	s := domain.StepSpec{ID: name, Kind: "action", Uses: name, Build: "sha256:test", With: map[string]json.RawMessage{}}
	for k, v := range Values(with...) {
		s.With[k] = v
	}
	return s
}

// Workflow makes a definition of steps that all use one build.
func Workflow(name string, steps ...domain.StepSpec) domain.Definition {
	return domain.Definition{Workflow: name, RevisionID: id.New(), Revision: 1, Steps: steps,
		Builds: []domain.Build{{Digest: "sha256:test", Action: "test@1.0", Kind: "Processor", Runtime: "python3"}}}
}

// Deployer makes every build callable but those whose digest starts with "bad".
type Deployer struct {
	mu      sync.Mutex
	Ensured []string
}

// Ensure notes the build.
func (d *Deployer) Ensure(_ context.Context, _ string, b domain.Build) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if strings.HasPrefix(b.Digest, "bad") {
		return errors.New("the bundle is not there")
	}
	d.Ensured = append(d.Ensured, b.Digest)
	return nil
}

// Release does nothing.
func (d *Deployer) Release(context.Context, string, string) error { return nil }

// Files keeps blobs in a folder.
type Files struct{ Dir string }

func (f Files) path(project, digest string) string {
	return filepath.Join(f.Dir, project+"-"+strings.TrimPrefix(digest, "sha256:"))
}

// Put stores a blob.
func (f Files) Put(_ context.Context, project string, r io.Reader) (string, int64, error) {
	var b bytes.Buffer
	n, err := io.Copy(&b, r)
	if err != nil {
		return "", 0, err
	}
	sum := sha256.Sum256(b.Bytes())
	digest := "sha256:" + hex.EncodeToString(sum[:])
	return digest, n, os.WriteFile(f.path(project, digest), b.Bytes(), 0o600)
}

// Open reads a blob.
func (f Files) Open(_ context.Context, project, digest string) (io.ReadSeekCloser, int64, error) {
	r, err := os.Open(f.path(project, digest))
	if err != nil {
		return nil, 0, err
	}
	st, err := r.Stat()
	return r, st.Size(), err
}

// Keep tells whether a blob is there, and makes it young.
func (f Files) Keep(_ context.Context, project, digest string) (bool, error) {
	now := clock()
	err := os.Chtimes(f.path(project, digest), now, now)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Projects lists the projects of all blobs.
func (f Files) Projects(context.Context) (out []string, err error) {
	list, err := os.ReadDir(f.Dir)
	for _, e := range list {
		if p, _, _ := strings.Cut(e.Name(), "-"); !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out, err
}

// Old lists blobs.
func (f Files) Old(_ context.Context, project string, before time.Time, yield func(string, int64) error) error {
	list, err := os.ReadDir(f.Dir)
	for _, e := range list {
		sum, ok := strings.CutPrefix(e.Name(), project+"-")
		info, ierr := e.Info()
		if err = errors.Join(err, ierr); err == nil && ok && info.ModTime().Before(before) {
			err = yield("sha256:"+sum, info.Size())
		}
	}
	return err
}

// Remove removes a blob; nobody puts it at the same time in these tests.
func (f Files) Remove(_ context.Context, project, digest string, since time.Time) (int64, bool, error) {
	info, err := os.Stat(f.path(project, digest))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil || !info.ModTime().Before(since) {
		return 0, false, err
	}
	return info.Size(), true, os.Remove(f.path(project, digest))
}

// Tidy has nothing to do.
func (f Files) Tidy(context.Context, string, time.Time) error { return nil }

// rot is a cipher good enough to see that something was sealed.
type rot struct{}

func (rot) Seal(plain []byte, _ string) ([]byte, error)  { return flip(plain), nil }
func (rot) Open(sealed []byte, _ string) ([]byte, error) { return flip(sealed), nil }

func flip(b []byte) []byte {
	out := make([]byte, len(b))
	for i := range b {
		out[i] = b[i] ^ 0x5a
	}
	return out
}

// anySchema refuses what holds the word that the schema is.
type anySchema struct{}

func (anySchema) Check(schema []byte, v domain.Value) string {
	if bytes.Contains(v, bytes.Trim(schema, `"`)) {
		return "holds " + string(schema)
	}
	return ""
}

type announcer struct{}

func (announcer) DeploymentChanged(messageID string, d app.Deployment) (app.Message, error) {
	return app.Message{ID: messageID, Key: "DeploymentChanged", Payload: []byte(d.State)}, nil
}

func (announcer) EventsArmed(messageID, project string, version int64) (app.Message, error) {
	return app.Message{ID: messageID, Key: "EventsArmed", Payload: fmt.Append(nil, project, " ", version)}, nil
}

func (announcer) RunStarted(messageID string, t app.Told) (app.Message, error) {
	return app.Message{ID: messageID, Key: "RunStarted", Payload: []byte(t.Run.ID)}, nil
}

func (announcer) RunEnded(messageID string, t app.Told) (app.Message, error) {
	return app.Message{ID: messageID, Key: "RunEnded", Payload: fmt.Append(nil, t.Run.ID, " ", t.Run.State)}, nil
}

func (announcer) StepFailed(messageID string, t app.Told) (app.Message, error) {
	return app.Message{ID: messageID, Key: "StepFailed", Payload: fmt.Append(nil, t.Run.ID, " ", t.Step, " ", t.Error.Kind)}, nil
}
