package workflow

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pelton-run/pelton/functions/formats/action"
	"github.com/pelton-run/pelton/functions/formats/workflow"
	"github.com/pelton-run/pelton/platform/cli/factory"
	"github.com/pelton-run/pelton/platform/sdk"
)

// CheckOptions of `pelton workflow check`.
type CheckOptions struct {
	*factory.Factory
	Files  []string
	Online bool
}

// NewCmdCheck makes the command; runF replaces its work in tests.
func NewCmdCheck(f *factory.Factory, runF func(context.Context, *CheckOptions) error) *cobra.Command {
	o := &CheckOptions{Factory: f}
	cmd := &cobra.Command{
		Use: "check FILE…", Short: "Check workflow files, without saving them",
		Example: "  pelton workflow check workflows/*.yaml",
		Long: `Checks workflows against the actions of their workspace, without a server: steps that use
./path, and ids of actions in the same workspace. With --online the server checks them against
its library instead.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return factory.Usage("FILE is missing: %s", cmd.UseLine())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.Files = args; runF != nil {
				return runF(cmd.Context(), o)
			}
			return check(cmd.Context(), o)
		},
	}
	cmd.Flags().BoolVar(&o.Online, "online", false, "check against the library of the server")
	return cmd
}

func check(ctx context.Context, o *CheckOptions) error {
	ask := func(file string, text []byte) ([]sdk.Location, error) { return offline(file, text), nil }
	if o.Online {
		c, err := o.Client(ctx)
		if err != nil {
			return err
		}
		ask = func(_ string, text []byte) ([]sdk.Location, error) { return Check(ctx, c, text) }
	}
	errs := 0
	all := []sdk.Location{}
	for _, file := range o.Files {
		text, err := os.ReadFile(file)
		if err != nil {
			return factory.Usage("%v", err)
		}
		found, err := ask(file, text)
		if err != nil {
			return fmt.Errorf("check %s: %w", file, err)
		}
		for _, p := range found {
			p.File = file
			all = append(all, p)
			if !p.IsWarning() {
				errs++
			}
			if o.Output == "table" {
				fmt.Fprintln(o.Out, factory.Place(p))
			}
		}
	}
	if o.Output == "json" || o.Output == "yaml" {
		raw, err := json.Marshal(map[string]any{"checked": len(o.Files), "problems": all})
		if err != nil {
			return err
		}
		if err := o.Print(raw, nil, nil); err != nil {
			return err
		}
	}
	if errs > 0 {
		return fmt.Errorf("%s in %s: %w", factory.Count(errs, "error"), factory.Count(len(o.Files), "file"), factory.ErrSilent)
	}
	if o.Output == "table" {
		fmt.Fprintf(o.Out, "%d checked, no errors\n", len(o.Files))
	}
	return nil
}

// offline checks a workflow against the actions that lie in its workspace.
func offline(file string, text []byte) []sdk.Location {
	w, problems := workflow.Parse(file, text)
	local, unknown := workspace(file), map[string]bool{}
	found := func(uses string) (action.Action, error) {
		a, err := local(uses)
		if err != nil && !strings.HasPrefix(uses, "./") {
			unknown[uses] = true
		}
		return a, err
	}
	problems = append(problems, w.CheckUses(file, found, siblings(file))...)
	out := make([]sdk.Location, 0, len(problems))
	for _, p := range problems {
		l := sdk.Location{File: file, Line: p.Line, Column: p.Column, Message: p.Message, Remedy: p.Remedy}
		if p.Path != "" {
			l.Message = p.Path + ": " + l.Message
		}
		if p.Warning {
			l.Warning = true
		}
		for uses := range unknown {
			// Of the library perhaps, which only the server knows: that is no error here.
			if strings.Contains(p.Message, notHere(uses)) {
				l.Warning = true
			}
		}
		out = append(out, l)
	}
	return out
}

func notHere(uses string) string {
	return uses + " is not in this workspace: --online checks it against the library"
}

// siblings finds the other workflows that lie beside a file.
func siblings(file string) workflow.Siblings {
	return func(name string) (workflow.Workflow, bool) {
		files, _ := filepath.Glob(filepath.Join(filepath.Dir(file), "*.y*ml")) // only a bad pattern fails
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				continue
			}
			if w, problems := workflow.Parse(f, text); w.Name == name && !problems.Errors() {
				return w, true
			}
		}
		return workflow.Workflow{}, false
	}
}

// workspace resolves what a step uses in the folder that holds the workflow's workflows/ folder,
// or, for a file that lies elsewhere, its own folder.
func workspace(file string) workflow.Resolver {
	root := filepath.Dir(file)
	if abs, err := filepath.Abs(file); err == nil {
		root = filepath.Dir(abs)
	}
	if filepath.Base(root) == "workflows" {
		root = filepath.Dir(root)
	}
	fsys := os.DirFS(root)
	load := func(dir, uses string) (action.Action, error) {
		a, problems := action.Load(fsys, dir, dir)
		for _, p := range problems {
			if !p.Warning {
				return a, fmt.Errorf("%s has errors: `pelton action check %s`", uses, filepath.Join(root, dir))
			}
		}
		return a, nil
	}
	return func(uses string) (action.Action, error) {
		if rel, ok := strings.CutPrefix(uses, "./"); ok {
			dir := path.Clean(rel)
			if !fs.ValidPath(dir) {
				return action.Action{}, fmt.Errorf("%s lies outside of the workspace", uses)
			}
			if action.Find(fsys, dir) == "" {
				return action.Action{}, fmt.Errorf("there is no action in %s", filepath.Join(root, dir))
			}
			return load(dir, uses)
		}
		id, version, _ := strings.Cut(uses, "@")
		dirs, err := fs.Glob(fsys, "actions/*")
		if err != nil {
			return action.Action{}, err
		}
		for _, dir := range dirs {
			if action.Find(fsys, dir) == "" {
				continue
			}
			if a, _ := action.Load(fsys, dir, dir); a.ID == id && (version == "" || version == a.Version) {
				return load(dir, uses)
			}
		}
		return action.Action{}, fmt.Errorf("%s", notHere(uses))
	}
}

// Check asks the server what is wrong with a workflow's text.
func Check(ctx context.Context, c *sdk.Client, text []byte) ([]sdk.Location, error) {
	answer, err := c.Raw(ctx, "POST", c.Path("studio", "workflows", "check"), "application/yaml", text)
	if err != nil {
		return nil, err
	}
	var a sdk.CheckResult
	if err := json.Unmarshal(answer, &a); err != nil {
		return nil, fmt.Errorf("read the server's answer: %w", err)
	}
	found := make([]sdk.Location, 0, len(a.Problems))
	for _, p := range a.Problems {
		found = append(found, p.Location())
	}
	return found, nil
}
