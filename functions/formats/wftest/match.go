package wftest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
)

// Difference is one place where a value is not as expected.
type Difference struct {
	Path     string // "report", "rows[2].n"
	Expected string // JSON, or words
	Got      string // JSON; "nothing" where there is no value
}

// Matcher compares values with what is expected of them.
type Matcher struct {
	// Files are the values that paths beside the test stand for.
	Files map[string]json.RawMessage
	// Read gives the content of a file value, for expectations that look into it.
	Read func(file map[string]any) ([]byte, error)
}

// Match tells where got departs from want. `exists` is met by every value but null;
// {matches: regex} by a text, a number or a file whose content matches; a mapping by one that has
// at least the same fields; a list by one of the same length; a path beside the test by a file
// with the same content; everything else by an equal value. null is met by null and by nothing.
// path names the value in what is told; got is nil where there is none.
func (m Matcher) Match(path string, want, got json.RawMessage) []Difference {
	w, err := decode(want)
	if err != nil {
		return []Difference{{path, string(want), string(got)}}
	}
	g, err := decode(got)
	if err != nil {
		return []Difference{{path, string(want), string(got)}}
	}
	return m.match(path, w, g, got != nil)
}

func decode(raw json.RawMessage) (any, error) {
	if raw == nil {
		return nil, nil
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	return v, d.Decode(&v)
}

// matches reads {matches: regex}.
func matches(v any) (pattern string, is bool) {
	o, ok := v.(map[string]any)
	if !ok || len(o) != 1 {
		return "", false
	}
	pattern, is = o["matches"].(string)
	return pattern, is
}

func (m Matcher) match(path string, want, got any, there bool) []Difference {
	differs := []Difference{{path, show(want, true), show(got, there)}}
	if pattern, is := matches(want); is {
		return m.matchText(path, pattern, got, there)
	}
	switch w := want.(type) {
	case nil:
		if got != nil {
			return differs
		}
		return nil
	case string:
		if w == "exists" {
			if got == nil {
				return []Difference{{path, "a value", show(got, there)}}
			}
			return nil
		}
		if file, is := got.(map[string]any); is && IsPath(w) && file["$file"] != nil {
			return m.matchFile(path, w, file)
		}
	case map[string]any:
		g, is := got.(map[string]any)
		if !is {
			return differs
		}
		var out []Difference
		for _, k := range slices.Sorted(maps.Keys(w)) {
			v, has := g[k]
			if digest := g["$file"]; k == "digest" && !has && digest != nil {
				v, has = digest, true
			}
			out = append(out, m.match(join(path, k), w[k], v, has)...)
		}
		return out
	case []any:
		g, is := got.([]any)
		if !is {
			return differs
		}
		if len(w) != len(g) {
			return []Difference{{path, fmt.Sprintf("a list of %d: %s", len(w), show(w, true)), fmt.Sprintf("a list of %d: %s", len(g), show(g, true))}}
		}
		var out []Difference
		for i := range w {
			out = append(out, m.match(path+"["+strconv.Itoa(i)+"]", w[i], g[i], true)...)
		}
		return out
	}
	if !same(want, got) {
		return differs
	}
	return nil
}

func join(path, k string) string {
	if path == "" {
		return k
	}
	return path + "." + k
}

func same(a, b any) bool {
	x, is := a.(json.Number)
	y, also := b.(json.Number)
	if !is || !also {
		return reflect.DeepEqual(a, b)
	}
	if x == y {
		return true
	}
	f, err := x.Float64()
	g, err2 := y.Float64()
	return err == nil && err2 == nil && f == g
}

func (m Matcher) matchText(path, pattern string, got any, there bool) []Difference {
	expected := "a text that matches " + pattern
	re, err := regexp.Compile(pattern)
	if err != nil {
		return []Difference{{path, expected, err.Error()}}
	}
	switch g := got.(type) {
	case string:
		if re.MatchString(g) {
			return nil
		}
	case json.Number:
		if re.MatchString(g.String()) {
			return nil
		}
	case map[string]any:
		if g["$file"] == nil || m.Read == nil {
			break
		}
		content, err := m.Read(g)
		switch {
		case err != nil:
			return []Difference{{path, "a file that matches " + pattern, err.Error()}}
		case re.Match(content):
			return nil
		}
		return []Difference{{path, "a file that matches " + pattern, shorten(strconv.Quote(string(content)))}}
	}
	return []Difference{{path, expected, show(got, there)}}
}

func (m Matcher) matchFile(path, want string, got map[string]any) []Difference {
	var file map[string]any
	if raw, ok := m.Files[want]; !ok || json.Unmarshal(raw, &file) != nil {
		return []Difference{{path, "the file " + want, "there is no such file beside the test"}}
	}
	if file["$file"] == got["$file"] {
		return nil
	}
	d := Difference{path, "the file " + want, show(got, true)}
	if m.Read != nil {
		a, err := m.Read(file)
		b, err2 := m.Read(got)
		if err == nil && err2 == nil {
			d.Expected, d.Got = lines(a, b)
		}
	}
	return []Difference{d}
}

// lines shows the first line in which two texts differ.
func lines(a, b []byte) (string, string) {
	x, y := bytes.Split(a, []byte("\n")), bytes.Split(b, []byte("\n"))
	i := 0
	for i < len(x) && i < len(y) && bytes.Equal(x[i], y[i]) {
		i++
	}
	line := func(l [][]byte) string {
		if i >= len(l) {
			return fmt.Sprintf("line %d: the end", i+1)
		}
		return fmt.Sprintf("line %d: %s", i+1, shorten(strconv.Quote(string(l[i]))))
	}
	return line(x), line(y)
}

// maxShown is how many bytes of a value are shown.
const maxShown = 2000

func shorten(s string) string {
	if len(s) <= maxShown {
		return s
	}
	return s[:maxShown] + "…"
}

func show(v any, there bool) string {
	if !there {
		return "nothing"
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err.Error()
	}
	return shorten(string(bytes.TrimSpace(b.Bytes())))
}
