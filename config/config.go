// Package config embeds the settings that Pelton ships.
package config

import _ "embed"

// Embedded are the settings of a Pelton that is one process.
//
//go:embed embedded.yaml
var Embedded []byte
