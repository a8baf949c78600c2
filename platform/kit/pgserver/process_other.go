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

// seesProcesses tells that the state and the folder of processes can be read: here they cannot,
// and PostgreSQL deals with what is left.
const seesProcesses = false

func isDying(int) bool { return false }

func worksOn(string) bool { return true }
