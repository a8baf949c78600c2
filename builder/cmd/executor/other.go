//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "executor: it builds images in containers of Linux, and runs nowhere else")
	os.Exit(2)
}
