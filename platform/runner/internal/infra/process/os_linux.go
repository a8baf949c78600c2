package process

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// startTime is when a process started, in clock ticks since boot; "" when it is gone.
func startTime(pid int) string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	// The name may hold spaces: fields are counted behind its closing bracket.
	i := bytes.LastIndexByte(data, ')')
	fields := strings.Fields(string(data[i+1:]))
	if len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return ""
	}
	return fields[19]
}

// sameProcess tells whether the process of that start time still runs.
func sameProcess(pid int, started string) bool {
	return started != "" && startTime(pid) == started
}

// marked are the processes whose environment names the instance.
func marked(instance string) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	mark := []byte("PELTON_INSTANCE=" + instance)
	var out []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		env, err := os.ReadFile("/proc/" + e.Name() + "/environ")
		if err != nil {
			continue
		}
		for kv := range bytes.SplitSeq(env, []byte{0}) {
			if bytes.Equal(kv, mark) && startTime(pid) != "" {
				out = append(out, pid)
				break
			}
		}
	}
	return out
}

// machine names what process ids belong to: this boot and this namespace.
func machine() string {
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	space, _ := os.Readlink("/proc/self/ns/pid")
	return strings.TrimSpace(string(boot)) + " " + space
}
