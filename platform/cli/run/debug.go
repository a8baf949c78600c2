package run

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pelton-run/pelton/functions/formats/action"
	"github.com/pelton-run/pelton/platform/cli/factory"
	"github.com/pelton-run/pelton/platform/cli/localrun"
	"github.com/pelton-run/pelton/platform/sdk"
	"github.com/pelton-run/pelton/platform/sdk/runner"
)

// DebugOptions of `pelton run debug`.
type DebugOptions struct {
	*factory.Factory
	Run, Step, Item, Dir string
	Attempt              int
	Secrets, Yes         bool
}

// NewCmdDebug makes the command; runF replaces its work in tests.
func NewCmdDebug(f *factory.Factory, runF func(context.Context, *DebugOptions) error) *cobra.Command {
	o := &DebugOptions{Factory: f}
	cmd := &cobra.Command{
		Use: "debug RUN STEP", Short: "Run an attempt of a step again, here and under a debugger", Args: factory.ExactArgs("RUN", "STEP"),
		Long: `Fetches exactly what an attempt was started with, its files and folders too, builds the action here
and starts its handler under the debugger of its language, as pelton action run --debug does. The
handler sees the same run, step, attempt and idempotency key. The run itself is not touched.

Its source is the watched folder, or the commit of the Git repository, that the build came from; --dir
names another. Inputs that hold secrets are asked for at the terminal. --secrets reads the project's
instead, as they are now, after a confirmation; it needs the role developer, and the server's log
says who did it.`,
		Example: "  pelton run debug 0190b5c0-7c3e-7000-8000-000000000000 report\n  pelton run debug 0190b5c0-7c3e-7000-8000-000000000000 chart --item 2 --attempt 1 --dir actions/render-chart",
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Run, o.Step = args[0], args[1]
			if o.Attempt < 0 {
				return factory.Usage("--attempt %d is below 1", o.Attempt)
			}
			if o.Item != "" && !regexp.MustCompile(`^\d+(\.\d+)*$`).MatchString(o.Item) {
				return factory.Usage("--item %q is no item: give indexes from 0 joined by dots, such as 0.1", o.Item)
			}
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return debug(cmd.Context(), o)
		},
	}
	cmd.Flags().IntVar(&o.Attempt, "attempt", 0, "number of the attempt (default: the newest)")
	cmd.Flags().StringVar(&o.Item, "item", "", "item that the step ran for, as indexes from 0 joined by dots")
	cmd.Flags().StringVar(&o.Dir, "dir", "", "folder of the action's source (default: where its build came from)")
	cmd.Flags().BoolVar(&o.Secrets, "secrets", false, "read the secrets among the inputs from the server")
	cmd.Flags().BoolVarP(&o.Yes, "yes", "y", false, "do not ask before --secrets reads them")
	return cmd
}

func debug(ctx context.Context, o *DebugOptions) error {
	c, err := o.Client(ctx)
	if err != nil {
		return err
	}
	given, err := inputsOf(ctx, o, c, false)
	if err != nil {
		return err
	}
	dir, release, err := sourceOf(ctx, o, c, given)
	if err != nil {
		return err
	}
	defer release()
	if err := secretsOf(ctx, o, c, &given); err != nil { // once nothing else is in the way
		return err
	}
	if digest, err := action.Digest(os.DirFS(dir), "."); err == nil && digest != given.Build {
		fmt.Fprintf(o.Err, "warning: %s is not the source of the build that ran (%s): it was changed since, or is of another version\n", dir, given.Action)
	}
	var run sdk.Run
	if _, err := c.Get(ctx, c.Path("runner", "runs", o.Run), &run); err != nil {
		return err
	}
	i, err := localrun.StartDebug(ctx, dir, func(line string) { fmt.Fprintln(o.Err, "  "+line) }, localrun.DebugOptions{
		In: o.In, Out: o.Err, Tell: func(line string) { fmt.Fprintln(o.Err, line) },
	})
	if err != nil {
		return err
	}
	defer i.Close()
	if err := fetch(ctx, c, i, given.Inputs); err != nil {
		return err
	}
	fmt.Fprintf(o.Err, "attempt %d of %s in run %s\n", given.Attempt, o.Step, o.Run)
	r, err := i.RunAs(ctx, localrun.Identity{Project: c.Project, Workflow: run.Workflow, Run: given.Run, Step: given.Step, ItemPath: given.ItemPath,
		Attempt: given.Attempt, IdempotencyKey: given.IdempotencyKey}, given.Inputs, func(level, line string) { fmt.Fprintf(o.Err, "[%s] %s\n", level, line) })
	if err != nil {
		return err
	}
	return r.Print(o.Out, o.Err)
}

// given is what the server says of an attempt.
type given struct {
	runner.StepInputs
	ItemPath []int32                    `json:"item_path"`
	Attempt  int32                      `json:"attempt"`
	Inputs   map[string]json.RawMessage `json:"inputs"`
}

// inputsOf reads what the attempt was started with.
func inputsOf(ctx context.Context, o *DebugOptions, c *sdk.Client, secrets bool) (g given, err error) {
	attempt, open := "", ""
	if o.Attempt > 0 {
		attempt = strconv.Itoa(o.Attempt)
	}
	if secrets {
		open = "true"
	}
	_, err = c.Get(ctx, c.Path("runner", "runs", o.Run, "steps", o.Step, "inputs")+factory.Query("item", o.Item, "attempt", attempt, "secrets", open), &g)
	if err == nil && g.Build == "" {
		err = fmt.Errorf("the step %s runs the workflow %s and no action: debug a step of that run, which `pelton run show %s` names", o.Step, g.Workflow, o.Run)
	}
	return g, err
}

// secretsOf fills in the inputs that hold secrets: the project's by permission, else what is typed.
func secretsOf(ctx context.Context, o *DebugOptions, c *sdk.Client, g *given) error {
	names := strings.Join(g.Secret, ", ")
	switch {
	case len(g.Secret) == 0:
		return nil
	case !o.Secrets && o.ReadSecret == nil:
		return factory.Usage("the inputs %s hold secrets: give --secrets to read them from the server, or type them at a terminal", names)
	case !o.Secrets:
		for _, name := range g.Secret {
			text, err := o.ReadSecret(fmt.Sprintf("%s (secret; --secrets reads the project's): ", name))
			if err != nil {
				return err
			}
			if g.Inputs[name], err = json.Marshal(text); err != nil {
				return err
			}
		}
		return nil
	}
	if !o.Yes {
		ok, err := o.Confirm(fmt.Sprintf("Read the secrets in %s of %s to this machine? The server's log will say so.", names, o.Step), "--yes")
		if err == nil && !ok {
			err = errors.New("no secret was read")
		}
		if err != nil {
			return err
		}
	}
	var err error
	*g, err = inputsOf(ctx, o, c, true)
	return err
}

// sourceOf finds the folder of the action: release frees what was made for it.
func sourceOf(ctx context.Context, o *DebugOptions, c *sdk.Client, g given) (dir string, release func(), err error) {
	release = func() {}
	if o.Dir != "" {
		if info, err := os.Stat(o.Dir); err != nil || !info.IsDir() {
			return "", release, factory.Usage("--dir %s is no folder: name the folder of the action", o.Dir)
		}
		return o.Dir, release, nil
	}
	unknown := func(format string, args ...any) error {
		return factory.Usage("the source of %s is not known here: %s. Name its folder with --dir", g.Action, fmt.Sprintf(format, args...))
	}
	id, _, _ := strings.Cut(g.Action, "@")
	var a sdk.Action
	if _, err := c.Get(ctx, c.Path("studio", "actions", id), &a); err != nil {
		return "", release, unknown("the library has no %s", id)
	}
	i := slices.IndexFunc(a.Versions, func(v sdk.ActionBuild) bool { return v.Build == g.Build })
	if i < 0 {
		return "", release, unknown("the library no longer has the build that ran")
	}
	from := a.Versions[i]
	var all sdk.List[sdk.Repository]
	if _, err := c.Get(ctx, c.Path("repository", "repositories")+"?limit=200", &all); err != nil {
		return "", release, err
	}
	j := slices.IndexFunc(all.Items, func(r sdk.Repository) bool { return r.Name == from.Repository })
	if j < 0 {
		return "", release, unknown("the repository %s was removed", from.Repository)
	}
	r := all.Items[j]
	if r.Path == "" {
		return checkout(ctx, o, r.URL, from, unknown)
	}
	dir = filepath.Join(r.Path, filepath.FromSlash(from.Path))
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return "", release, unknown("the folder %s of the server's machine is not on this one", dir)
	}
	return dir, release, nil
}

// checkout gets the repository at the build's commit.
func checkout(ctx context.Context, o *DebugOptions, url string, from sdk.ActionBuild, unknown func(string, ...any) error) (dir string, release func(), err error) {
	tmp, err := os.MkdirTemp("", "pelton-source-")
	release = func() { os.RemoveAll(tmp) }
	if err != nil {
		return "", func() {}, err
	}
	fmt.Fprintf(o.Err, "  cloning %s at %.12s\n", url, from.Commit)
	for _, args := range [][]string{{"clone", "--quiet", "--no-checkout", "--", url, tmp}, {"-C", tmp, "checkout", "--quiet", "--detach", from.Commit}} {
		cmd := exec.CommandContext(ctx, "git", args...)
		if out, err := cmd.CombinedOutput(); err != nil {
			release()
			last := strings.TrimSpace(string(out))
			if last == "" {
				last = err.Error()
			}
			return "", func() {}, unknown("git %s of %s: %s", args[0], url, last)
		}
	}
	return filepath.Join(tmp, filepath.FromSlash(from.Path)), release, nil
}

// fetch brings the files, folders and large values that inputs refer to.
func fetch(ctx context.Context, c *sdk.Client, i *localrun.Instance, inputs map[string]json.RawMessage) error {
	var refs references
	for _, raw := range inputs {
		refs.take(raw)
	}
	for n := 0; n < len(refs); n++ {
		if err := refs.fetch(ctx, c, i, n); err != nil {
			return fmt.Errorf("fetch %s: %w", refs[n].digest, err)
		}
	}
	return nil
}

// references are what values refer to in the filestore, each once.
type references []reference

type reference struct {
	digest string
	value  bool // JSON that may refer to more
}

func (l *references) take(raw []byte) {
	var v any
	if json.Unmarshal(raw, &v) == nil {
		l.walk(v)
	}
}

func (l *references) walk(v any) {
	switch x := v.(type) {
	case []any:
		for _, e := range x {
			l.walk(e)
		}
	case map[string]any:
		for k, e := range x {
			d, _ := e.(string)
			if slices.Contains([]string{"$file", "$dir", "$ref"}, k) && strings.HasPrefix(d, "sha256:") &&
				!slices.ContainsFunc(*l, func(r reference) bool { return r.digest == d }) {
				*l = append(*l, reference{d, k == "$ref"})
			}
			l.walk(e)
		}
	}
}

func (l *references) fetch(ctx context.Context, c *sdk.Client, i *localrun.Instance, n int) error {
	r := (*l)[n]
	resp, err := c.Do(ctx, "GET", c.Path("runner", "files", r.digest), "", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if !r.value {
		return i.PutBlob(r.digest, resp.Body)
	}
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	l.take(data)
	return i.PutBlob(r.digest, bytes.NewReader(data))
}
