package worker

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Strays are processes that user code started and that outlive their execution: children that went
// into a session of their own, or that were left by a parent that ended. As a child subreaper the
// wrapper inherits them, so none escapes by changing its session or its environment.

// started are the processes that we started ourselves, by pid; starting one and noting it is one step
// for whoever looks for strays.
var started = struct {
	sync.Mutex
	pids map[int]bool
}{pids: map[int]bool{}}

// Adopt makes this process inherit what its descendants leave behind. Call it once, early.
func Adopt() bool { return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == nil }

// children are a process's children, by the kernel's lists of its threads. It is on the path of
// every execution, so it costs a listing and a read for each thread, and no more.
func children(pid int) []int {
	dir := "/proc/" + strconv.Itoa(pid) + "/task"
	f, err := os.Open(dir)
	if err != nil {
		return nil
	}
	threads, _ := f.Readdirnames(-1)
	f.Close()
	var out []int
	var text [4096]byte
	for _, t := range threads {
		fd, err := unix.Open(dir+"/"+t+"/children", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		for rest := ""; ; {
			n, err := unix.Read(fd, text[:])
			if n <= 0 || err != nil {
				break
			}
			rest += string(text[:n])
			for {
				field, after, found := strings.Cut(rest, " ")
				if !found {
					break
				}
				if n, err := strconv.Atoi(field); err == nil {
					out = append(out, n)
				}
				rest = after
			}
		}
		_ = unix.Close(fd)
	}
	return out
}

// descendants are a process's children, their children, and so on.
func descendants(pid int) []int {
	out := children(pid)
	for i := 0; i < len(out); i++ {
		out = append(out, children(out[i])...)
	}
	return out
}

// lone tells that a process has one thread and no children.
func lone(pid int) bool {
	dir := "/proc/" + strconv.Itoa(pid) + "/task"
	var st unix.Stat_t
	if unix.Stat(dir, &st) != nil || st.Nlink != 3 { // "." and ".." and one for each thread
		return false
	}
	fd, err := unix.Open(dir+"/"+strconv.Itoa(pid)+"/children", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	var text [16]byte
	n, err := unix.Read(fd, text[:])
	return n == 0 && err == nil
}

// killBelow ends what runs below a process, but for what keep holds, and tells how many that were.
func killBelow(pid int, keep map[int]bool) int {
	killed := 0
	for range 20 { // what is forked while we look is found the next time
		found := 0
		for _, d := range descendants(pid) {
			if !keep[d] && !zombie(d) && syscall.Kill(d, syscall.SIGKILL) == nil {
				found++
			}
		}
		if found == 0 {
			break
		}
		killed += found
	}
	return killed
}

// killInherited ends the processes that were left to us: all of them when alone, else those of the
// session. It frees what is left of those that have ended.
func killInherited(session int, alone bool) {
	self := os.Getpid()
	for range 20 {
		started.Lock()
		if nothingLeft() {
			started.Unlock()
			return
		}
		found := 0
		for _, pid := range children(self) {
			if started.pids[pid] {
				continue
			}
			state, of := stat(pid)
			if state != 'Z' {
				if !alone && of != session {
					continue
				}
				killBelow(pid, nil)
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
			found++
			_, _ = syscall.Wait4(pid, nil, 0, nil)
		}
		started.Unlock()
		if found == 0 {
			return
		}
	}
}

// left is the list of children of our first thread: the kernel leaves orphans to the first thread of a subreaper that
// lives (find_new_reaper in kernel/exit.c), and Go's first thread lives as long as the process.
var left struct {
	once sync.Once
	fd   int
	text [4 << 10]byte
}

// nothingLeft tells that no process was left to us, in one system call; false is no answer. It needs started.
func nothingLeft() bool {
	left.once.Do(func() {
		pid := strconv.Itoa(os.Getpid())
		fd, err := unix.Open("/proc/self/task/"+pid+"/children", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if left.fd = fd; err != nil {
			left.fd = -1
		}
	})
	if left.fd < 0 {
		return false
	}
	n, err := unix.Pread(left.fd, left.text[:], 0)
	if err != nil || n == len(left.text) {
		return false
	}
	for _, field := range bytes.Fields(left.text[:n]) {
		if pid, err := strconv.Atoi(string(field)); err != nil || !started.pids[pid] {
			return false
		}
	}
	return true
}

func zombie(pid int) bool {
	state, _ := stat(pid)
	return state == 'Z' || state == 0
}

// stat is a process's state letter and its session.
func stat(pid int) (state byte, session int) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0
	}
	i := bytes.LastIndexByte(data, ')') // the name before it may hold anything
	fields := strings.Fields(string(data[i+1:]))
	if len(fields) < 4 {
		return 0, 0
	}
	session, _ = strconv.Atoi(fields[3])
	return fields[0][0], session
}

// kin answers cheaply the question that is asked after every execution: has the process children?
// It holds the process's list of threads and each thread's list of children open.
type kin struct {
	mu    sync.Mutex
	dir   string
	tasks int
	list  []byte // the threads when kids were opened, as the system lists them
	kids  []int
	ready bool
	as    int               // newest when it had no children last, 0 = it is not known
	twice bool              // it had none two times in a row with that: what was being forked the first time shows the second
	buf   [mostThreads]byte // not on the stack: the system call would move it to the heap each time
}

// mostThreads is how many bytes the list of a process's threads has at most to be looked at here; one
// thread takes 24.
const mostThreads = 4 << 10

func (k *kin) open(pid int) {
	k.dir = "/proc/" + strconv.Itoa(pid) + "/task"
	var err error
	if k.tasks, err = unix.Open(k.dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return
	}
	k.ready = true
}

func (k *kin) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ready {
		k.closeKids()
		_ = unix.Close(k.tasks)
		k.ready = false
	}
}

func (k *kin) closeKids() {
	for _, fd := range k.kids {
		_ = unix.Close(fd)
	}
	k.kids, k.list = k.kids[:0], k.list[:0]
}

// watchThreads opens the lists of children of the threads that there are now, unless they are the ones of
// before; false when they cannot be had. The process of a language with one thread has no other for the most
// part, which its number of links tells.
func (k *kin) watchThreads() bool {
	var st unix.Stat_t
	if unix.Fstat(k.tasks, &st) != nil {
		return false
	}
	if st.Nlink == 3 && len(k.kids) == 1 { // "." and ".." and one for each thread: the first one is never gone
		return true
	}
	if _, err := unix.Seek(k.tasks, 0, unix.SEEK_SET); err != nil {
		return false
	}
	n, err := unix.ReadDirent(k.tasks, k.buf[:])
	if err != nil || n <= 0 || n > len(k.buf)-64 { // there may be more
		return false
	}
	list := k.buf[:n]
	if bytes.Equal(list, k.list) {
		return true
	}
	k.closeKids()
	_, _, names := unix.ParseDirent(list, -1, nil)
	for _, name := range names {
		fd, err := unix.Open(k.dir+"/"+name+"/children", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			k.closeKids()
			return false
		}
		k.kids = append(k.kids, fd)
	}
	k.list = append(k.list, list...)
	return len(names) > 0
}

// childless tells that no thread of the process has children. False is no answer.
func (p *proc) childless() bool {
	k := &p.kin
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.ready {
		return false
	}
	now := newest(k.buf[:])
	if now > 0 && now == k.as && k.twice {
		return true
	}
	before := k.as
	if k.as, k.twice = 0, false; !k.watchThreads() {
		return false
	}
	var text [16]byte
	for _, fd := range k.kids {
		if n, err := unix.Pread(fd, text[:], 0); n != 0 || err != nil {
			return false
		}
	}
	k.as, k.twice = now, now == before
	return true
}

var lastPID = sync.OnceValue(func() int {
	fd, err := unix.Open("/proc/sys/kernel/ns_last_pid", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	return fd
})

// newest is the id that the system gave last to a process or a thread that we can see, 0 where it does not tell. Ids
// are given in turn: while it stays the same, nobody has got one, unless all of them were given meanwhile. One is given shortly
// before the child shows in its parent's list. Node.js has eleven threads whose children would have
// to be looked at otherwise.
func newest(buf []byte) int {
	fd := lastPID()
	if fd < 0 {
		return 0
	}
	n, err := unix.Pread(fd, buf, 0)
	if err != nil {
		return 0
	}
	pid, _ := strconv.Atoi(string(bytes.TrimSpace(buf[:n])))
	return pid
}
