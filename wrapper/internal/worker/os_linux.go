package worker

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// limit sets what user code may not exceed: the size of a file, and no core dumps.
func limit(pid int, maxFile uint64) {
	if maxFile > 0 {
		_ = unix.Prlimit(pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: maxFile, Max: maxFile}, nil)
	}
	_ = unix.Prlimit(pid, unix.RLIMIT_CORE, &unix.Rlimit{}, nil)
}

// dry tells that nothing lies in the tap's pipe. It is on the path of every execution.
func (t *tap) dry() bool {
	n, err := unix.IoctlGetInt(t.fd, unix.TIOCINQ)
	return n == 0 || err != nil
}

func maxRSS(ru *syscall.Rusage) int64 { return ru.Maxrss << 10 }
