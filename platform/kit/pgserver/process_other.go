//go:build !linux

package pgserver

import (
	"os/exec"
	"strconv"
	"strings"
)

// isPostgres tells whether pid is a postgres on this data folder, so that a recycled pid is left alone.
func isPostgres(pid int, data string) bool {
	out, err := exec.Command("ps", "-o", "command=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && strings.Contains(string(out), "postgres") && strings.Contains(string(out), data)
}
