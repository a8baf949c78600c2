// Package templates holds what `pelton action new` writes: one small action per language, each
// with a test in its metadata, and a workflow that calls it by HTTP.
package templates

import (
	"bytes"
	"embed"
	"fmt"
	"io/fs"
	"path"
	"sort"
	"strings"
	"text/template"
)

// Every file ends in .tmpl: a go.mod or a Go file would otherwise belong to this module.
//
//go:embed python3 source nodejs go workflow
var files embed.FS

// Languages that actions can be written in, as `runtime:` names them.
var Languages = []string{"python3", "nodejs", "go"}

// Values fill the templates.
type Values struct {
	ID   string // of the action or the workflow
	Uses string // what the step of the workflow uses, for example ./actions/greet
}

// Step is the id in a form that expressions reach: [a-z][a-z0-9_]*.
func (v Values) Step() string {
	s := strings.NewReplacer("-", "_", ".", "_").Replace(v.ID)
	if s != "" && s[0] >= '0' && s[0] <= '9' {
		s = "a" + s
	}
	return s
}

// Name is the id as the name of a workflow, which has no dots.
func (v Values) Name() string { return strings.ReplaceAll(v.ID, ".", "-") }

// Module is the id as the path of a Go module.
func (v Values) Module() string { return "actions/" + v.ID }

// File is one file to be written.
type File struct {
	Path string // relative, with slashes
	Data []byte
}

// Action is the files of a new processor in a language.
func Action(language string, v Values) ([]File, error) { return render(language, v) }

// Source is the files of a new source in a language.
func Source(language string, v Values) ([]File, error) { return render("source/"+language, v) }

// Workflow is the text of a workflow that calls one action.
func Workflow(v Values) ([]byte, error) {
	all, err := render("workflow", v)
	if err != nil {
		return nil, err
	}
	return all[0].Data, nil
}

func render(name string, v Values) ([]File, error) {
	var out []File
	err := fs.WalkDir(files, name, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := files.ReadFile(p)
		if err != nil {
			return err
		}
		// [[ ]]: the files themselves are full of ${ } and { }.
		t, err := template.New(path.Base(p)).Delims("[[", "]]").Parse(string(text))
		if err != nil {
			return err
		}
		var b bytes.Buffer
		if err := t.Execute(&b, v); err != nil {
			return err
		}
		out = append(out, File{strings.TrimSuffix(strings.TrimPrefix(p, name+"/"), ".tmpl"), b.Bytes()})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("template %s: %w", name, err)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Path < out[j].Path })
	return out, nil
}
