// Package conf reads settings into a struct of yaml tags: defaults, then a file, then the
// environment, then what the command line says. An unknown key is an error that names it.
package conf

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/pelton-run/pelton/platform/kit/fault"
)

// Load fills the struct v points to. defaults is YAML; file may be empty; a variable is the path
// of a setting behind the prefix, PELTON_HTTP_LISTEN for http.listen; set is path=value.
func Load(v any, defaults []byte, file, prefix string, environ []string, set map[string]string) error {
	if err := decode(v, defaults, "the built-in settings"); err != nil {
		return err
	}
	if file != "" {
		data, err := os.ReadFile(file)
		if err != nil {
			return fault.Wrap(err, fault.Invalid, "the settings file %s cannot be read", file)
		}
		if err := decode(v, data, file); err != nil {
			return err
		}
	}
	leaves := map[string]reflect.Value{}
	collect(reflect.ValueOf(v).Elem(), "", leaves)
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		rest, ok := strings.CutPrefix(name, prefix)
		if !ok {
			continue
		}
		for path, leaf := range leaves {
			if strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(path)) == rest {
				if err := assign(leaf, value); err != nil {
					return fault.InvalidField(name, err.Error(), "set it to a value of that type")
				}
			}
		}
	}
	for path, value := range set {
		leaf, ok := leaves[path]
		if !ok {
			return unknown(path, leaves)
		}
		if err := assign(leaf, value); err != nil {
			return fault.InvalidField(path, err.Error(), "set it to a value of that type")
		}
	}
	return nil
}

func unknown(path string, leaves map[string]reflect.Value) error {
	var known []string
	for k := range leaves {
		known = append(known, k)
	}
	remedy := "see config/embedded.yaml for the settings"
	if near := fault.Nearest(path, known); near != "" {
		remedy = "did you mean " + near + "?"
	}
	return fault.InvalidField(path, "is no setting", remedy)
}

func decode(v any, data []byte, where string) error {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(v); err != nil && !errors.Is(err, io.EOF) {
		if m := notFound.FindStringSubmatch(err.Error()); m != nil {
			return misspelt(v, m[2], fmt.Sprintf("%s:%s", where, m[1]))
		}
		return fault.Wrap(err, fault.Invalid, "%s: %s", where, strings.TrimPrefix(err.Error(), "yaml: "))
	}
	return nil
}

// notFound is how the YAML reader tells of a key that the settings do not have.
var notFound = regexp.MustCompile(`line (\d+): field (\S+) not found in type`)

// misspelt names a key of a file that is no setting, and the one that was most likely meant.
func misspelt(v any, key, place string) error {
	leaves := map[string]reflect.Value{}
	collect(reflect.ValueOf(v).Elem(), "", leaves)
	var parts []string
	for path := range leaves {
		parts = append(parts, strings.Split(path, ".")...)
	}
	remedy := "see config/embedded.yaml for the settings"
	if near := fault.Nearest(key, parts); near != "" {
		remedy = "did you mean " + near + "?"
	}
	return fault.InvalidField(key, "is no setting ("+place+")", remedy)
}

func collect(v reflect.Value, prefix string, out map[string]reflect.Value) {
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		if name == "" || name == "-" {
			continue
		}
		if f := v.Field(i); f.Kind() == reflect.Struct {
			collect(f, prefix+name+".", out)
		} else {
			out[prefix+name] = f
		}
	}
}

func assign(v reflect.Value, text string) error {
	switch v.Interface().(type) {
	case time.Duration:
		d, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("%q is no duration such as 30s", text)
		}
		v.SetInt(int64(d))
		return nil
	case []string:
		v.Set(reflect.ValueOf(strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })))
		return nil
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", text)
		}
		v.SetBool(b)
	case reflect.Int, reflect.Int64:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return fmt.Errorf("%q is no whole number", text)
		}
		v.SetInt(n)
	default:
		return fmt.Errorf("a setting of type %s cannot be set here", v.Type())
	}
	return nil
}
