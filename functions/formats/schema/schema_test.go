package schema_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/functions/formats/schema"
)

func TestCompile(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "s.json")
	require.NoError(t, os.WriteFile(secret, []byte(`{"type": "string"}`), 0o600))
	for text, want := range map[string]string{
		`{"type": "object", "properties": {"n": {"type": "integer"}}}`: "",
		`true`: "",
		`{"$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}}`: "",
		`{"$schema": "http://json-schema.org/draft-07/schema#"}`:    "",
		`{"type": "objekt"}`:                "type: ",
		`{"type": `:                         "it is not JSON",
		`[]`:                                "it is no mapping",
		`{"$ref": "file://` + secret + `"}`: "write what is meant into the schema itself",
		`{"$ref": "http://127.0.0.1/x"}`:    "write what is meant into the schema itself",
		`{"$ref": "#/$defs/b"}`:             "$defs/b",
		`{"pattern": "("}`:                  "pattern",
	} {
		_, err := schema.Compile(json.RawMessage(text))
		if want == "" {
			require.NoError(t, err, text)
			continue
		}
		require.ErrorContains(t, err, want, text)
		require.NotContains(t, err.Error(), "\n", text)
	}
}

func TestCheck(t *testing.T) {
	s, err := schema.Compile(json.RawMessage(`{"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}, "tags": {"items": {"type": "string"}}}}`))
	require.NoError(t, err)
	require.NoError(t, s.Check(json.RawMessage(`{"id": 12345678901234567890, "tags": ["a"]}`)))
	for value, want := range map[string]string{
		`{`:                           "it is not JSON",
		`[]`:                          "got array, want object",
		`{}`:                          "missing property 'id'",
		`{"id": 1.5}`:                 "id: got number, want integer",
		`{"id": 1, "tags": ["a", 2]}`: "tags.1: got number, want string",
	} {
		require.ErrorContains(t, s.Check(json.RawMessage(value)), want, value)
	}
}
