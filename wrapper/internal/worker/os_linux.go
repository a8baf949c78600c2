package worker

import (
	"os"
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

// pending is how many bytes lie in a pipe.
func pending(f *os.File) int {
	n := 0
	raw, err := f.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
	return n
}

func maxRSS(ru *syscall.Rusage) int64 { return ru.Maxrss << 10 }
