package server

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestAHomeWhoseProcessWasKilledIsFree: what a process was just starting when it was killed has a copy of its lock for a
// moment. That of a process that lives is told at once.
func TestAHomeWhoseProcessWasKilledIsFree(t *testing.T) {
	home := t.TempDir()
	f, err := os.OpenFile(filepath.Join(home, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	require.NoError(t, err)
	require.NoError(t, syscall.Flock(int(f.Fd()), syscall.LOCK_EX))
	heir := exec.Command("sleep", "1")
	heir.ExtraFiles = []*os.File{f}
	require.NoError(t, heir.Start())
	gone := exec.Command("true")
	require.NoError(t, gone.Run())
	_, err = fmt.Fprint(f, gone.Process.Pid)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	release, err := lockHome(home, home)
	require.NoError(t, err)
	require.NoError(t, heir.Wait())
	begun := time.Now()
	_, err = lockHome(home, home)
	var locked *lockedError
	require.ErrorAs(t, err, &locked)
	require.ErrorContains(t, err, fmt.Sprintf("runs already (pid %d)", os.Getpid()))
	require.Less(t, time.Since(begun), orphaned/2)
	release()
}
