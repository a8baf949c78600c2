package apply

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/pelton-run/pelton/platform/cli/factory"
	"github.com/pelton-run/pelton/platform/cli/workflow"
	"github.com/pelton-run/pelton/platform/sdk"
)

type document struct {
	file, name string
	text       []byte
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

// find reads the workflow documents of a file or folder. All problems at once. A folder without
// any is an error unless none is allowed: its last workflow may have been deleted.
func find(path string, noneAllowed bool) ([]document, error) {
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
		if len(files) == 0 && !noneAllowed {
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
	if len(docs) == 0 && !noneAllowed {
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
