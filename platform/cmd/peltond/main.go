// Command peltond is the server: every service in one process, or those that --target names.
package main

import (
	"os"

	"github.com/pelton-run/pelton/platform/server"
)

func main() { os.Exit(server.Main(os.Args[1:], os.Environ(), os.Stdout, os.Stderr)) }
