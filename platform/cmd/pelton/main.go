// Command pelton is the command line of Pelton.
package main

import (
	"os"

	"github.com/pelton-run/pelton/platform/cli"
)

func main() { os.Exit(cli.Main()) }
