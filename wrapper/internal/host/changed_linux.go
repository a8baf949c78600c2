package host

import "golang.org/x/sys/unix"

// changed is when a folder was last changed; not ok for anything but a folder of mode 0700.
func changed(dir string) (nanos int64, ok bool) {
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil || st.Mode != unix.S_IFDIR|0o700 {
		return 0, false
	}
	return st.Mtim.Nano(), true
}

// handles are open descriptors of a folder and the two in it. They are used on the path of every execution.
type handles [3]int

func openDirs(dir string) (h handles, ok bool) {
	for i, d := range [3]string{dir, dir + "/work", dir + "/tmp"} {
		fd, err := unix.Open(d, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			for _, fd := range h[:i] {
				_ = unix.Close(fd)
			}
			return h, false
		}
		h[i] = fd
	}
	return h, true
}

func (h handles) stamps() (s stamps, ok bool) {
	var st unix.Stat_t
	for i, fd := range h {
		if err := unix.Fstat(fd, &st); err != nil || st.Mode != unix.S_IFDIR|0o700 {
			return s, false
		}
		s[i] = st.Mtim.Nano()
	}
	return s, true
}

func (h handles) close() {
	for _, fd := range h {
		_ = unix.Close(fd)
	}
}
