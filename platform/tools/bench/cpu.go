package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ticks of the system's clock per second, as Linux tells processor times to programs.
const ticks = 100

// cpuOf is the processor time of a process and everything below it, ended children included.
func cpuOf(root int) time.Duration {
	parents, times := map[int]int{}, map[int]int{}
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		i := bytes.LastIndexByte(data, ')')
		f := strings.Fields(string(data[i+1:]))
		if len(f) < 15 {
			continue
		}
		pid, _ := strconv.Atoi(strings.Split(file, "/")[2])
		parents[pid], _ = strconv.Atoi(f[1])
		for _, field := range f[11:15] { // utime, stime and those of children that were waited for
			n, _ := strconv.Atoi(field)
			times[pid] += n
		}
	}
	sum := 0
	for pid, t := range times {
		for p := pid; p > 1; p = parents[p] {
			if p == root {
				sum += t
				break
			}
		}
	}
	return time.Duration(sum) * time.Second / ticks
}

// machine is the idle and the whole processor time since the start of the machine, in ticks.
func machine() (idle, all int) {
	data, _ := os.ReadFile("/proc/stat")
	line, _, _ := strings.Cut(string(data), "\n")
	for i, f := range strings.Fields(line) {
		n, _ := strconv.Atoi(f)
		if i >= 1 && i <= 8 {
			all += n
		}
		if i == 4 || i == 5 {
			idle += n
		}
	}
	return idle, all
}

// below tells whether a process descends from another.
func below(pid, root int) bool {
	for p := pid; p > 1; {
		data, err := os.ReadFile("/proc/" + strconv.Itoa(p) + "/stat")
		if err != nil {
			return false
		}
		if p == root {
			return true
		}
		f := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
		p, _ = strconv.Atoi(f[1])
	}
	return false
}
