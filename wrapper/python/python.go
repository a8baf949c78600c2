// Package python holds the language runtime of Python actions.
package python

import "embed"

// Files are the shim and the modules that it provides to old actions.
//
//go:embed *.py all:provided
var Files embed.FS
