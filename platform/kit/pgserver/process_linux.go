package pgserver

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
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

// seesProcesses tells that the state and the folder of processes can be read.
const seesProcesses = true

// isDying tells that a process has ended and its parent has not noticed yet.
func isDying(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, rest, _ := bytes.Cut(stat, []byte(") ")) // the name before may hold anything
	return len(rest) > 0 && (rest[0] == 'Z' || rest[0] == 'X')
}

// worksOn tells whether any process has the data folder as its own: a server's processes do.
func worksOn(data string) bool {
	dirs, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil {
		return true
	}
	for _, d := range dirs {
		if at, err := os.Readlink(d); err == nil && at == data {
			return true
		}
	}
	return false
}
