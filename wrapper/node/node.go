// Package node holds the language runtime of Node.js actions.
package node

import "embed"

// Files is the shim.
//
//go:embed *.mjs
var Files embed.FS
