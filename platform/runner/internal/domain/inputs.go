package domain

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
)

// CheckInputs fills in defaults and checks values against their items. Every problem is
// told; Where is the input's name. Values that pass are left as they were written.
func CheckInputs(items []Item, in Values) []Problem {
	var bad []Problem
	known := make(map[string]bool, len(items))
	for i := range items {
		it := &items[i]
		known[it.Name] = true
		v, given := in[it.Name]
		if !given || string(bytes.TrimSpace(v)) == "null" {
			switch {
			case len(it.Default) > 0:
				in[it.Name] = floating(it, it.Default)
			case it.Optional:
				delete(in, it.Name)
			default:
				bad = append(bad, Problem{it.Name, "is required: give a value of type " + it.Type})
			}
			continue
		}
		if msg := checkValue(it, v); msg != "" {
			bad = append(bad, Problem{it.Name, msg})
			continue
		}
		in[it.Name] = floating(it, v)
	}
	for _, name := range sortedKeys(in) {
		if !known[name] {
			bad = append(bad, Problem{name, "the workflow has no such input"})
		}
	}
	return bad
}

func checkValue(it *Item, v Value) string {
	if !json.Valid(v) {
		return "is not JSON"
	}
	if _, ref := AsBlobRef(v); ref {
		return ""
	}
	kind := describe(v)
	want := func(what string) string { return fmt.Sprintf("%s is wanted, this is %s", what, kind) }
	switch it.Type {
	case "string", "longstring", "password", "bytes":
		if kind != "a string" {
			return want("a string")
		}
	case "integer":
		if kind != "a number" || !isInteger(v) {
			return want("an integer")
		}
	case "float":
		if kind != "a number" {
			return want("a number")
		}
	case "boolean":
		if kind != "a boolean" {
			return want("true or false")
		}
	case "enum":
		var s string
		if json.Unmarshal(v, &s) != nil || !slices.Contains(it.EnumValues, s) {
			return fmt.Sprintf("one of %q is wanted, this is %s", it.EnumValues, v)
		}
	case "list":
		if kind != "a list" {
			return want("a list")
		}
	case "file", "directory":
		var f struct {
			File string `json:"$file"`
			Dir  string `json:"$dir"`
		}
		if json.Unmarshal(v, &f) != nil || (it.Type == "file" && f.File == "") || (it.Type == "directory" && f.Dir == "") {
			return want("a " + it.Type + ` value such as {"$` + map[string]string{"file": "file", "directory": "dir"}[it.Type] + `": "sha256:…"}`)
		}
	}
	return ""
}

// floating writes a float that was given as 2 as 2.0, so that an expression over it computes with
// floats whatever its value happens to be.
func floating(it *Item, v Value) Value {
	if it.Type != "float" || !isInteger(v) {
		return v
	}
	return append(append(Value(nil), bytes.TrimSpace(v)...), '.', '0')
}

func isInteger(v Value) bool {
	n := bytes.TrimSpace(v)
	for i, c := range n {
		if (c < '0' || c > '9') && (c != '-' || i > 0) {
			return false
		}
	}
	return true
}
