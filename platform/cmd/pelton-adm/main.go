// Command pelton-adm installs a Pelton on Kubernetes, looks after it, backs it up and restores it.
package main

import (
	"os"

	"github.com/pelton-run/pelton/platform/adm"
)

func main() { os.Exit(adm.Main(os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr)) }
