// Package action reads an action's metadata in both formats, pelton.dev/v1 and ryax.tech/v2.0,
// into one type, and checks the folder it lies in.
package action

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/pelton-run/pelton/functions/formats/doc"
	"github.com/pelton-run/pelton/functions/formats/problem"
)

// Item is one typed input or output.
type Item struct {
	Name       string          `json:"name"`
	Type       string          `json:"type"`
	Title      string          `json:"title,omitempty"`
	Help       string          `json:"help,omitempty"`
	Optional   bool            `json:"optional,omitempty"`
	Default    json.RawMessage `json:"default,omitempty"`
	EnumValues []string        `json:"enum_values,omitempty"`
	Accept     []string        `json:"accept,omitempty"`
	Schema     json.RawMessage `json:"schema,omitempty"`
}

// Test is one test of an action.
type Test struct {
	Name   string          `json:"name"`
	Inputs json.RawMessage `json:"inputs,omitempty"`
	Expect json.RawMessage `json:"expect,omitempty"`
	Error  json.RawMessage `json:"error,omitempty"`
}

// Action is the metadata of one action.
type Action struct {
	Format         string   `json:"format"`
	ID             string   `json:"id"`
	Version        string   `json:"version"`
	Kind           string   `json:"kind"`    // Source | Processor | Publisher
	Runtime        string   `json:"runtime"` // python3 | nodejs | go | container
	Title          string   `json:"title,omitempty"`
	Description    string   `json:"description,omitempty"`
	Logo           string   `json:"logo,omitempty"`
	Categories     []string `json:"categories,omitempty"`
	Inputs         []Item   `json:"inputs"`
	Outputs        []Item   `json:"outputs"`
	DynamicOutputs bool     `json:"dynamic_outputs,omitempty"`
	CPU            float64  `json:"cpu,omitempty"`
	MemoryBytes    int64    `json:"memory_bytes,omitempty"`
	TimeoutMillis  int64    `json:"timeout_ms,omitempty"`
	GPU            *GPU     `json:"gpu,omitempty"`
	Addons         Addons   `json:"addons,omitzero"`
	Effect         string   `json:"effect,omitempty"`
	Isolation      string   `json:"isolation,omitempty"`
	Concurrency    int      `json:"concurrency,omitempty"`
	Dependencies   []string `json:"dependencies,omitempty"` // system packages
	Tests          []Test   `json:"tests,omitempty"`
	Handler        string   `json:"handler"` // file in the folder
	Export         string   `json:"export"`
	Notes          []string `json:"notes,omitempty"` // what was ignored
}

// GPU is what an action asks for of graphics processors.
type GPU struct {
	Count           int     `json:"count"`
	Brand           string  `json:"brand,omitempty"`
	Model           string  `json:"model,omitempty"`
	MemoryBytes     int64   `json:"memory_bytes,omitempty"`
	ComputeFraction float64 `json:"compute_fraction,omitempty"` // of one processor, 0 to 1
}

// Addons are what an action asks for of a cluster (ryax.tech/v2.0).
type Addons struct {
	HTTPService *HTTPService `json:"http_service,omitempty"`
	Kubernetes  *Kubernetes  `json:"kubernetes,omitempty"`
}

// HTTPService is a route to a port that the action's own code listens on.
type HTTPService struct {
	Port            int    `json:"port"`
	EndpointPrefix  string `json:"endpoint_prefix,omitempty"`
	StripPathPrefix bool   `json:"strip_path_prefix,omitempty"`
}

// Kubernetes is what is put into the action's pods.
type Kubernetes struct {
	Labels             map[string]string `json:"labels,omitempty"`
	NodeSelector       map[string]string `json:"node_selector,omitempty"`
	Annotations        map[string]string `json:"annotations,omitempty"`
	ServiceAccountName string            `json:"service_account_name,omitempty"`
	RuntimeClassName   string            `json:"runtime_class_name,omitempty"`
}

// Label is id@version.
func (a Action) Label() string { return a.ID + "@" + a.Version }

// The metadata files, in the order in which they are looked for.
var Files = []string{"action.yaml", "ryax_metadata.yaml"}

// Types are the types of inputs and outputs.
var Types = []string{"string", "longstring", "password", "integer", "float", "boolean", "enum", "bytes", "json", "list", "file", "directory"}

var (
	idPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{2,23}$`)
	idAllowed = "give 3 to 24 of a-z, 0-9, - and ."
	nameOurs  = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_-]{0,63}$`)
	version   = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z.+_-]{0,31}$`)
)

// Find is the metadata file of a folder, "" without one.
func Find(fsys fs.FS, dir string) string {
	for _, name := range Files {
		if info, err := fs.Stat(fsys, path.Join(dir, name)); err == nil && info.Mode().IsRegular() {
			return name
		}
	}
	return ""
}

// Load reads and checks the action in a folder: metadata, handler, signature, logo. name is the
// folder's name in messages, which the id defaults to.
func Load(fsys fs.FS, dir, name string) (Action, problem.List) {
	file := Find(fsys, dir)
	if file == "" {
		return Action{}, problem.List{{File: name, Message: "there is no action.yaml", Remedy: "add one, or `pelton action new`"}}
	}
	shown := path.Join(name, file)
	data, err := fs.ReadFile(fsys, path.Join(dir, file))
	if err != nil {
		return Action{}, problem.List{{File: shown, Message: "cannot be read: " + err.Error()}}
	}
	a, problems := Parse(shown, data, path.Base(name))
	problems = append(problems, checkFolder(fsys, dir, name, &a)...)
	return a, problems
}

// Parse reads metadata. folder is what the id defaults to.
func Parse(file string, data []byte, folder string) (Action, problem.List) {
	r := &doc.Reader{File: file}
	root := doc.Parse(r, data)
	if root == nil {
		return Action{}, r.Problems
	}
	var a Action
	v := root.Need("apiVersion", "add apiVersion: pelton.dev/v1")
	switch text := v.Text(); {
	case v == nil:
	case text == "pelton.dev/v1":
		a.Format = text
		ours(root, &a, folder)
	case text == "ryax.tech/v2.0":
		a.Format = text
		ryax(root, &a)
	default:
		v.Wrong("give pelton.dev/v1 or ryax.tech/v2.0", "is %q, a format that is not known", text)
	}
	return a, r.Problems
}

// ours reads pelton.dev/v1.
func ours(root *doc.Node, a *Action, folder string) {
	a.Kind = root.Need("kind", "add kind: Processor").OneOf("Processor", "Source", "Publisher")
	root.Get("metadata")
	spec := root.Need("spec", "add spec: with runtime, inputs and outputs")
	root.Only()
	if !spec.Mapping() {
		return
	}
	a.Runtime = spec.Need("runtime", "give python3, nodejs, go or container").OneOf("python3", "nodejs", "go", "container")
	a.ID = folder
	if n := spec.Get("id"); n != nil {
		a.ID = n.Names(idPattern, idAllowed)
	} else if !idPattern.MatchString(folder) {
		spec.Wrong("add spec.id: "+idAllowed, "the folder's name %q cannot be the id", folder)
	}
	a.Version = "1.0"
	if n := spec.Get("version"); n != nil {
		a.Version = n.Names(version, "give a version such as 1.0")
	}
	a.Title, a.Description = spec.Get("title").Text(), spec.Get("description").Text()
	a.Logo = spec.Get("logo").Text()
	a.Categories = texts(spec.Get("categories"), 32)
	a.Inputs = items(spec.Get("inputs"), 256, false)
	a.Outputs = items(spec.Get("outputs"), 64, false)
	a.DynamicOutputs = spec.Get("dynamicOutputs").Bool()
	if a.DynamicOutputs && a.Kind != "Source" {
		spec.Get("dynamicOutputs").Wrong("leave it out", "is for sources only")
	}
	a.Effect = spec.Get("effect").OneOf("pure", "read", "write", "irreversible")
	a.Isolation = spec.Get("isolation").OneOf("fork", "reuse")
	if n := spec.Get("concurrency"); n != nil {
		a.Concurrency = n.Int(1, 1000)
	}
	if n := spec.Get("timeout"); n != nil {
		a.TimeoutMillis = int64(n.Duration() / time.Millisecond)
	}
	spec.Get("permissions")
	spec.Get("retry")
	if o := spec.Get("options"); o.Mapping() {
		a.Dependencies = texts(o.Get("apt"), 64)
		o.Only("apt")
	}
	resources(spec.Get("resources"), a)
	tests(spec.Get("tests"), a)
	spec.Only()
}

func resources(n *doc.Node, a *Action) {
	if !n.Mapping() {
		return
	}
	if c := n.Get("cpu"); c != nil {
		a.CPU = c.Float(0.1)
	}
	if m := n.Get("memory"); m != nil {
		if a.MemoryBytes = m.Bytes(); a.MemoryBytes != 0 && a.MemoryBytes < 32<<20 {
			m.Wrong("give at least 32M", "is %d bytes", a.MemoryBytes)
		}
	}
	if t := n.Get("time"); t != nil {
		a.TimeoutMillis = int64(t.Duration() / time.Millisecond)
	}
	gpu(n.Get("gpu"), a)
	n.Only()
}

// gpu reads a number of GPUs, or what kind is wanted.
func gpu(n *doc.Node, a *Action) {
	switch {
	case n == nil:
		return
	case n.Scalar():
		a.GPU = &GPU{Count: n.Int(0, 64)}
	default:
		a.GPU = &GPU{Count: 1, Brand: n.Get("brand").Text(), Model: n.Get("model").Text()}
		if c := n.Get("count"); c != nil {
			a.GPU.Count = c.Int(0, 64)
		}
		if m := n.Get("memory"); m != nil {
			a.GPU.MemoryBytes = m.Bytes()
		}
		if f := n.Get("compute_fraction"); f != nil {
			if a.GPU.ComputeFraction = f.Float(0); a.GPU.ComputeFraction > 1 {
				f.Wrong("give a fraction from 0 to 1", "is %g", a.GPU.ComputeFraction)
			}
		}
		n.Only()
	}
	if a.GPU.Count > 0 {
		a.Notes = append(a.Notes, "resources.gpu: a local process gets no GPU of its own; the action runs with what the machine shows it")
	}
}

func tests(n *doc.Node, a *Action) {
	if n == nil {
		return
	}
	for _, t := range n.Items() {
		if !t.Mapping() {
			continue
		}
		test := Test{Name: t.Need("name", "name the test").Text(), Inputs: t.Get("inputs").JSON(), Expect: t.Get("expect").JSON(), Error: t.Get("error").JSON()}
		if (test.Expect == nil) == (test.Error == nil) {
			t.Wrong("give expect: with outputs, or error: with kind and field", "a test wants either expect or error")
		}
		t.Only()
		a.Tests = append(a.Tests, test)
	}
}

func texts(n *doc.Node, limit int) []string {
	if n == nil {
		return nil
	}
	var out []string
	for _, x := range n.Items() {
		out = append(out, x.Text())
	}
	if len(out) > limit {
		n.Wrong(fmt.Sprintf("give at most %d", limit), "has %d elements", len(out))
	}
	return out
}

// items reads inputs or outputs; old uses the names of ryax.tech.
func items(n *doc.Node, limit int, old bool) []Item {
	if n == nil {
		return nil
	}
	title, deflt, enum := "title", "default", "enum"
	types := Types
	if old {
		title, deflt, enum = "human_name", "default_value", "enum_values"
		types = slices.DeleteFunc(slices.Clone(Types), func(t string) bool { return t == "json" || t == "list" })
	}
	var out []Item
	seen := map[string]bool{}
	all := n.Items()
	if len(all) > limit {
		n.Wrong(fmt.Sprintf("give at most %d", limit), "has %d elements", len(all))
	}
	for _, x := range all {
		if !x.Mapping() {
			continue
		}
		it := Item{Name: x.Need("name", "name it").Text()}
		if it.Name != "" && !old && !nameOurs.MatchString(it.Name) {
			x.Get("name").Wrong("give letters, digits, - and _, a letter first", "is %q", it.Name)
		}
		if seen[it.Name] && it.Name != "" {
			x.Wrong("rename one of them", "the name %q is given twice", it.Name)
		}
		seen[it.Name] = true
		if t := x.Need("type", "give one of "+strings.Join(types, ", ")); t != nil {
			it.Type = t.OneOf(types...)
		}
		it.Title, it.Help = x.Get(title).Text(), x.Get("help").Text()
		it.Optional = x.Get("optional").Bool()
		it.Default = x.Get(deflt).JSON()
		it.EnumValues = texts(x.Get(enum), 64)
		if it.Type == "enum" && len(it.EnumValues) == 0 {
			x.Wrong("add "+enum+": [a, b]", "an enum wants its values")
		}
		if it.Default != nil {
			if message := CheckValue(it, it.Default); message != "" {
				x.Get(deflt).Wrong("give a value of the type "+it.Type, "%s", message)
			}
		}
		if !old {
			it.Accept = texts(x.Get("accept"), 32)
			it.Schema = x.Get("schema").JSON()
		}
		x.Only()
		out = append(out, it)
	}
	return out
}

// CheckValue tells what is wrong with a JSON value for an item, "" when nothing is.
func CheckValue(it Item, raw json.RawMessage) string {
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		return "is not JSON"
	}
	ok := true
	switch it.Type {
	case "string", "longstring", "password", "bytes":
		_, ok = v.(string)
	case "integer":
		f, is := v.(float64)
		ok = is && f == float64(int64(f))
	case "float":
		_, ok = v.(float64)
	case "boolean":
		_, ok = v.(bool)
	case "enum":
		s, is := v.(string)
		if ok = is && slices.Contains(it.EnumValues, s); !ok {
			return fmt.Sprintf("is %s and not one of %s", raw, strings.Join(it.EnumValues, ", "))
		}
	case "list":
		_, ok = v.([]any)
	case "file", "directory":
		switch x := v.(type) {
		case map[string]any:
			_, f := x["$file"]
			_, d := x["$dir"]
			ok = f || d
		default:
			ok = false
		}
	}
	if !ok {
		return fmt.Sprintf("is %s, which is no %s", shorten(raw), it.Type)
	}
	return ""
}

func shorten(raw []byte) string {
	if len(raw) > 60 {
		return string(raw[:60]) + "…"
	}
	return string(raw)
}

// Items reads a list of typed inputs of a workflow.
func Items(n *doc.Node) []Item { return items(n, 256, false) }
