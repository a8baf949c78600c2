// Package doc reads YAML documents field by field with their positions, and collects every
// problem instead of stopping at the first.
package doc

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/pelton-run/pelton/functions/formats/problem"
)

// Reader collects the problems of one document.
type Reader struct {
	File     string
	Problems problem.List
}

// Node is one value of the document with its path.
type Node struct {
	r    *Reader
	n    *yaml.Node
	path string
	used map[string]bool
}

var yamlLine = regexp.MustCompile(`line (\d+): (.*)`)

// maxNodes bounds a document with its aliases unfolded: a hostile one cannot fill the memory.
const maxNodes = 200000

// Parse reads a document whose top is a mapping; nil with a problem otherwise.
func Parse(r *Reader, data []byte) *Node {
	var root yaml.Node
	if err := yaml.Unmarshal(data, &root); err != nil {
		p := problem.Problem{File: r.File, Message: "is not YAML: " + strings.TrimPrefix(err.Error(), "yaml: ")}
		if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
			p.Line, _ = strconv.Atoi(m[1])
			p.Message = "is not YAML: " + m[2]
			lines := strings.Split(string(data), "\n")
			for i := max(p.Line-2, 0); i < min(p.Line+1, len(lines)); i++ {
				if strings.Contains(lines[i], "${") && !strings.ContainsAny(lines[i], `"'`) {
					p.Line, p.Remedy = i+1, "quote this value: a value with ${ needs quotes"
				}
			}
		}
		r.Problems = append(r.Problems, p)
		return nil
	}
	if len(root.Content) == 0 {
		r.Problems = append(r.Problems, problem.Problem{File: r.File, Line: 1, Message: "is empty", Remedy: "start with apiVersion: pelton.dev/v1"})
		return nil
	}
	count := 0
	if !bounded(root.Content[0], &count) {
		r.Problems = append(r.Problems, problem.Problem{File: r.File, Line: 1, Message: "is too large, or its aliases unfold without end", Remedy: "write less"})
		return nil
	}
	if root.Content[0].Kind != yaml.MappingNode {
		r.Problems = append(r.Problems, problem.Problem{File: r.File, Line: 1, Message: "is not a mapping", Remedy: "start with apiVersion: pelton.dev/v1"})
		return nil
	}
	return &Node{r: r, n: root.Content[0]}
}

func bounded(n *yaml.Node, count *int) bool {
	if *count++; *count > maxNodes {
		return false
	}
	if n.Alias != nil {
		return bounded(n.Alias, count)
	}
	for _, c := range n.Content {
		if !bounded(c, count) {
			return false
		}
	}
	return true
}

// Wrong adds a problem at this place.
func (n *Node) Wrong(remedy, format string, args ...any) {
	n.r.Problems = append(n.r.Problems, problem.Problem{File: n.r.File, Line: n.n.Line, Column: n.n.Column, Path: n.path, Message: fmt.Sprintf(format, args...), Remedy: remedy})
}

// Warn adds a warning at this place.
func (n *Node) Warn(format string, args ...any) {
	n.r.Problems = append(n.r.Problems, problem.Problem{File: n.r.File, Line: n.n.Line, Column: n.n.Column, Path: n.path, Message: fmt.Sprintf(format, args...), Warning: true})
}

// Line and Column of the value.
func (n *Node) Line() int { return n.n.Line }

// Column of the value.
func (n *Node) Column() int { return n.n.Column }

// Path of the value.
func (n *Node) Path() string { return n.path }

func (n *Node) resolve() *yaml.Node {
	x := n.n
	for x.Kind == yaml.AliasNode {
		x = x.Alias
	}
	return x
}

// Get is a field of a mapping, nil when it is absent or null.
func (n *Node) Get(name string) *Node {
	if n == nil {
		return nil
	}
	if n.used == nil {
		n.used = map[string]bool{}
	}
	n.used[name] = true
	x := n.resolve()
	if x.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(x.Content); i += 2 {
		if x.Content[i].Value == name {
			if x.Content[i+1].Tag == "!!null" {
				return nil
			}
			return &Node{r: n.r, n: x.Content[i+1], path: join(n.path, name)}
		}
	}
	return nil
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// Need is a field that has to be there.
func (n *Node) Need(name, remedy string) *Node {
	f := n.Get(name)
	if f == nil && n != nil {
		n.Wrong(remedy, "%s is missing", name)
	}
	return f
}

// Mapping says whether the value is a mapping, with a problem if not.
func (n *Node) Mapping() bool {
	if n == nil {
		return false
	}
	if n.resolve().Kind != yaml.MappingNode {
		n.Wrong("write fields, one a line: name: value", "is no mapping")
		return false
	}
	return true
}

// Only makes problems of every field that was not asked for with Get. known are further names
// for proposals.
func (n *Node) Only(known ...string) {
	if n == nil {
		return
	}
	x := n.resolve()
	if x.Kind != yaml.MappingNode {
		return
	}
	names := append([]string(nil), known...)
	for k := range n.used {
		names = append(names, k)
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(x.Content); i += 2 {
		k := x.Content[i]
		if seen[k.Value] {
			n.r.Problems = append(n.r.Problems, problem.Problem{File: n.r.File, Line: k.Line, Column: k.Column, Path: join(n.path, k.Value), Message: "is given twice", Remedy: "keep one of them"})
		}
		seen[k.Value] = true
		if n.used[k.Value] {
			continue
		}
		p := problem.Problem{File: n.r.File, Line: k.Line, Column: k.Column, Path: join(n.path, k.Value), Message: "is no field here"}
		if near := Nearest(k.Value, names); near != "" {
			p.Remedy = "did you mean " + near + "?"
		}
		n.r.Problems = append(n.r.Problems, p)
	}
}

// Nearest is the candidate at most two edits away from a misspelt name, "" when none is.
func Nearest(name string, candidates []string) string {
	best, bestD := "", 3
	for _, c := range candidates {
		if d := distance(strings.ToLower(name), strings.ToLower(c)); d < bestD && d*2 <= max(len(name), 2) {
			best, bestD = c, d
		}
	}
	return best
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			diagonal, row[j] = row[j], min(row[j]+1, row[j-1]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}

// Keys are a mapping's names in their order, with the nodes of the values.
func (n *Node) Keys() (names []string, values []*Node) {
	if n == nil {
		return nil, nil
	}
	x := n.resolve()
	if x.Kind != yaml.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(x.Content); i += 2 {
		names = append(names, x.Content[i].Value)
		values = append(values, &Node{r: n.r, n: x.Content[i+1], path: join(n.path, x.Content[i].Value)})
	}
	return names, values
}

// Items are the elements of a list.
func (n *Node) Items() []*Node {
	if n == nil {
		return nil
	}
	x := n.resolve()
	if x.Kind != yaml.SequenceNode {
		n.Wrong("write a list: one element a line behind -", "is no list")
		return nil
	}
	out := make([]*Node, 0, len(x.Content))
	for i, c := range x.Content {
		out = append(out, &Node{r: n.r, n: c, path: fmt.Sprintf("%s[%d]", n.path, i)})
	}
	return out
}

// Text is a scalar as written in the source: 1.10 stays "1.10".
func (n *Node) Text() string {
	if n == nil {
		return ""
	}
	x := n.resolve()
	if x.Kind != yaml.ScalarNode {
		n.Wrong("give a text", "is no text")
		return ""
	}
	return x.Value
}

// Bool is a boolean.
func (n *Node) Bool() bool {
	if n == nil {
		return false
	}
	x := n.resolve()
	if x.Tag != "!!bool" {
		n.Wrong("give true or false", "is %q", x.Value)
	}
	return strings.EqualFold(x.Value, "true")
}

// Int is a whole number between lo and hi.
func (n *Node) Int(lo, hi int) int {
	if n == nil {
		return 0
	}
	x := n.resolve()
	i, err := strconv.Atoi(x.Value)
	if err != nil || i < lo || i > hi {
		n.Wrong(fmt.Sprintf("give a whole number from %d to %d", lo, hi), "is %q", x.Value)
		return 0
	}
	return i
}

// Float is a number of at least lo.
func (n *Node) Float(lo float64) float64 {
	if n == nil {
		return 0
	}
	f, err := strconv.ParseFloat(n.resolve().Value, 64)
	if err != nil || f < lo || math.IsInf(f, 0) {
		n.Wrong(fmt.Sprintf("give a number of at least %g", lo), "is %q", n.resolve().Value)
		return 0
	}
	return f
}

var durationPart = regexp.MustCompile(`^(\d+(?:\.\d+)?)(ms|s|m|h|d)`)

// Duration is 500ms, 30s, 5m, 2h, 1d, 1h30m, or a number of seconds.
func (n *Node) Duration() time.Duration {
	if n == nil {
		return 0
	}
	d, ok := ParseDuration(n.resolve().Value)
	if !ok {
		n.Wrong("give a duration such as 500ms, 30s, 5m, 2h or 1d", "is %q", strings.TrimSpace(n.resolve().Value))
	}
	return d
}

// ParseDuration reads the text of a duration as Node.Duration does, and tells whether it is one and above zero.
func ParseDuration(text string) (time.Duration, bool) {
	text = strings.TrimSpace(text)
	if f, err := strconv.ParseFloat(text, 64); err == nil && f > 0 && f < 1e9 {
		return time.Duration(f * float64(time.Second)), true
	}
	var total time.Duration
	for text != "" {
		m := durationPart.FindStringSubmatch(text)
		if m == nil {
			return 0, false
		}
		f, _ := strconv.ParseFloat(m[1], 64)
		unit := map[string]time.Duration{"ms": time.Millisecond, "s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour}[m[2]]
		total += time.Duration(f * float64(unit))
		text = text[len(m[0]):]
	}
	return total, total > 0
}

var sizePart = regexp.MustCompile(`^(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?$`)

// Bytes is a number of bytes: 1048576, 512M, 2Gi.
func (n *Node) Bytes() int64 {
	if n == nil {
		return 0
	}
	size, ok := ParseBytes(n.resolve().Value)
	if !ok {
		n.Wrong("give a size such as 512M or 2G", "is %q", n.resolve().Value)
	}
	return size
}

// ParseBytes reads the text of a size as Node.Bytes does, and tells whether it is one.
func ParseBytes(text string) (int64, bool) {
	m := sizePart.FindStringSubmatch(strings.TrimSpace(text))
	if m == nil {
		return 0, false
	}
	f, _ := strconv.ParseFloat(m[1], 64)
	return int64(f * float64(map[string]int64{"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}[m[2]])), true
}

// JSON is the value as JSON text; whole numbers stay whole.
func (n *Node) JSON() json.RawMessage {
	if n == nil {
		return nil
	}
	v, err := plain(n.resolve())
	if err != nil {
		n.Wrong("give strings, numbers, booleans, lists and mappings", "%s", err)
		return nil
	}
	data, err := json.Marshal(v)
	if err != nil {
		n.Wrong("give strings, numbers, booleans, lists and mappings", "cannot be written as JSON")
		return nil
	}
	return data
}

func plain(n *yaml.Node) (any, error) {
	switch n.Kind {
	case yaml.AliasNode:
		return plain(n.Alias)
	case yaml.SequenceNode:
		out := make([]any, 0, len(n.Content))
		for _, c := range n.Content {
			v, err := plain(c)
			if err != nil {
				return nil, err
			}
			out = append(out, v)
		}
		return out, nil
	case yaml.MappingNode:
		out := map[string]any{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			v, err := plain(n.Content[i+1])
			if err != nil {
				return nil, err
			}
			out[n.Content[i].Value] = v
		}
		return out, nil
	}
	switch n.Tag {
	case "!!null":
		return nil, nil
	case "!!bool":
		return strings.EqualFold(n.Value, "true"), nil
	case "!!int":
		if i, err := strconv.ParseInt(strings.ReplaceAll(n.Value, "_", ""), 0, 64); err == nil {
			return i, nil
		}
		return n.Value, nil
	case "!!float":
		f, err := strconv.ParseFloat(n.Value, 64)
		if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			return nil, fmt.Errorf("holds %s, which is no finite number", n.Value)
		}
		return f, nil
	}
	return n.Value, nil
}

// IsText tells whether the value is a plain string.
func (n *Node) IsText() bool {
	x := n.resolve()
	return x.Kind == yaml.ScalarNode && x.Tag == "!!str"
}

// Scalar tells whether the value is a scalar of any type.
func (n *Node) Scalar() bool { return n.resolve().Kind == yaml.ScalarNode }

// Names checks that a name matches, with a problem if not.
func (n *Node) Names(re *regexp.Regexp, what string) string {
	s := n.Text()
	if n != nil && !re.MatchString(s) {
		n.Wrong(what, "is %q", s)
	}
	return s
}

// OneOf checks that a text is one of the given.
func (n *Node) OneOf(options ...string) string {
	s := n.Text()
	if n == nil {
		return ""
	}
	for _, o := range options {
		if s == o {
			return s
		}
	}
	remedy := "give one of " + strings.Join(options, ", ")
	if near := Nearest(s, options); near != "" {
		remedy = "did you mean " + near + "?"
	}
	n.Wrong(remedy, "is %q", s)
	return ""
}
