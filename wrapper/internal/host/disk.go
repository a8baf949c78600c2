package host

import (
	"errors"
	"io/fs"
	"path/filepath"
	"syscall"
)

// diskFull tells a full disk, and a transfer that was ended, as what it is.
func diskFull(err error) error {
	if f := cutOff(err); f != nil {
		return f
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return failf("disk_full", "the disk of the platform is full: %s", err)
	}
	return err
}

// folderSize adds up the files below dir, stopping once limit is passed.
func folderSize(dir string, limit int64) int64 {
	var total int64
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // files come and go while user code works
		}
		if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
			if total += info.Size(); total > limit {
				return filepath.SkipAll
			}
		}
		return nil
	})
	return total
}
