//go:build !linux

package worker

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func limit(int, uint64) {}

// dry tells that nothing lies in the tap's pipe.
func (t *tap) dry() bool {
	n, err := unix.IoctlGetInt(t.fd, 0x4004667f) // FIONREAD
	return n == 0 || err != nil
}

func maxRSS(ru *syscall.Rusage) int64 { return ru.Maxrss }

// ending would tell of the end of a process that is not our child.
type ending struct{}

func watchEnd(int) *ending { return nil }

func (e *ending) wait(time.Duration) bool { return false }

func (e *ending) close() {}
