package worker

import (
	"errors"
	"os"
	"syscall"
)

// queue hands executions to a process before it is free for them, and takes back those that it has
// not begun. It is a socket of whole messages (SOCK_SEQPACKET) of which we keep both ends open: each
// message is read either by the process, when it begins that execution, or by us. So it is
// always known which execution a process had begun, also when it dies or never ends.
type queue struct {
	in   *os.File
	back int // the process's end, ours to take messages back from
}

// queueMax is the size in bytes of the largest message for a queue; several fit into the socket.
const queueMax = 16 << 10

// recallHead is how many bytes of a message are enough to know it again.
const recallHead = 1 << 10

// openQueue makes a queue and the end that the process inherits.
func openQueue() (*queue, *os.File, error) {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	_ = syscall.SetNonblock(pair[0], true)
	back, err := dup(pair[1])
	if err != nil {
		_ = syscall.Close(pair[0])
		_ = syscall.Close(pair[1])
		return nil, nil, err
	}
	return &queue{in: os.NewFile(uintptr(pair[0]), "queue"), back: back}, os.NewFile(uintptr(pair[1]), "queue"), nil
}

func dup(fd int) (int, error) {
	n, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_DUPFD_CLOEXEC, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// dontWait makes reading an empty queue an error in the process.
func (q *queue) dontWait() { _ = syscall.SetNonblock(q.back, true) }

func (q *queue) put(text []byte) error {
	_, err := q.in.Write(text)
	return err
}

// recall takes back what the process has not begun: the first bytes of each message. The process may take
// one between two of ours, so that they need not be the last ones.
func (q *queue) recall() (heads [][]byte) {
	var b [recallHead]byte
	for {
		n, _, err := syscall.Recvfrom(q.back, b[:], syscall.MSG_DONTWAIT) // the rest of a message goes with it
		switch {
		case err == nil:
			heads = append(heads, append([]byte(nil), b[:n]...))
		case !errors.Is(err, syscall.EINTR):
			return heads
		}
	}
}

func (q *queue) close() {
	_ = q.in.Close()
	_ = syscall.Close(q.back)
}
