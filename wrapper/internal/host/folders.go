package host

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"
)

// folders hands out the working folders of executions. One that its execution left as empty as it
// got it serves the next: making and removing three folders costs more than the rest of a call.
type folders struct {
	root     string
	uid, gid int // of user code, -1 = ours

	mu    sync.Mutex
	next  int
	clean []string
	seen  map[string]seen // folders that were found untouched
}

// seen is what is known of a folder that was found untouched.
type seen struct {
	at   stamps
	dirs handles // of it and the two in it, so that looking again costs no walk of a path
}

// stamps are when a folder and the two in it were last changed, in nanoseconds since 1970.
type stamps [3]int64

// tick is more than the step of a file system's clock: a change within one step of another leaves
// no trace in the time.
const tick = 20 * time.Millisecond

// take gives a folder that holds an empty work/ and an empty tmp/.
func (f *folders) take() (string, error) {
	f.mu.Lock()
	if n := len(f.clean); n > 0 {
		dir := f.clean[n-1]
		f.clean = f.clean[:n-1]
		f.mu.Unlock()
		return dir, nil
	}
	f.next++
	dir := filepath.Join(f.root, strconv.Itoa(f.next))
	f.mu.Unlock()
	for _, d := range []string{dir, filepath.Join(dir, "work"), filepath.Join(dir, "tmp")} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return "", err
		}
		if f.uid >= 0 {
			if err := os.Lchown(d, f.uid, f.gid); err != nil {
				return "", err
			}
		}
	}
	return dir, nil
}

// giveBack takes a folder whose execution has ended with every process of it. What was left in it
// goes; a folder that user code changed otherwise goes whole.
func (f *folders) giveBack(dir string) {
	if !f.untouched(dir) {
		f.forget(dir)
		_ = os.RemoveAll(dir)
		return
	}
	f.mu.Lock()
	f.clean = append(f.clean, dir)
	f.mu.Unlock()
}

func (f *folders) forget(dir string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s, ok := f.seen[dir]; ok {
		s.dirs.close()
		delete(f.seen, dir)
	}
}

// untouched tells whether the folder holds an empty work/ and an empty tmp/, still of mode 0700,
// and nothing else.
func (f *folders) untouched(dir string) bool {
	f.mu.Lock()
	before, known := f.seen[dir]
	f.mu.Unlock()
	if known {
		// Whatever is put in place of one of them changes the time of the folder above it.
		if now, ok := before.dirs.stamps(); ok && now == before.at {
			return true
		}
		f.forget(dir)
	}
	now, ok := stampsOf(dir)
	if !ok || !f.empty(dir) {
		return false
	}
	if after, ok := stampsOf(dir); !ok || after != now {
		return false
	}
	if newest := time.Unix(0, slices.Max(now[:])); time.Since(newest) <= tick {
		return true // a change within this step of the clock would not show
	}
	dirs, ok := openDirs(dir)
	if !ok {
		return true
	}
	if at, ok := dirs.stamps(); !ok || at != now {
		dirs.close()
		return true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.seen == nil {
		f.seen = map[string]seen{}
	}
	f.seen[dir] = seen{now, dirs}
	return true
}

// stampsOf are the times of a folder's parts; not ok where they are not as they were made.
func stampsOf(dir string) (s stamps, ok bool) {
	for i, d := range [3]string{dir, dir + "/work", dir + "/tmp"} {
		at, ok := changed(d)
		if !ok {
			return s, false
		}
		s[i] = at
	}
	return s, true
}

func (f *folders) empty(dir string) bool {
	top, err := os.Open(dir)
	if err != nil {
		return false
	}
	entries, err := top.ReadDir(3)
	top.Close()
	if len(entries) != 2 || (err != nil && !errors.Is(err, io.EOF)) {
		return false
	}
	for _, name := range []string{"work", "tmp"} {
		d, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			return false
		}
		_, err = d.Readdirnames(1)
		d.Close()
		if !errors.Is(err, io.EOF) {
			return false
		}
	}
	return true
}
