package local

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// gate keeps a program from starting until its limits are set: the shell waits until the pipe on
// descriptor 3 is closed.
const gate = `read -r _ <&3; exec 3<&-; exec "$@"`

const confines = true

// confine sets the limits of a process; what it starts inherits them.
func confine(pid int, l Limits, own bool) error {
	cpu := uint64(math.Ceil(l.CPU.Seconds()))
	set := map[int]unix.Rlimit{
		unix.RLIMIT_FSIZE:  {Cur: uint64(l.FileBytes), Max: uint64(l.FileBytes)},
		unix.RLIMIT_NOFILE: {Cur: uint64(l.OpenFiles), Max: uint64(l.OpenFiles)},
		unix.RLIMIT_CPU:    {Cur: cpu, Max: cpu + 5},
		unix.RLIMIT_CORE:   {},
	}
	if own { // an ordinary user's other programs count as well: theirs is not ours to limit
		set[unix.RLIMIT_NPROC] = unix.Rlimit{Cur: uint64(l.Processes), Max: uint64(l.Processes)}
	}
	for what, limit := range set {
		var now unix.Rlimit
		if err := unix.Prlimit(pid, what, nil, &now); err != nil {
			return fmt.Errorf("read limit %d: %w", what, err)
		}
		if os.Geteuid() != 0 { // only root may raise one
			limit.Cur, limit.Max = min(limit.Cur, now.Max), min(limit.Max, now.Max)
		}
		if err := unix.Prlimit(pid, what, &limit, nil); err != nil {
			return fmt.Errorf("set limit %d: %w", what, err)
		}
	}
	return nil
}

// seen is a process as /proc tells it.
type seen struct {
	pid, session, uid int
	resident          int64
}

// processes are those that live now. The user is looked up only where it matters.
func processes(users bool) []seen {
	d, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1)
	var out []seen
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if p, ok := process(pid, users); ok {
			out = append(out, p)
		}
	}
	return out
}

func process(pid int, users bool) (seen, bool) {
	p := seen{pid: pid, uid: -1}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return p, false
	}
	// The name may hold spaces: fields are counted behind its closing bracket.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 22 || fields[0] == "Z" || fields[0] == "X" {
		return p, false
	}
	p.session, _ = strconv.Atoi(fields[3])
	pages, _ := strconv.ParseInt(fields[21], 10, 64)
	p.resident = pages * int64(os.Getpagesize())
	if users {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return p, false
		}
		_, rest, _ := bytes.Cut(status, []byte("\nUid:"))
		if f := bytes.Fields(rest); len(f) > 0 {
			p.uid, _ = strconv.Atoi(string(f[0]))
		}
	}
	return p, true
}

// bears tells whether the process was started with the mark in its environment.
func bears(pid int, mark string) bool {
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		return false
	}
	for kv := range bytes.SplitSeq(env, []byte{0}) {
		if string(kv) == mark {
			return true
		}
	}
	return false
}

// pace is how often memory is looked at.
const pace = 200 * time.Millisecond

// exchange makes two names trade places.
func exchange(a, b string) error {
	return unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
}
