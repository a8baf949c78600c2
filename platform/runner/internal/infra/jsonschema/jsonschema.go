// Package jsonschema holds payloads of signals to the schemas of their steps.
package jsonschema

import (
	"github.com/pelton-run/pelton/functions/formats/schema"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// Schemas implements app.Schemas.
type Schemas struct{}

// Check implements app.Schemas.
func (Schemas) Check(raw []byte, value domain.Value) string {
	s, err := schema.Compile(raw)
	if err == nil {
		err = s.Check(value)
	}
	if err != nil {
		return err.Error()
	}
	return ""
}
