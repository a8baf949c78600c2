package serve

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// noNewPrivileges keeps user code from gaining rights through set-user-id programs. It is set on
// every thread of ours and inherited by every process that we start.
func noNewPrivileges() {
	_, _, _ = syscall.AllThreadsSyscall6(syscall.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0)
}
