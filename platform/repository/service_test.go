package repository

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/pelton-run/pelton/eventing/bus"
	"github.com/pelton-run/pelton/eventing/membus"
	"github.com/pelton-run/pelton/platform/kit/authn"
	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/outbox"
	"github.com/pelton-run/pelton/platform/kit/pgtest"
	repositoryv1 "github.com/pelton-run/pelton/platform/repository/contracts/repository/v1"
	builderv1 "github.com/pelton-run/pelton/platform/repository/internal/infra/contracts/builder/v1"
	"github.com/pelton-run/pelton/platform/repository/internal/infra/postgres"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// people knows two keys: one of a developer, one of a viewer.
type people struct{}

func (people) PublicKey(context.Context, string) (ed25519.PublicKey, error) {
	return nil, fault.New(fault.Unauthenticated, "no tokens here")
}

func (people) Introspect(_ context.Context, key string) (authn.Principal, error) {
	switch key {
	case "pk_admin":
		return authn.Principal{Subject: "admin", Admin: true}, nil
	case "pk_viewer":
		return authn.Principal{Subject: "viewer", Roles: map[string]authn.Role{"default": authn.Viewer}}, nil
	}
	return authn.Principal{}, fault.New(fault.Unauthenticated, "no such key")
}

// bench is the service on a real database, a bus, and what it told the builder.
type bench struct {
	t       *testing.T
	svc     *Service
	bus     *membus.Bus
	folder  string
	orders  chan *repositoryv1.BuildOrdered
	dropped chan *repositoryv1.BuildDropped
	offers  chan *repositoryv1.ActionOffered

	mu  sync.Mutex
	now time.Time
}

func (b *bench) clock() time.Time { b.mu.Lock(); defer b.mu.Unlock(); return b.now }
func (b *bench) pass(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = b.now.Add(d)
}

func take[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-t.Context().Done():
	case <-time.After(30 * time.Second):
	}
	t.Fatal("no message")
	panic("unreachable")
}

func newBench(t *testing.T, retention Retention) *bench {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	b := &bench{t: t, bus: membus.New(t.TempDir(), log), folder: t.TempDir(), now: time.Now(), orders: make(chan *repositoryv1.BuildOrdered, 1000),
		dropped: make(chan *repositoryv1.BuildDropped, 1000), offers: make(chan *repositoryv1.ActionOffered, 1000)}
	pool := pgtest.New(t, "repository", postgres.Migrations, "migrations")
	home := t.TempDir()
	var err error
	b.svc, err = New(t.Context(), Config{Home: home, FilesDir: filepath.Join(home, "files"), AllowLocal: true, Retention: retention},
		Deps{Store: pool.Config().ConnString(), Publisher: b.bus, Subscriber: b.bus, Verify: authn.NewVerifier(people{}, time.Now), Now: b.clock, Log: log})
	require.NoError(t, err)
	t.Cleanup(b.svc.Close)
	require.NoError(t, b.bus.Subscribe(t.Context(), bus.Queue{Name: "test", Exchange: "repository.v1", Keys: []string{"BuildOrdered", "BuildDropped", "ActionOffered"}}, b.take))
	require.NoError(t, b.svc.Subscribe(t.Context()))
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = b.svc.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done })
	return b
}

func (b *bench) take(_ context.Context, m bus.Message) error {
	switch m.Key {
	case "BuildOrdered":
		v := &repositoryv1.BuildOrdered{}
		defer func() { b.orders <- v }()
		return proto.Unmarshal(m.Body, v)
	case "BuildDropped":
		v := &repositoryv1.BuildDropped{}
		defer func() { b.dropped <- v }()
		return proto.Unmarshal(m.Body, v)
	}
	v := &repositoryv1.ActionOffered{}
	defer func() { b.offers <- v }()
	return proto.Unmarshal(m.Body, v)
}

// tell answers as the builder and returns once the service has dealt with it.
func (b *bench) tell(m proto.Message) {
	b.t.Helper()
	msg, err := outbox.NewMessage("builder.v1", m, b.clock())
	require.NoError(b.t, err)
	done := make(chan error, 1)
	b.bus.Publish(msg, func(err error) { done <- err })
	require.NoError(b.t, <-done)
}

func (b *bench) succeed(o *repositoryv1.BuildOrdered) {
	b.tell(&builderv1.BuildSucceeded{OrderId: o.OrderId, Project: o.Project, Build: o.Build, Artifact: "file:///bundles/x", AtUnixMs: b.clock().UnixMilli()})
	take(b.t, b.offers)
}

func (b *bench) fail(o *repositoryv1.BuildOrdered) {
	b.tell(&builderv1.BuildLogged{OrderId: o.OrderId, Project: o.Project, Lines: []string{"said"}})
	b.tell(&builderv1.BuildFailed{OrderId: o.OrderId, Project: o.Project, Build: o.Build, Kind: "compile", Message: "wrong", AtUnixMs: b.clock().UnixMilli()})
}

type answer struct {
	ID, Build, Path, State, Detail, Error string
	Items                                 []struct{ ID, Path, State string }
	Actions                               []struct {
		Path, State string
		Errors      []struct{ Message string }
	}
	Errors []struct{ Field, Message, Remedy string }
}

func (b *bench) call(key, method, path string, body any) (int, answer) {
	b.t.Helper()
	var in bytes.Buffer
	if body != nil {
		require.NoError(b.t, json.NewEncoder(&in).Encode(body))
	}
	r := httptest.NewRequestWithContext(b.t.Context(), method, "/repository/v1/projects/default"+path, &in)
	r.Header.Set("Authorization", "Bearer "+key)
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	b.svc.Handler().ServeHTTP(w, r)
	var a answer
	if w.Body.Len() > 0 {
		require.NoError(b.t, json.Unmarshal(w.Body.Bytes(), &a), w.Body.String())
	}
	return w.Code, a
}

type object = map[string]any

func (b *bench) write(name, text string) {
	b.t.Helper()
	path := filepath.Join(b.folder, name)
	require.NoError(b.t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(b.t, os.WriteFile(path, []byte(text), 0o644))
}

func (b *bench) action(path, code string) {
	b.write(path+"/action.yaml", "apiVersion: pelton.dev/v1\nkind: Processor\nspec: {runtime: python3, inputs: [], outputs: []}\n")
	b.write(path+"/handler.py", "def handle(inputs):\n    return {}\n# "+code+"\n")
}

// add adds the folder as a repository that is scanned when asked, and scans it once more so that its first scan has ended.
func (b *bench) add(name string) (id string) {
	b.t.Helper()
	code, a := b.call("pk_admin", "POST", "/repositories", object{"name": name, "path": b.folder})
	require.Equal(b.t, 201, code, "%+v", a)
	b.scan(a.ID)
	return a.ID
}

func (b *bench) scan(id string) answer {
	b.t.Helper()
	code, s := b.call("pk_admin", "POST", "/repositories/"+id+"/scans", nil)
	require.Equal(b.t, 201, code, "%+v", s)
	return s
}

func TestRebuild(t *testing.T) {
	b := newBench(t, Retention{})
	b.action("actions/one", "v1")
	b.write("actions/bad/action.yaml", "apiVersion: pelton.dev/v1\nkind: Processor\nspec: {runtime: nope}\n")
	repo := b.add("repo")
	first := take(t, b.orders)

	code, a := b.call("pk_admin", "POST", "/builds", object{"action": "one"})
	require.Equal(t, 200, code)
	require.Equal(t, first.OrderId, a.ID, "it waits already")
	code, a = b.call("pk_admin", "POST", "/builds", object{"action": "one", "force": true})
	require.Equal(t, 409, code)
	require.Contains(t, a.Detail, "cancel it first")
	b.succeed(first)

	code, a = b.call("pk_admin", "POST", "/builds", object{"path": "actions/one", "repository": "repo"})
	require.Equal(t, 200, code, "%+v", a)
	require.Equal(t, first.OrderId, a.ID, "it is built already")
	code, a = b.call("pk_admin", "POST", "/builds", object{"action": "one", "repository": repo, "force": true})
	require.Equal(t, 201, code, "%+v", a)
	require.Equal(t, "queued", a.State)
	forced := take(t, b.orders)
	require.Equal(t, a.ID, forced.OrderId)
	require.Equal(t, first.Build, forced.Build)
	require.True(t, forced.Force)
	require.False(t, first.Force)
	require.Equal(t, first.SourceDigest, forced.SourceDigest)
	b.succeed(forced)

	// A failed build is built again without force.
	b.action("actions/one", "v2")
	b.scan(repo)
	second := take(t, b.orders)
	b.fail(second)
	code, _ = b.call("pk_admin", "POST", "/builds", object{"action": "one@1.0"})
	require.Equal(t, 201, code)
	again := take(t, b.orders)
	require.Equal(t, second.Build, again.Build)
	require.False(t, again.Force)
	b.succeed(again)

	// What is built is what the newest scan told.
	b.action("actions/one", "v3")
	code, a = b.call("pk_admin", "POST", "/builds", object{"action": "one", "force": true})
	require.Equal(t, 409, code)
	require.Contains(t, a.Detail, "scan the repository again")
	b.scan(repo)
	take(t, b.orders)

	for name, c := range map[string]struct {
		key  string
		in   object
		code int
		says string
	}{
		"neither":            {"pk_admin", object{"force": true}, 400, "action"},
		"both":               {"pk_admin", object{"action": "one", "path": "actions/one"}, 400, "action"},
		"unknown field":      {"pk_admin", object{"action": "one", "forced": true}, 400, "forced"},
		"unknown action":     {"pk_admin", object{"action": "two"}, 404, "two"},
		"unknown repository": {"pk_admin", object{"action": "one", "repository": "rep"}, 400, "did you mean repo?"},
		"broken":             {"pk_admin", object{"path": "actions/bad", "force": true}, 400, "actions/bad"},
		"viewer":             {"pk_viewer", object{"action": "one"}, 403, ""},
		"nobody":             {"pk_other", object{"action": "one"}, 401, ""},
	} {
		code, a := b.call(c.key, "POST", "/builds", c.in)
		require.Equal(t, c.code, code, "%s: %+v", name, a)
		require.Contains(t, fmt.Sprintf("%+v", a), c.says, name)
	}
	// The same action in two repositories has to be told apart.
	b.add("twin")
	code, a = b.call("pk_admin", "POST", "/builds", object{"action": "one", "force": true})
	require.Equal(t, 400, code)
	require.Equal(t, "repository", a.Errors[0].Field)
}

func TestCollect(t *testing.T) {
	day := 24 * time.Hour
	b := newBench(t, Retention{Scans: 5})
	b.action("actions/one", "v0")
	repo := b.add("repo")
	good := take(t, b.orders)
	b.succeed(good)
	var failed []*repositoryv1.BuildOrdered
	for i := 1; i <= 3; i++ {
		b.action("actions/one", fmt.Sprint("v", i))
		b.scan(repo)
		o := take(t, b.orders)
		b.fail(o)
		failed = append(failed, o)
	}
	for range 8 {
		b.scan(repo)
		b.fail(take(t, b.orders)) // the newest fails every time
	}
	_, scans := b.call("pk_admin", "GET", "/repositories/"+repo+"/scans", nil)
	require.Len(t, scans.Items, 5)

	n, err := b.svc.app.Collect(t.Context())
	require.NoError(t, err)
	require.Zero(t, n, "nothing is old yet")
	b.pass(31 * day)
	n, err = b.svc.app.Collect(t.Context())
	require.NoError(t, err)
	require.Equal(t, 10, n, "all that failed but the newest of the place")
	gone := map[string]bool{}
	for range 2 {
		d := take(t, b.dropped)
		require.Equal(t, b.clock().UnixMilli(), d.AtUnixMs)
		gone[d.Build] = true
	}
	require.Equal(t, map[string]bool{failed[0].Build: true, failed[1].Build: true}, gone, "the third is still named by the newest build")
	_, list := b.call("pk_admin", "GET", "/builds", nil)
	require.Len(t, list.Items, 2)
	code, a := b.call("pk_admin", "GET", "/builds/"+good.OrderId, nil)
	require.Equal(t, 200, code, "what was offered stays: any revision may name it")
	require.Equal(t, "succeeded", a.State)
	code, _ = b.call("pk_admin", "GET", "/builds/"+failed[0].OrderId+"/log", nil)
	require.Equal(t, 404, code)
	n, err = b.svc.app.Collect(t.Context())
	require.NoError(t, err)
	require.Zero(t, n)

	// Without its repository the newest failure is nobody's.
	code, _ = b.call("pk_admin", "DELETE", "/repositories/"+repo, nil)
	require.Equal(t, 204, code)
	n, err = b.svc.app.Collect(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Equal(t, failed[2].Build, take(t, b.dropped).Build)
}

// TestFolderLimits: what a folder holds beyond limits, or leads out of it, is told; one bad action
// does not hide the others, and nothing outside is read.
func TestFolderLimits(t *testing.T) {
	b := newBench(t, Retention{})
	outside := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(outside, "handler.py"), []byte("SECRET = 1\n\n\ndef handle(inputs):\n    return {}\n"), 0o644))
	b.action("actions/good", "v1")
	b.action("actions/link", "v1")
	require.NoError(t, os.Remove(filepath.Join(b.folder, "actions/link/handler.py")))
	require.NoError(t, os.Symlink(filepath.Join(outside, "handler.py"), filepath.Join(b.folder, "actions/link/handler.py")))
	b.action("actions/data", "v1")
	require.NoError(t, os.Symlink("/etc/passwd", filepath.Join(b.folder, "actions/data/passwd")))
	require.NoError(t, os.Symlink(outside, filepath.Join(b.folder, "actions/elsewhere")))
	require.NoError(t, os.Symlink(".", filepath.Join(b.folder, "actions/loop")))
	b.action("actions/deep", "v1")
	b.write("actions/deep/"+strings.Repeat("d/", 20)+"x.txt", "x")
	b.action("actions/huge", "v1")
	b.write("actions/huge/blob", "")
	require.NoError(t, os.Truncate(filepath.Join(b.folder, "actions/huge/blob"), 1<<40)) // sparse: it must not be read
	b.action("actions/crowd", "v1")
	for i := range 2100 {
		b.write(fmt.Sprintf("actions/crowd/f%d", i), "")
	}
	repo := b.add("repo")
	s := b.scan(repo)
	require.Equal(t, "finished", s.State, s.Error)
	states := map[string]string{}
	for _, a := range s.Actions {
		states[a.Path] = a.State
		if a.State == "error" {
			require.NotEmpty(t, a.Errors[0].Message, a.Path)
		}
	}
	for _, path := range []string{"actions/link", "actions/data"} {
		require.Equal(t, "error", states[path], path)
	}
	require.Equal(t, "ok", states["actions/good"])
	require.Equal(t, "error", states["actions/huge"])
	require.NotContains(t, states, "actions/elsewhere")
	require.NotContains(t, states, "actions/loop")
	t.Logf("%v", states)

	// Beyond the limits of a scan, the scan says so and nothing is ordered.
	for name, spoil := range map[string]func(folder string){
		"deep": func(folder string) {
			require.NoError(t, os.MkdirAll(filepath.Join(folder, strings.Repeat("d/", 40)), 0o755))
		},
		"folders": func(folder string) {
			for i := range 20001 {
				require.NoError(t, os.Mkdir(filepath.Join(folder, fmt.Sprint(i)), 0o755))
			}
		},
		"actions": func(folder string) {
			for i := range 501 {
				dir := filepath.Join(folder, fmt.Sprint("a", i))
				require.NoError(t, os.Mkdir(dir, 0o755))
				require.NoError(t, os.WriteFile(filepath.Join(dir, "action.yaml"), nil, 0o644))
			}
		},
	} {
		b.folder = t.TempDir()
		spoil(b.folder)
		s := b.scan(b.add(name))
		require.Equal(t, "failed", s.State, name)
		require.Contains(t, s.Error, "more than", name)
	}
}
