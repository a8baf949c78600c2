package suite

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/pelton-run/pelton/platform/cli/factory"
	"github.com/pelton-run/pelton/platform/cli/local"
	"github.com/pelton-run/pelton/platform/sdk"
)

// server is the one that tests of workflows run on.
type server struct {
	o       *Options
	client  *sdk.Client
	started *local.Server // nil: it ran already
}

// openServer finds the server to use, or starts the one of this home.
func openServer(ctx context.Context, o *Options) (*server, error) {
	home, err := filepath.Abs(o.HomeDir())
	if err != nil {
		return nil, err
	}
	named := o.Server != "" || o.Getenv("PELTON_SERVER") != ""
	if _, running := local.Find(ctx, home); named || running {
		o.Home = home
		c, err := o.Client(ctx)
		return &server{o: o, client: c}, err
	}
	fmt.Fprintf(o.Err, "starting a server in %s for the tests of workflows\n", home)
	listen, err := local.FreePort(8100, 8199) // 8080 is for people
	if err != nil {
		return nil, err
	}
	s, err := local.Start(ctx, local.StartOptions{Home: home, Listen: listen, Out: o.Err, Log: filepath.Join(home, "log", "peltond.log")})
	if err != nil {
		return nil, err
	}
	project := o.Project
	if project == "" {
		project = "default"
	}
	return &server{o: o, client: &sdk.Client{URL: strings.TrimRight(s.URL, "/"), Token: s.Token, Project: project}, started: s}, nil
}

func (s *server) close() {
	if s.started != nil {
		s.started.Stop()
	}
}

// stage is a workspace that the server has scanned: what tests run with.
type stage struct {
	*server
	dir    string
	builds map[string]string // folder -> build
	added  string            // id of the repository that was added for the tests

	mu       sync.Mutex
	compiled map[string]*compiled // by file
	uploaded map[string]json.RawMessage
}

// compiled is a workflow as the runner gets it.
type compiled struct {
	once       sync.Once
	definition []byte
	err        error
	calls      []string // workflows that it starts
}

// stage has the server scan a workspace: the folder that it watches already, else one that is
// added for the tests alone.
func (s *server) stage(ctx context.Context, workspace string) (*stage, error) {
	dir, err := filepath.Abs(workspace)
	if err != nil {
		return nil, err
	}
	st := &stage{server: s, dir: dir, builds: map[string]string{}, compiled: map[string]*compiled{}, uploaded: map[string]json.RawMessage{}}
	id, err := s.watched(ctx, dir)
	if err == nil && id == "" {
		id, err = st.add(ctx)
	}
	if err != nil {
		return nil, err
	}
	var scan sdk.Scan
	if _, err := s.client.JSON(ctx, "POST", s.client.Path("repository", "repositories", id, "scans"), map[string]any{}, &scan); err != nil {
		st.close()
		return nil, fmt.Errorf("scan %s: %w", workspace, err)
	}
	if scan.Error != "" {
		st.close()
		return nil, fmt.Errorf("scan %s: %s", workspace, scan.Error)
	}
	for _, a := range scan.Actions {
		if a.Build != "" && a.State == "ok" {
			st.builds[a.Path] = a.Build
		}
		for _, e := range a.Errors {
			e.File = filepath.ToSlash(filepath.Join(workspace, e.File))
			fmt.Fprintln(s.o.Err, factory.Place(e))
		}
	}
	return st, nil
}

// watched finds a folder among the repositories of the project.
func (s *server) watched(ctx context.Context, dir string) (id string, err error) {
	for cursor := ""; ; {
		var all sdk.List[sdk.Repository]
		if _, err := s.client.Get(ctx, s.client.Path("repository", "repositories")+factory.Query("limit", "200", "cursor", cursor), &all); err != nil {
			return "", err
		}
		for _, r := range all.Items {
			if r.Path != "" && !strings.HasPrefix(r.Name, testRepository) && same(r.Path, dir) {
				return r.ID, nil
			}
		}
		if cursor = all.NextCursor; cursor == "" {
			return "", nil
		}
	}
}

func same(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}

// testRepository begins the names of repositories that are there for tests alone.
const testRepository = "test-of-"

// add adds the workspace for the time of the tests. It takes no workflow's place that is deployed
// from elsewhere.
func (st *stage) add(ctx context.Context) (string, error) {
	c := st.client
	own, err := workflowsIn(st.dir)
	if err != nil {
		return "", err
	}
	var known sdk.List[sdk.Workflow]
	if _, err := c.Get(ctx, c.Path("studio", "workflows")+"?limit=200", &known); err != nil {
		return "", err
	}
	for _, w := range known.Items {
		if w.AutoDeploy && own[w.Name] != "" {
			return "", fmt.Errorf("the project %s has a workflow %s from another repository, whose place the tested one would take: name a server of the tests' own with --home, such as --home %s",
				c.Project, w.Name, filepath.Join(st.dir, ".pelton"))
		}
	}
	sum := sha256.Sum256([]byte(st.dir))
	name := testRepository + hex.EncodeToString(sum[:6])
	var r sdk.Repository
	_, err = c.JSON(ctx, "POST", c.Path("repository", "repositories"), map[string]any{"name": name, "path": st.dir}, &r)
	var p *sdk.Problem
	if errors.As(err, &p) && p.Status == 409 { // of tests that were killed, or run at this moment
		var all sdk.List[sdk.Repository]
		if _, err = c.Get(ctx, c.Path("repository", "repositories")+"?limit=200", &all); err == nil {
			if i := slices.IndexFunc(all.Items, func(r sdk.Repository) bool { return r.Name == name }); i >= 0 {
				return all.Items[i].ID, nil
			}
			err = p
		}
	}
	st.added = r.ID
	return r.ID, err
}

// close removes what was added for the tests.
func (st *stage) close() {
	if st.added == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if _, err := st.client.Raw(ctx, "DELETE", st.client.Path("repository", "repositories", st.added), "", nil); err != nil {
		fmt.Fprintf(st.o.Err, "the repository that was added for the tests could not be removed: %v\n", err)
	}
}

// workflowsIn finds the workflows of a workspace: name -> file below it.
func workflowsIn(dir string) (map[string]string, error) {
	out := map[string]string{}
	for _, pattern := range []string{"*.yaml", "*.yml"} {
		files, err := filepath.Glob(filepath.Join(dir, "workflows", pattern))
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			var head struct {
				Kind     string
				Metadata struct{ Name string }
			}
			if yaml.Unmarshal(text, &head) == nil && head.Kind == "Workflow" && head.Metadata.Name != "" {
				out[head.Metadata.Name] = "workflows/" + filepath.Base(file)
			}
		}
	}
	return out, nil
}

// definitions are those of the tested workflow and of the ones that it starts.
func (st *stage) definitions(ctx context.Context, t *workflowTest) ([][]byte, error) {
	files, err := workflowsIn(st.dir)
	if err != nil {
		return nil, err
	}
	if files[t.Workflow.Text] == "" {
		remedy := "the workspace has no workflows/*.yaml"
		if len(files) > 0 {
			remedy = "there are " + strings.Join(sortedKeys(files), ", ")
		}
		return nil, fmt.Errorf("%s:%d: workflow: there is no workflow %q in %s (%s)", t.file, t.Workflow.Line, t.Workflow.Text, filepath.ToSlash(filepath.Join(t.workspace, "workflows")), remedy)
	}
	var defs [][]byte
	seen := map[string]bool{}
	for todo := []string{t.Workflow.Text}; len(todo) > 0; todo = todo[1:] {
		name := todo[0]
		if seen[name] || files[name] == "" {
			continue // a sub-workflow that is not here may be deployed
		}
		seen[name] = true
		c := st.compile(ctx, t.workspace, files[name])
		if c.err != nil {
			return nil, c.err
		}
		defs = append(defs, c.definition)
		todo = append(todo, c.calls...)
	}
	return defs, nil
}

// compile makes a workflow's definition once its actions are built.
func (st *stage) compile(ctx context.Context, workspace, file string) *compiled {
	st.mu.Lock()
	c := st.compiled[file]
	if c == nil {
		c = &compiled{}
		st.compiled[file] = c
	}
	st.mu.Unlock()
	c.once.Do(func() { c.err = st.compileNow(ctx, workspace, file, c) })
	return c
}

func (st *stage) compileNow(ctx context.Context, workspace, file string, c *compiled) error {
	text, err := os.ReadFile(filepath.Join(st.dir, filepath.FromSlash(file)))
	if err != nil {
		return err
	}
	var calls struct {
		Spec struct {
			OnFailure string `yaml:"onFailure"`
			Steps     []struct{ Workflow string }
		}
	}
	if yaml.Unmarshal(text, &calls) == nil { // what is wrong with it is told by the server
		c.calls = append(c.calls, calls.Spec.OnFailure)
		for _, s := range calls.Spec.Steps {
			c.calls = append(c.calls, s.Workflow)
		}
	}
	var out struct {
		State      string
		Definition []byte
		Problems   []struct {
			sdk.Location
			Proposal, Severity string
		}
	}
	err = factory.Poll(ctx, st.o.Timeout, "the build of the actions of "+file, func() (bool, error) {
		_, err := st.client.JSON(ctx, "POST", st.client.Path("studio", "workflows", "compile"), map[string]any{"yaml": string(text), "path": file, "builds": st.builds}, &out)
		if err != nil || out.State != "building" {
			return true, err
		}
		return false, st.failedBuild(ctx, workspace)
	})
	if err != nil {
		return err
	}
	if out.State == "ready" {
		c.definition = out.Definition
		return nil
	}
	var lines []string
	for _, p := range out.Problems {
		if p.Severity == "error" {
			p.File, p.Remedy = filepath.ToSlash(filepath.Join(workspace, file)), p.Proposal
			lines = append(lines, factory.Place(p.Location))
		}
	}
	return errors.New(strings.Join(lines, "\n"))
}

// failedBuild tells a build of the workspace that has failed.
func (st *stage) failedBuild(ctx context.Context, workspace string) error {
	var all sdk.List[sdk.Build]
	if _, err := st.client.Get(ctx, st.client.Path("repository", "builds")+"?limit=200", &all); err != nil {
		return err
	}
	newest := map[string]bool{}
	for _, b := range all.Items { // newest first
		if newest[b.Build] || st.builds[b.Path] != b.Build {
			continue
		}
		newest[b.Build] = true
		if b.State == "failed" || b.State == "cancelled" {
			where := filepath.ToSlash(filepath.Join(workspace, b.Path))
			if b.File != "" {
				where += "/" + b.File
			}
			if b.Line > 0 {
				where += fmt.Sprintf(":%d", b.Line)
			}
			return fmt.Errorf("%s: %s is not built: %s", where, b.Action, b.Message)
		}
	}
	return nil
}
