package action

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"

	"github.com/spf13/cobra"

	"github.com/pelton-run/pelton/functions/templates"
	"github.com/pelton-run/pelton/platform/cli/factory"
)

// NewOptions of `pelton action new`.
type NewOptions struct {
	*factory.Factory
	ID, Language, Dir string
	Source, Workflow  bool
}

var idPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{2,23}$`)

// NewCmdNew makes the command; runF replaces its work in tests.
func NewCmdNew(f *factory.Factory, runF func(context.Context, *NewOptions) error) *cobra.Command {
	o := &NewOptions{Factory: f}
	cmd := &cobra.Command{
		Use: "new NAME", Short: "Write a new action that works, with a test", Args: factory.ExactArgs("NAME"),
		Example: "  pelton action new greet --lang python3\n  pelton action new greet --lang nodejs --workflow\n  pelton action new ticker --lang go --source",
		RunE: func(cmd *cobra.Command, args []string) error {
			o.ID = args[0]
			if !idPattern.MatchString(o.ID) {
				return factory.Usage("%q is no name of an action: give 3 to 24 of a-z, 0-9, - and ., starting with a letter or digit", o.ID)
			}
			if err := factory.OneOf("lang", o.Language, templates.Languages...); err != nil {
				return err
			}
			if o.Source && o.Workflow {
				return factory.Usage("--workflow calls a processor by HTTP: leave out --source")
			}
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return create(o)
		},
	}
	cmd.Flags().StringVar(&o.Language, "lang", "python3", "python3, nodejs or go")
	cmd.Flags().StringVar(&o.Dir, "dir", "", "the workspace (default: the current folder)")
	cmd.Flags().BoolVar(&o.Source, "source", false, "a source, which starts runs, instead of a processor")
	cmd.Flags().BoolVar(&o.Workflow, "workflow", false, "also write a workflow that calls it by HTTP")
	return cmd
}

func create(o *NewOptions) error {
	values := templates.Values{ID: o.ID, Uses: "./actions/" + o.ID}
	var files []templates.File
	var err error
	if o.Source {
		files, err = templates.Source(o.Language, values)
	} else {
		files, err = templates.Action(o.Language, values)
	}
	if err != nil {
		return err
	}
	dir := filepath.Join(o.Dir, "actions", o.ID)
	if _, err := os.Lstat(dir); err == nil {
		return factory.Usage("%s is there already: choose another name, or delete it first", dir)
	}
	target := map[string][]byte{}
	for _, f := range files {
		target[filepath.Join(dir, filepath.FromSlash(f.Path))] = f.Data
	}
	if o.Workflow {
		file := filepath.Join(o.Dir, "workflows", values.Name()+".yaml")
		if _, err := os.Lstat(file); err == nil {
			return factory.Usage("%s is there already: leave out --workflow, or delete it first", file)
		}
		if target[file], err = templates.Workflow(values); err != nil {
			return err
		}
	}
	for path, data := range target {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, bytes.TrimLeft(data, "\n"), 0o644); err != nil {
			return err
		}
	}
	if o.Output == "name" {
		fmt.Fprintln(o.Out, dir)
		return nil
	}
	fmt.Fprintf(o.Out, "%s is written\n  pelton action check %s   what a scan would say\n  pelton dev %s   build and deploy on every save\n", dir, dir, dot(o.Dir))
	return nil
}

func dot(dir string) string {
	if dir == "" {
		return "."
	}
	return dir
}
