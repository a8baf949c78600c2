package worker

import (
	"os"
	"syscall"
	"time"

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

// ending is a handle of a process that is not our child: it can be read once the process has ended, with its
// descriptors closed (pidfd_open(2), Linux 5.3).
type ending struct {
	f   *os.File
	raw syscall.RawConn
}

// watchEnd is nil where the end cannot be watched.
func watchEnd(pid int) *ending {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK) // else a read of it would hold a thread
	if err != nil {
		return nil
	}
	f := os.NewFile(uintptr(fd), "process")
	raw, err := f.SyscallConn()
	if err != nil || f.SetReadDeadline(time.Time{}) != nil {
		f.Close()
		return nil
	}
	return &ending{f, raw}
}

// wait tells whether the process ends within that time.
func (e *ending) wait(most time.Duration) bool {
	_ = e.f.SetReadDeadline(time.Now().Add(most))
	return e.raw.Read(func(fd uintptr) bool {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 0)
		return n != 0 || err != nil && err != unix.EINTR
	}) == nil
}

func (e *ending) close() {
	if e != nil {
		e.f.Close()
	}
}
