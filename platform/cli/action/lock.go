package action

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/pelton-run/pelton/builder/local"
	"github.com/pelton-run/pelton/functions/formats/action"
	"github.com/pelton-run/pelton/platform/cli/factory"
	"github.com/pelton-run/pelton/platform/cli/localrun"
)

// LockOptions of `pelton action lock`.
type LockOptions struct {
	*factory.Factory
	Dirs    []string
	Upgrade bool
}

// NewCmdLock makes the command; runF replaces its work in tests.
func NewCmdLock(f *factory.Factory, runF func(context.Context, *LockOptions) error) *cobra.Command {
	o := &LockOptions{Factory: f}
	cmd := &cobra.Command{
		Use: "lock DIR…", Short: "Write the lock files of actions' dependencies, without a server",
		Long: `Writes what a build installs to the letter, for the action in each folder, or for all actions below it:

  Python    requirements.lock of requirements.txt, or uv.lock of pyproject.toml
  Node.js   package-lock.json of package.json
  Go        go.sum, and go.mod where a module is missing in it

It uses the tools and the proxy, mirror and index settings that a build uses. Versions in a lock
that is there are kept where they are still allowed; --upgrade takes the newest.`,
		Example: "  pelton action lock actions/resize\n  pelton action lock . --upgrade",
		Args:    atLeastOneDir,
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.Dirs = args; runF != nil {
				return runF(cmd.Context(), o)
			}
			return lock(cmd.Context(), o)
		},
	}
	cmd.Flags().BoolVar(&o.Upgrade, "upgrade", false, "take the newest versions that are allowed")
	return cmd
}

func atLeastOneDir(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return factory.Usage("DIR is missing: %s", cmd.UseLine())
	}
	return nil
}

// each calls f with every action at or below the folders; one that has errors ends it.
func each(dirs []string, f func(dir, abs string, a action.Action) error) error {
	for _, root := range dirs {
		found, err := localrun.Dirs(root)
		if err != nil {
			return err
		}
		for _, dir := range found {
			abs, err := filepath.Abs(dir)
			if err != nil {
				return err
			}
			a, problems := action.Load(os.DirFS(abs), ".", filepath.Base(abs))
			if problems.Errors() {
				return &localrun.ProblemsError{List: problems}
			}
			if err := f(dir, abs, a); err != nil {
				return err
			}
		}
	}
	return nil
}

// fileState is a file and what became of it, as `lock` and `gen` tell it.
type fileState struct {
	File  string `json:"file"`
	State string `json:"state"` // written | updated | unchanged
}

func (o *LockOptions) log(line string) { fmt.Fprintln(o.Err, "  "+line) }

func lock(ctx context.Context, o *LockOptions) error {
	done := []fileState{}
	err := each(o.Dirs, func(dir, abs string, a action.Action) error {
		files, err := localrun.Builder().Lock(ctx, local.LockOrder{Action: a, Dir: abs, Upgrade: o.Upgrade, Log: o.log})
		if err != nil {
			var e *local.Error
			if errors.As(err, &e) && e.Kind == "network" {
				return fmt.Errorf("lock %s: %w\n%s is as it was", dir, err, dir)
			}
			return fmt.Errorf("lock %s: %w", dir, err)
		}
		if len(files) == 0 {
			fmt.Fprintf(o.Err, "%s has no dependencies: there is nothing to lock\n", dir)
		}
		for _, f := range files {
			done = append(done, fileState{filepath.Join(dir, f.Name), f.State})
		}
		return nil
	})
	if err != nil {
		return err
	}
	return printStates(o.Factory, done)
}

func printStates(f *factory.Factory, done []fileState) error {
	raw, err := json.Marshal(map[string]any{"items": done})
	if err != nil {
		return err
	}
	var names []string
	for _, d := range done {
		names = append(names, d.File)
	}
	return f.Print(raw, names, func(w io.Writer) {
		for _, d := range done {
			fmt.Fprintf(w, "%s: %s\n", d.File, d.State)
		}
	})
}
