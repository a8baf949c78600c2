//go:build !linux

package worker

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

func limit(int, uint64) {}

func pending(f *os.File) int {
	n := 0
	raw, err := f.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), 0x4004667f) }) // FIONREAD
	return n
}

func maxRSS(ru *syscall.Rusage) int64 { return ru.Maxrss }
