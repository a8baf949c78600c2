//go:build !linux

package process

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
)

func startTime(pid int) string {
	out, err := exec.Command("ps", "-o", "lstart=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

func sameProcess(pid int, started string) bool {
	return started != "" && startTime(pid) == started
}

func marked(instance string) []int {
	out, err := exec.Command("ps", "axEww", "-o", "pid=,command=").Output()
	if err != nil {
		return nil
	}
	var pids []int
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if len(fields) > 1 && strings.Contains(line, " PELTON_INSTANCE="+instance) {
			if pid, err := strconv.Atoi(fields[0]); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// machine names what process ids belong to.
func machine() string {
	name, _ := os.Hostname()
	return name
}
