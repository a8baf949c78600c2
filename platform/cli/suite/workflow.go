package suite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"

	"github.com/pelton-run/pelton/functions/formats/action"
	"github.com/pelton-run/pelton/functions/formats/problem"
	"github.com/pelton-run/pelton/functions/formats/wftest"
	"github.com/pelton-run/pelton/platform/cli/factory"
	"github.com/pelton-run/pelton/platform/sdk"
)

// workflowTest is one test of a workflow.
type workflowTest struct {
	wftest.Test
	file      string // as shown
	text      []byte
	workspace string // folder that holds tests/ and workflows/
	problems  problem.List
}

func (t *workflowTest) result(state, message string) Result {
	return Result{File: t.file, Workflow: t.Workflow.Text, Test: t.Name, State: state, Message: message}
}

// workflowTests reads the tests of workflows at or below dir whose WORKFLOW/TEST name matches.
func workflowTests(dir string, name *regexp.Regexp) ([]workflowTest, error) {
	var out []workflowTest
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if p != dir && action.Skip(d.Name()) {
				return fs.SkipDir
			}
			return nil
		}
		ext := filepath.Ext(p)
		if filepath.Base(filepath.Dir(p)) != "tests" || ext != ".yaml" && ext != ".yml" {
			return nil
		}
		text, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		var head struct{ Kind string }
		if yaml.Unmarshal(text, &head) == nil && head.Kind != wftest.Kind {
			return nil // of another tool
		}
		t := workflowTest{file: filepath.ToSlash(p), text: text, workspace: filepath.Dir(filepath.Dir(p))}
		t.Test, t.problems = wftest.Parse(t.file, text)
		if name == nil || name.MatchString(t.Workflow.Text+"/"+t.Name) {
			out = append(out, t)
		}
		return nil
	})
	return out, err
}

// hasTests tells whether there are tests of workflows at or below dir.
func hasTests(dir string) bool {
	found, err := workflowTests(dir, nil)
	return err == nil && len(found) > 0
}

// runWorkflows runs tests of workflows on the server of this home.
func runWorkflows(ctx context.Context, o *Options, tests []workflowTest, p *progress) ([]Result, error) {
	results := make([]Result, len(tests))
	done := make([]bool, len(tests))
	byWorkspace := map[string][]int{}
	for i := range tests {
		if t := &tests[i]; t.problems.Errors() {
			var lines []string
			for _, p := range t.problems {
				lines = append(lines, p.Error())
			}
			results[i], done[i] = t.result(Broken, strings.Join(lines, "\n")), true
			p.ended(results[i : i+1])
			continue
		}
		byWorkspace[tests[i].workspace] = append(byWorkspace[tests[i].workspace], i)
	}
	if len(byWorkspace) == 0 {
		return results, nil
	}
	s, err := openServer(ctx, o)
	if err != nil {
		return nil, err
	}
	defer s.close()
	for _, workspace := range sortedKeys(byWorkspace) {
		st, err := s.stage(ctx, workspace)
		if err != nil {
			return nil, err
		}
		runStaged(ctx, o, st, tests, byWorkspace[workspace], results, p)
		st.close()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	return results, nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// runStaged runs the tests of one workspace at the same time.
func runStaged(ctx context.Context, o *Options, st *stage, tests []workflowTest, which []int, results []Result, p *progress) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	slots := make(chan struct{}, max(1, o.Parallel))
	for _, i := range which {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if ctx.Err() != nil {
				return
			}
			r := st.test(ctx, &tests[i])
			mu.Lock()
			defer mu.Unlock()
			results[i] = r
			p.ended(results[i : i+1])
		})
	}
	wg.Wait()
}

// testReport is the server's answer to a test.
type testReport struct {
	State     string
	Failures  []failure
	VirtualMS int64 `json:"virtual_ms"`
	RealMS    int64 `json:"real_ms"`
	Logs      []sdk.LogRecord
}

type failure struct {
	What, Message, Expected, Got string
	Line, Column                 int
}

// test runs one test and tells how it went.
func (st *stage) test(ctx context.Context, t *workflowTest) Result {
	defs, err := st.definitions(ctx, t)
	if err != nil {
		return t.result(Broken, err.Error())
	}
	files, err := st.upload(ctx, t)
	if err != nil {
		return t.result(Broken, err.Error())
	}
	var rep testReport
	_, err = st.client.JSON(ctx, "POST", st.client.Path("runner", "tests"), map[string]any{
		"test": string(t.text), "file": filepath.Base(t.file), "definitions": defs, "files": files,
	}, &rep)
	if err != nil {
		return t.result(Broken, problemsIn(t.file, err))
	}
	r := t.result(rep.State, tellFailures(t.file, rep))
	r.Millis, r.Virtual = rep.RealMS, rep.VirtualMS
	return r
}

// problemsIn tells an answer's problems with their places in the test.
func problemsIn(file string, err error) string {
	var p *sdk.Problem
	if !errors.As(err, &p) || len(p.Errors) == 0 {
		return err.Error()
	}
	var lines []string
	for _, f := range p.Errors {
		lines = append(lines, problem.Problem{File: file, Line: f.Line, Column: f.Column, Path: f.Field, Message: f.Message, Remedy: f.Remedy}.Error())
	}
	return strings.Join(lines, "\n")
}

// tellFailures shows what differs, one below the other.
func tellFailures(file string, rep testReport) string {
	var lines []string
	for _, f := range rep.Failures {
		place := file
		if f.Line > 0 {
			place += fmt.Sprintf(":%d", f.Line)
		}
		if f.Message != "" {
			lines = append(lines, place+": "+f.What+": "+f.Message)
		} else {
			lines = append(lines, place+": "+f.What)
		}
		if f.Expected != "" || f.Got != "" {
			lines = append(lines, "  expected  "+f.Expected, "  got       "+f.Got)
		}
	}
	if len(lines) > 0 && len(rep.Logs) > 0 {
		lines = append(lines, fmt.Sprintf("the actions printed %s:", factory.Count(len(rep.Logs), "line")))
		for _, l := range rep.Logs[max(0, len(rep.Logs)-20):] {
			lines = append(lines, "  ["+l.Step+"] "+l.Line)
		}
	}
	return strings.Join(lines, "\n")
}
