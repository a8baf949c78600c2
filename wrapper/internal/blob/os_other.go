//go:build !linux

package blob

import (
	"os"
	"syscall"
)

func reflink(*os.File, *os.File) bool { return false }

func openNoFollow(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
}
