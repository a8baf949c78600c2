package pgserver

import (
	"bytes"
	"fmt"
	"os"
	"strings"
)

// isPostgres tells whether pid is a postgres on this data folder, so that a recycled pid is left alone.
func isPostgres(pid int, data string) bool {
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return false
	}
	args := bytes.Split(cmdline, []byte{0})
	return strings.Contains(string(args[0]), "postgres") && bytes.Contains(cmdline, []byte(data))
}
