// Package apply is `pelton apply`: it saves workflow files as new revisions and deploys them.
package apply

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/pelton-run/pelton/platform/cli/factory"
	"github.com/pelton-run/pelton/platform/cli/workflow"
	"github.com/pelton-run/pelton/platform/sdk"
)

// Options of `pelton apply`.
type Options struct {
	*factory.Factory
	Path     string
	Plan     bool
	NoDeploy bool
	Timeout  time.Duration
}

// NewCmd makes the command.
func NewCmd(f *factory.Factory) *cobra.Command { return NewCmdApply(f, nil) }

// NewCmdApply makes the command; runF replaces its work in tests.
func NewCmdApply(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Factory: f}
	cmd := &cobra.Command{
		Use: "apply DIR|FILE", Short: "Save workflow files as new revisions and deploy them", Args: factory.ExactArgs("DIR|FILE"),
		Long: `Checks every workflow of a file or of a folder (its workflows/*.yaml, or its own *.yaml), saves
each as a new revision and deploys it. When one has an error, nothing at all is saved.

Steps name actions of the library (uses: id, id@1.0). For workflows that use actions of their
own repository (uses: ./path), add that repository: pelton repo add.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.Path = args[0]; o.Timeout <= 0 {
				return factory.Usage("--timeout %s is not above 0", o.Timeout)
			}
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return apply(cmd.Context(), o)
		},
	}
	f.AddProject(cmd)
	cmd.Flags().BoolVar(&o.Plan, "plan", false, "only say what would be done")
	cmd.Flags().BoolVar(&o.NoDeploy, "no-deploy", false, "save the revisions without making them live")
	cmd.Flags().DurationVar(&o.Timeout, "timeout", 5*time.Minute, "wait at most this long for each deployment")
	return cmd
}

type document struct {
	file, name string
	text       []byte
}

func apply(ctx context.Context, o *Options) error {
	docs, err := find(o.Path)
	if err != nil {
		return err
	}
	c, err := o.Client(ctx)
	if err != nil {
		return err
	}
	if err := checkAll(ctx, o, c, docs); err != nil {
		return err
	}
	for _, d := range docs {
		var now sdk.Workflow
		_, err := c.Get(ctx, c.Path("studio", "workflows", d.name), &now)
		isNew := factory.ExitCode(err) == factory.ExitNotFound
		if err != nil && !isNew {
			return err
		}
		if o.Plan {
			verb := fmt.Sprintf("new revision after %d", now.Revision)
			if isNew {
				verb = "new workflow"
			}
			fmt.Fprintf(o.Out, "%s: %s (%s)\n", d.name, verb, d.file)
			continue
		}
		var saved sdk.Workflow
		body, err := c.Raw(ctx, "PUT", c.Path("studio", "workflows", d.name), "application/yaml", d.text)
		if err != nil {
			return fmt.Errorf("save %s: %w", d.file, err)
		}
		if err := json.Unmarshal(body, &saved); err != nil {
			return fmt.Errorf("read the server's answer: %w", err)
		}
		if o.NoDeploy {
			if err := o.Print(body, []string{d.name}, func(w io.Writer) {
				fmt.Fprintf(w, "workflow %s revision %d: saved\n", d.name, saved.Revision)
			}); err != nil {
				return err
			}
			continue
		}
		if err := workflow.Deploy(ctx, &workflow.LiveOptions{Factory: o.Factory, Verb: "deploy", Name: d.name, Revision: saved.Revision, Wait: true, Timeout: o.Timeout}, c); err != nil {
			return err
		}
	}
	return nil
}

func checkAll(ctx context.Context, o *Options, c *sdk.Client, docs []document) error {
	errs := 0
	for _, d := range docs {
		found, err := workflow.Check(ctx, c, d.text)
		if err != nil {
			return fmt.Errorf("check %s: %w", d.file, err)
		}
		for _, p := range found {
			p.File = d.file
			fmt.Fprintln(o.Err, factory.Place(p))
			if !p.IsWarning() {
				errs++
			}
		}
	}
	if errs > 0 {
		return fmt.Errorf("%s: nothing was saved", factory.Count(errs, "error"))
	}
	return nil
}

// find reads the workflow documents of a file or folder. All problems at once.
func find(path string) ([]document, error) {
	files := []string{path}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, factory.Usage("there is no file or folder %s", path)
	}
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		if files, err = yamlFiles(path); err != nil {
			return nil, err
		}
		if len(files) == 0 {
			return nil, factory.Usage("%s holds no workflows/*.yaml and no *.yaml", path)
		}
	}
	var docs []document
	var problems []string
	seen := map[string]string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		var head struct {
			Kind     string
			Metadata struct{ Name string }
		}
		err = yaml.Unmarshal(text, &head)
		switch {
		case err != nil:
			problems = append(problems, fmt.Sprintf("%s: %s", file, strings.TrimPrefix(err.Error(), "yaml: ")))
		case head.Kind != "Workflow" && info.IsDir():
			continue // tests and the like
		case head.Kind != "Workflow":
			problems = append(problems, fmt.Sprintf("%s: its kind is %q: apply takes kind: Workflow", file, head.Kind))
		case head.Metadata.Name == "":
			problems = append(problems, fmt.Sprintf("%s: metadata.name is missing", file))
		case seen[head.Metadata.Name] != "":
			problems = append(problems, fmt.Sprintf("%s: workflow %s is in %s already", file, head.Metadata.Name, seen[head.Metadata.Name]))
		default:
			seen[head.Metadata.Name] = file
			docs = append(docs, document{file, head.Metadata.Name, text})
		}
	}
	if len(problems) > 0 {
		return nil, errors.New(strings.Join(problems, "\n"))
	}
	if len(docs) == 0 {
		return nil, factory.Usage("%s holds no document of kind: Workflow", path)
	}
	return docs, nil
}

func yamlFiles(dir string) ([]string, error) {
	if info, err := os.Stat(filepath.Join(dir, "workflows")); err == nil && info.IsDir() {
		dir = filepath.Join(dir, "workflows")
	}
	var files []string
	for _, pattern := range []string{"*.yaml", "*.yml"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return nil, err
		}
		files = append(files, found...)
	}
	sort.Strings(files)
	return files, nil
}
