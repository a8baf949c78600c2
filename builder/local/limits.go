package local

import (
	"fmt"
	"os"
	"regexp"
	"runtime"
	"syscall"
	"time"
)

// Limits of what a build may use. They hold on Linux; elsewhere the timeout alone does.
type Limits struct {
	MemoryBytes int64         // resident, of all processes of one command. Defaults to 4 GiB
	FileBytes   int64         // of one file. Defaults to 4 GiB
	OpenFiles   int           // of one process. Defaults to 16384
	Processes   int           // and threads, of all builds of one project; only where builds run as users of their own. Defaults to 4096
	CPU         time.Duration // of one process. Defaults to the timeout on every processor
}

func (l Limits) orDefaults(timeout time.Duration) Limits {
	if l.MemoryBytes == 0 {
		l.MemoryBytes = 4 << 30
	}
	if l.FileBytes == 0 {
		l.FileBytes = 4 << 30
	}
	if l.OpenFiles == 0 {
		l.OpenFiles = 16384
	}
	if l.Processes == 0 {
		l.Processes = 4096
	}
	if l.CPU == 0 {
		l.CPU = timeout * time.Duration(runtime.NumCPU())
	}
	return l
}

var (
	fileSigns    = regexp.MustCompile(`(?i)(file too large|file size limit exceeded|EFBIG)`)
	openSigns    = regexp.MustCompile(`(?i)(too many open files|EMFILE)`)
	processSigns = regexp.MustCompile(`(?i)(fork: |can't start new thread|pthread_create|spawn \S+ EAGAIN|newosproc|fork/exec \S+: resource temporarily unavailable|fork failed|BlockingIOError: \[Errno 11\])`)
	spaceSigns   = regexp.MustCompile(`(?i)(no space left on device|ENOSPC|disk quota exceeded|EDQUOT)`)
)

// limitOf is the limit that a command ran into, nil when it failed for another reason.
func (l Limits) limitOf(state *os.ProcessState, output string) *Error {
	tell := func(what string, v any, remedy string) *Error {
		return &Error{Kind: "limit", Message: fmt.Sprintf("the build %s (%v): %s", what, v, remedy)}
	}
	var signal syscall.Signal
	if state != nil {
		if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			signal = ws.Signal()
		}
	}
	switch {
	case signal == syscall.SIGXCPU:
		return tell("used more processor time than it may", l.CPU, "install less, or depend on ready-made packages instead of compiling them")
	case signal == syscall.SIGXFSZ, fileSigns.MatchString(output):
		return tell("wrote a file larger than it may", size(l.FileBytes), "keep large data out of the action and its dependencies")
	case openSigns.MatchString(output):
		return tell("opened more files at once than it may", l.OpenFiles, "install less at a time")
	case processSigns.MatchString(output):
		return tell("started more processes than it may", l.Processes, "install less at a time")
	case spaceSigns.MatchString(output):
		return &Error{Kind: "limit", Message: "the disk that holds Pelton's data is full: free some space, then scan the repository again\n" + lastLines(output, 2)}
	}
	return nil
}

func (l Limits) overMemory() *Error {
	return &Error{Kind: "limit", Message: "the build used more memory than it may (" + size(l.MemoryBytes) + "): depend on less, or on ready-made packages instead of compiling them"}
}

func size(n int64) string {
	if n >= 1<<30 && n%(1<<30) == 0 {
		return fmt.Sprintf("%d GiB", n>>30)
	}
	return fmt.Sprintf("%d MiB", n>>20)
}
