// Command wrapper is the small static binary around user code: it serves the action ABI to the
// runner and supervises the language process. See wrapper/internal/serve.
package main

import (
	"os"

	"github.com/pelton-run/pelton/wrapper/internal/serve"
)

func main() { os.Exit(serve.Main(os.Args[1:], os.Stdout, os.Stderr)) }
