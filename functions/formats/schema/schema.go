// Package schema compiles the JSON Schemas that authors write beside values, and holds values to
// them. It reads nothing but the schema itself: a $ref that leads out of it is refused.
package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// Schema is a compiled JSON Schema (draft 2020-12 unless $schema names another). Immutable and
// safe for concurrent use.
type Schema struct{ s *jsonschema.Schema }

// here is the address of the schema itself, which messages leave out.
const here = "schema:///value"

// sealed refuses to load what a $ref names elsewhere: neither files nor the network are read.
type sealed struct{}

func (sealed) Load(url string) (any, error) {
	return nil, fmt.Errorf("it refers to %s: write what is meant into the schema itself, under $defs", url)
}

// Compile reads a JSON Schema. The error is one line that says what is wrong with it.
func Compile(raw json.RawMessage) (*Schema, error) {
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return nil, errors.New("it is not JSON")
	}
	switch v.(type) {
	case map[string]any, bool:
	default:
		return nil, errors.New("it is no mapping")
	}
	c := jsonschema.NewCompiler()
	c.UseLoader(sealed{})
	if err := c.AddResource(here, v); err != nil {
		return nil, line(err)
	}
	s, err := c.Compile(here)
	if err != nil {
		return nil, line(err)
	}
	return &Schema{s}, nil
}

// Check tells what is wrong with a JSON value, the first that is found, with its place inside the
// value; nil when it fits.
func (s *Schema) Check(value json.RawMessage) error {
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(value))
	if err != nil {
		return errors.New("it is not JSON")
	}
	if err := s.s.Validate(v); err != nil {
		return line(err)
	}
	return nil
}

var english = message.NewPrinter(language.English)

// line makes one line of an error of the library: its innermost cause.
func line(err error) error {
	var bad *jsonschema.SchemaValidationError
	if errors.As(err, &bad) {
		err = bad.Err
	}
	var loading *jsonschema.LoadURLError
	if errors.As(err, &loading) {
		return loading.Err
	}
	var invalid *jsonschema.ValidationError
	if !errors.As(err, &invalid) {
		text, _, _ := strings.Cut(err.Error(), "\n")
		return errors.New(strings.ReplaceAll(text, here+"#", ""))
	}
	for len(invalid.Causes) > 0 {
		invalid = invalid.Causes[0]
	}
	place := strings.Join(invalid.InstanceLocation, ".")
	if place != "" {
		place += ": "
	}
	return errors.New(place + invalid.ErrorKind.LocalizedString(english))
}
