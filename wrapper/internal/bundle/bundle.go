// Package bundle reads a bundle: the folder that a build makes and the wrapper runs.
package bundle

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// Item is one typed input or output.
type Item struct {
	Name       string          `json:"name"`
	Type       string          `json:"type"`
	Optional   bool            `json:"optional,omitempty"`
	Default    json.RawMessage `json:"default,omitempty"`
	EnumValues []string        `json:"enum_values,omitempty"`
}

// Bundle is the content of bundle.json. Paths in it are relative to its folder.
type Bundle struct {
	Format         int               `json:"format"`
	Build          string            `json:"build"`
	Action         string            `json:"action"`
	Kind           string            `json:"kind"`
	Runtime        string            `json:"runtime"`
	Interpreter    string            `json:"interpreter"`
	Handler        string            `json:"handler"`
	Export         string            `json:"export"`
	Isolation      string            `json:"isolation"`
	Concurrency    int               `json:"concurrency"`
	DynamicOutputs bool              `json:"dynamic_outputs"`
	Inputs         []Item            `json:"inputs"`
	Outputs        []Item            `json:"outputs"`
	MemoryBytes    int64             `json:"memory_bytes"`
	CPU            float64           `json:"cpu"`
	Env            map[string]string `json:"env"`

	Dir string `json:"-"`
}

// Load reads a bundle; a folder without bundle.json is not complete.
func Load(dir string) (*Bundle, error) {
	data, err := os.ReadFile(filepath.Join(dir, "bundle.json"))
	if err != nil {
		return nil, fmt.Errorf("read bundle: %w", err)
	}
	b := &Bundle{}
	if err := json.Unmarshal(data, b); err != nil {
		return nil, fmt.Errorf("read bundle %s: %w", dir, err)
	}
	if b.Format != 1 {
		return nil, fmt.Errorf("bundle %s has format %d, this wrapper reads 1", dir, b.Format)
	}
	if b.Dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	if b.Concurrency <= 0 {
		b.Concurrency = 1
	}
	if b.Isolation == "" {
		b.Isolation = "fork"
		if b.Runtime == "go" {
			b.Isolation = "reuse"
		}
	}
	return b, nil
}
