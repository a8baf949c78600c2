package pgserver

import (
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/pelton-run/pelton/platform/kit/fault"
)

// osUser is the unprivileged user that runs PostgreSQL where we are root.
type osUser struct {
	name     string
	uid, gid int
}

// unprivileged is nil when we are not root.
func unprivileged() (*osUser, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "_postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.Atoi(u.Uid)
		gid, err2 := strconv.Atoi(u.Gid)
		if err1 == nil && err2 == nil && uid != 0 {
			return &osUser{name: name, uid: uid, gid: gid}, nil
		}
	}
	return nil, fault.New(fault.Invalid, "PostgreSQL refuses to run as root and there is neither a user postgres nor nobody: add one, or run as an ordinary user")
}

// canReach tells whether the user may walk down to dir: the search bit of every folder above.
func (u *osUser) canReach(dir string) bool {
	for ; ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err == nil {
			st, ok := info.Sys().(*syscall.Stat_t)
			bit := os.FileMode(0o001)
			switch {
			case ok && int(st.Uid) == u.uid:
				bit = 0o100
			case ok && int(st.Gid) == u.gid:
				bit = 0o010
			}
			if info.Mode().Perm()&bit == 0 {
				return false
			}
		}
		if dir == filepath.Dir(dir) {
			return true
		}
	}
}
