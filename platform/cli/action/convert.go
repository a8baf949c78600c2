package action

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/pelton-run/pelton/functions/formats/action"
	"github.com/pelton-run/pelton/platform/cli/factory"
)

// ConvertOptions of `pelton action convert`.
type ConvertOptions struct {
	*factory.Factory
	Dir   string
	Write bool
}

const (
	oldFile = "ryax_metadata.yaml"
	newFile = "action.yaml"
)

// NewCmdConvert makes the command; runF replaces its work in tests.
func NewCmdConvert(f *factory.Factory, runF func(*ConvertOptions) error) *cobra.Command {
	o := &ConvertOptions{Factory: f}
	cmd := &cobra.Command{
		Use: "convert DIR", Short: "Rewrite ryax_metadata.yaml as action.yaml", Args: factory.ExactArgs("DIR"),
		Example: "  pelton action convert actions/old\n  pelton action convert actions/old --write",
		Long: `Prints the action.yaml that says what the folder's ryax_metadata.yaml says; with --write it is
written, and the old file is kept as ryax_metadata.yaml.old. The code stays as it is. What the new
format does not hold is told.`,
		RunE: func(_ *cobra.Command, args []string) error {
			if o.Dir = args[0]; runF != nil {
				return runF(o)
			}
			return convert(o)
		},
	}
	cmd.Flags().BoolVar(&o.Write, "write", false, "write it, and rename the old file")
	return cmd
}

func convert(o *ConvertOptions) error {
	old, file := filepath.Join(o.Dir, oldFile), filepath.Join(o.Dir, newFile)
	data, err := os.ReadFile(old)
	if errors.Is(err, fs.ErrNotExist) {
		return factory.Usage("there is no %s: nothing to convert", old)
	}
	if err != nil {
		return err
	}
	if _, err := os.Lstat(file); err == nil && o.Write {
		return factory.Usage("%s is there already: delete it, or convert without --write", file)
	}
	abs, err := filepath.Abs(o.Dir)
	if err != nil {
		return err
	}
	a, problems := action.Parse(old, data, filepath.Base(abs))
	for _, p := range problems {
		fmt.Fprintln(o.Err, p.Error())
	}
	if problems.Errors() {
		return fmt.Errorf("%s has errors, mend them first: %w", old, factory.ErrSilent)
	}
	text, err := render(a)
	if err != nil {
		return err
	}
	// The new file must be one that a scan takes and that says the same.
	again, problems := action.Parse(file, text, filepath.Base(abs))
	for _, p := range problems {
		fmt.Fprintln(o.Err, p.Error())
	}
	if problems.Errors() {
		return fmt.Errorf("%s uses what the new format refuses: %w", old, factory.ErrSilent)
	}
	if d := difference(a, again); d != "" {
		return fmt.Errorf("%s cannot be said in the new format: %s", old, d)
	}
	for _, n := range a.Notes {
		fmt.Fprintf(o.Err, "left out: %s\n", n)
	}
	for _, lost := range unsaid(data) {
		fmt.Fprintf(o.Err, "left out: spec.%s has no counterpart in action.yaml\n", lost)
	}
	if !o.Write {
		_, err := o.Out.Write(text)
		return err
	}
	if err := os.WriteFile(file, text, 0o644); err != nil {
		return err
	}
	if err := os.Rename(old, old+".old"); err != nil {
		return err
	}
	fmt.Fprintf(o.Out, "%s is written; the old file is %s.old\n", file, old)
	return nil
}

// unsaid names the fields of the old format that the domain type does not hold.
func unsaid(data []byte) []string {
	var m struct{ Spec map[string]yaml.Node }
	if yaml.Unmarshal(data, &m) != nil {
		return nil // Parse has told it
	}
	var out []string
	for _, name := range []string{"addons"} {
		if _, ok := m.Spec[name]; ok {
			out = append(out, name)
		}
	}
	return out
}

func difference(a, b action.Action) string {
	plain := func(x action.Action) map[string]json.RawMessage {
		x.Format, x.Notes = "", nil
		var m map[string]json.RawMessage
		_ = json.Unmarshal([]byte(x.JSON()), &m) // it was just made
		return m
	}
	was, is := plain(a), plain(b)
	for _, m := range []map[string]json.RawMessage{was, is} {
		for k := range m {
			if !bytes.Equal(was[k], is[k]) {
				return fmt.Sprintf("%s was %s and would be %s", k, was[k], is[k])
			}
		}
	}
	return ""
}

type ordered struct{ *yaml.Node }

func (o ordered) set(name string, value any) error {
	var n yaml.Node
	if err := n.Encode(value); err != nil {
		return err
	}
	o.Content = append(o.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: name}, &n)
	return nil
}

func mapping() ordered { return ordered{&yaml.Node{Kind: yaml.MappingNode}} }

// render writes an action in the form pelton.dev/v1; what is a default is left out.
func render(a action.Action) ([]byte, error) {
	spec := mapping()
	put := func(name string, value any, present bool) error {
		if !present {
			return nil
		}
		return spec.set(name, value)
	}
	inputs, err := itemNodes(a.Inputs)
	if err != nil {
		return nil, err
	}
	outputs, err := itemNodes(a.Outputs)
	if err != nil {
		return nil, err
	}
	resources := mapping()
	err = errors.Join(
		put("id", a.ID, true), put("version", &yaml.Node{Kind: yaml.ScalarNode, Style: yaml.DoubleQuotedStyle, Value: a.Version}, true),
		put("title", a.Title, a.Title != ""), put("description", a.Description, a.Description != ""),
		put("logo", a.Logo, a.Logo != ""), put("categories", a.Categories, len(a.Categories) > 0),
		put("runtime", a.Runtime, true),
		put("inputs", inputs, len(inputs) > 0), put("outputs", outputs, len(outputs) > 0),
		put("dynamicOutputs", true, a.DynamicOutputs),
		put("timeout", (time.Duration(a.TimeoutMillis)*time.Millisecond).String(), a.TimeoutMillis > 0),
		put("options", map[string]any{"apt": a.Dependencies}, len(a.Dependencies) > 0),
	)
	if a.CPU > 0 {
		err = errors.Join(err, resources.set("cpu", a.CPU))
	}
	if a.MemoryBytes > 0 {
		err = errors.Join(err, resources.set("memory", a.MemoryBytes))
	}
	err = errors.Join(err, put("resources", resources.Node, len(resources.Content) > 0))
	root := mapping()
	err = errors.Join(err, root.set("apiVersion", "pelton.dev/v1"), root.set("kind", a.Kind), root.set("spec", spec.Node))
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := errors.Join(enc.Encode(root.Node), enc.Close()); err != nil {
		return nil, err
	}
	return []byte(strings.TrimLeft(b.String(), "\n")), nil
}

func itemNodes(items []action.Item) ([]*yaml.Node, error) {
	var out []*yaml.Node
	for _, it := range items {
		m := mapping()
		m.Style = yaml.FlowStyle
		err := errors.Join(m.set("name", it.Name), m.set("type", it.Type))
		if it.Title != "" {
			err = errors.Join(err, m.set("title", it.Title))
		}
		if it.Help != "" {
			err = errors.Join(err, m.set("help", it.Help))
		}
		if len(it.EnumValues) > 0 {
			err = errors.Join(err, m.set("enum", it.EnumValues))
		}
		if it.Optional {
			err = errors.Join(err, m.set("optional", true))
		}
		if it.Default != nil {
			// JSON is YAML; the node keeps numbers as they are written.
			var n yaml.Node
			if err := yaml.Unmarshal(it.Default, &n); err != nil {
				return nil, err
			}
			err = errors.Join(err, m.set("default", n.Content[0]))
		}
		if err != nil {
			return nil, err
		}
		out = append(out, m.Node)
	}
	return out, nil
}
