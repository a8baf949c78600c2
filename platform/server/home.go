package server

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/pelton-run/pelton/platform/kit/fault"
)

// lockedError tells that another process has the home.
type lockedError struct {
	home string
	pid  string
}

func (e *lockedError) Error() string {
	return fmt.Sprintf("a Pelton of %s runs already (pid %s): stop it, or choose another folder with --home", e.home, e.pid)
}

// lockHome takes a home's run folder for this process; the lock goes with the process, however it ends.
func lockHome(home, dir string) (release func(), err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "home: the folder %s cannot be made: choose one that is writable with --home", home)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "home: %s is not writable: choose another folder with --home", home)
	}
	if err := lockFile(f, home); err != nil {
		f.Close()
		return nil, err
	}
	if err := f.Truncate(0); err != nil {
		return nil, err
	}
	if _, err := fmt.Fprintf(f, "%d", os.Getpid()); err != nil {
		return nil, err
	}
	return func() { f.Close() }, nil
}

// orphaned is how long the lock of a process that is gone is waited for: what it was just starting when it was killed has a
// copy of it until that has been started.
const orphaned = 10 * time.Second

func lockFile(f *os.File, home string) error {
	for begun := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return err
		}
		text := make([]byte, 20)
		n, _ := f.ReadAt(text, 0)
		pid, _ := strconv.Atoi(string(text[:n]))
		if gone := pid > 0 && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH); !gone || time.Since(begun) > orphaned {
			return &lockedError{home, string(text[:n])}
		}
	}
}

// RestoringFile, in the home, tells that a restore into it has begun and not ended.
const RestoringFile = "restoring"

// CheckRestored refuses a home that is half filled from a backup: what it lacks would be taken for removed.
func CheckRestored(home string) error {
	if _, err := os.Stat(filepath.Join(home, RestoringFile)); err == nil {
		return fault.New(fault.Conflict, "home: a restore into %s has not come to its end: run `pelton-adm restore` with the same backup again", home)
	}
	return nil
}

// placeHome is where the data goes: the asked-for folder, or, as root, /var/lib/pelton/<hash> when
// the users that run the database and the actions cannot reach it.
func placeHome(home string) (string, bool, error) {
	abs, err := filepath.Abs(home)
	if err != nil {
		return "", false, err
	}
	if os.Geteuid() != 0 {
		return abs, false, os.MkdirAll(abs, 0o755)
	}
	for dir := abs; ; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err == nil && info.Mode().Perm()&0o001 == 0 {
			sum := sha256.Sum256([]byte(abs))
			moved := filepath.Join("/var/lib/pelton", hex.EncodeToString(sum[:8]))
			return moved, true, os.MkdirAll(moved, 0o755)
		}
		if dir == filepath.Dir(dir) {
			return abs, false, os.MkdirAll(abs, 0o755)
		}
	}
}

// state is what tools of this machine read to find the running server.
type state struct {
	PID       int       `json:"pid"`
	URL       string    `json:"url"`
	Token     string    `json:"token"`
	Version   string    `json:"version"`
	StartedAt time.Time `json:"started_at"`
	Home      string    `json:"home"`
}

func writeState(dir string, s state) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	tmp := filepath.Join(dir, "server.json.new")
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(dir, "server.json"))
}

// users gives each project a user of its own where we are root, kept in a file.
type users struct{ file string }

// Every home has a block of users of its own for the actions of its projects, so that user code of
// one Pelton reaches no process of another one of the same machine.
const (
	firstUID  = 5_000_000
	blockSize = 1000
	blocks    = 4000
)

func (u users) block() int {
	h := fnv.New32a()
	h.Write([]byte(u.file)) // below the home, whose path is absolute
	return firstUID + int(h.Sum32()%blocks)*blockSize
}

// of gives a project's user. Several processes of one home share the file.
func (u users) of(project string) (int, int, error) {
	lock, err := os.OpenFile(u.file+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return 0, 0, err
	}
	defer lock.Close() // and with it the lock
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return 0, 0, err
	}
	ids := map[string]int{}
	data, err := os.ReadFile(u.file)
	if err == nil {
		err = json.Unmarshal(data, &ids)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return 0, 0, err
	}
	if id, ok := ids[project]; ok {
		return id, id, nil
	}
	ids[project] = u.block() + len(ids)
	if data, err = json.Marshal(ids); err != nil {
		return 0, 0, err
	}
	if err := errors.Join(os.WriteFile(u.file+".new", data, 0o600), os.Rename(u.file+".new", u.file)); err != nil {
		return 0, 0, err
	}
	return ids[project], ids[project], nil
}
