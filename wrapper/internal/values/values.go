// Package values checks values against the types of an action's metadata, on the way in and out.
package values

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/pelton-run/pelton/wrapper/internal/bundle"
)

// Error names the field at fault.
type Error struct {
	Field   string
	Message string
}

func (e *Error) Error() string { return e.Field + ": " + e.Message }

// Inputs checks a start's inputs: defaults fill what is absent; unknown names are errors.
func Inputs(items []bundle.Item, in map[string][]byte) *Error {
	for name := range in {
		if !has(items, name) {
			return &Error{name, "is no input of this action; its inputs are " + names(items)}
		}
	}
	for _, it := range items {
		raw, ok := in[it.Name]
		if !ok || isNull(raw) {
			switch {
			case len(it.Default) > 0 && !isNull(it.Default):
				in[it.Name] = it.Default
			case it.Optional:
				in[it.Name] = []byte("null")
			default:
				return &Error{it.Name, "is required and was not given"}
			}
			continue
		}
		if IsRef(raw) {
			continue // checked once its text is fetched
		}
		if err := Check(it, raw); err != nil {
			return err
		}
	}
	return nil
}

// Output checks one result of a handler. Files are still paths then and are left to the caller.
func Output(items []bundle.Item, out map[string]json.RawMessage, dynamic bool) *Error {
	if !dynamic {
		for name := range out {
			if !has(items, name) {
				return &Error{name, "is no output of this action; its outputs are " + names(items)}
			}
		}
	}
	for _, it := range items {
		raw, ok := out[it.Name]
		if !ok || isNull(raw) {
			if it.Optional || dynamic {
				continue
			}
			return &Error{it.Name, "is an output of this action and the handler did not return it"}
		}
		if it.Type == "file" || it.Type == "directory" {
			if raw[0] != '"' {
				return &Error{it.Name, "is a " + Kind(raw) + ": return the path of a " + it.Type + " as a string"}
			}
			continue
		}
		if err := Check(it, raw); err != nil {
			return err
		}
		out[it.Name] = written(it.Type, raw)
	}
	return nil
}

// written writes a number as its type says, however the language wrote it: a float of 2 as 2.0, an
// integer of 3.0 as 3. An expression over it then computes the same whatever its value happens to be.
func written(kind string, raw []byte) []byte {
	whole := !bytes.ContainsAny(raw, ".eE")
	switch {
	case kind == "float" && whole:
		return append(slices.Clip(raw), '.', '0')
	case kind == "integer" && !whole:
		if f, err := strconv.ParseFloat(string(raw), 64); err == nil {
			return strconv.AppendInt(nil, int64(f), 10)
		}
	}
	return raw
}

// Check checks one value that is there.
func Check(it bundle.Item, raw []byte) *Error {
	wrong := func(want string) *Error {
		return &Error{it.Name, fmt.Sprintf("is %s and must be %s", describe(raw), want)}
	}
	switch it.Type {
	case "string", "longstring", "password":
		if raw[0] != '"' {
			return wrong("a string")
		}
	case "integer":
		if !isInteger(raw) {
			return wrong("an integer")
		}
	case "float":
		if bytes.Equal(raw, []byte("NaN")) || bytes.HasSuffix(raw, []byte("Infinity")) {
			return &Error{it.Name, "is " + string(raw) + ", which is no number that can be passed on; return a finite number or leave it out"}
		}
		if f, err := strconv.ParseFloat(string(raw), 64); err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
			return wrong("a number")
		}
	case "boolean":
		if !bytes.Equal(raw, []byte("true")) && !bytes.Equal(raw, []byte("false")) {
			return wrong("true or false")
		}
	case "enum":
		var s string
		if json.Unmarshal(raw, &s) != nil || (len(it.EnumValues) > 0 && !slices.Contains(it.EnumValues, s)) {
			return wrong("one of " + strings.Join(it.EnumValues, ", "))
		}
	case "bytes":
		var s string
		if json.Unmarshal(raw, &s) != nil {
			return wrong("bytes (base64 text)")
		}
		if _, err := base64.StdEncoding.DecodeString(s); err != nil {
			return wrong("base64 text")
		}
	case "list":
		if raw[0] != '[' {
			return wrong("a list")
		}
	case "file", "directory":
		key := `"$file"`
		if it.Type == "directory" {
			key = `"$dir"`
		}
		if raw[0] != '{' || !bytes.Contains(raw, []byte(key)) {
			return wrong("a reference to a " + it.Type)
		}
	}
	return nil
}

// IsRef tells whether a value is {"$ref": …}: text that lies in the filestore.
func IsRef(raw []byte) bool {
	return len(raw) > 8 && raw[0] == '{' && bytes.HasPrefix(bytes.TrimLeft(raw[1:], " "), []byte(`"$ref"`))
}

// Kind is the JSON type of a value in words.
func Kind(raw []byte) string {
	if len(raw) == 0 {
		return "nothing"
	}
	switch raw[0] {
	case '"':
		return "string"
	case '{':
		return "object"
	case '[':
		return "list"
	case 't', 'f':
		return "boolean"
	case 'n':
		return "null"
	}
	return "number"
}

func describe(raw []byte) string {
	if len(raw) <= 40 {
		return "the " + Kind(raw) + " " + string(raw)
	}
	return "a " + Kind(raw)
}

func isInteger(raw []byte) bool {
	if _, err := strconv.ParseInt(string(raw), 10, 64); err == nil {
		return true
	}
	// 3.0 and 1e3 are integers too, in JSON as in people's minds.
	f, err := strconv.ParseFloat(string(raw), 64)
	return err == nil && f == math.Trunc(f) && math.Abs(f) < 1<<53
}

func isNull(raw []byte) bool { return len(raw) == 0 || bytes.Equal(raw, []byte("null")) }

func has(items []bundle.Item, name string) bool {
	return slices.ContainsFunc(items, func(it bundle.Item) bool { return it.Name == name })
}

func names(items []bundle.Item) string {
	if len(items) == 0 {
		return "none"
	}
	var all []string
	for _, it := range items {
		all = append(all, it.Name)
	}
	return strings.Join(all, ", ")
}
