package e2e

import (
	"bufio"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// marks is a file of lines that actions leave about what they did: it outlives all of the platform, which is killed and
// judged by it.
type marks struct {
	file  string
	where string // what mark() in an action is given: the file, or the address of who appends to it for pods
}

// markPython begins the handlers of actions that mark: mark(where, line) returns once the line is in the file.
const markPython = `import socket


def mark(where, line):
    if not where.startswith("tcp:"):
        with open(where, "a") as f:
            f.write(line + "\n")
        return
    _, host, port = where.split(":")
    with socket.create_connection((host, int(port)), 10) as s:
        s.sendall(line.encode() + b"\n")
        if s.recv(1) != b"+":
            raise OSError("the line was not taken")


`

// newMarks makes the file, which actions of any user may append to. Pods do so through a listener of the test.
func newMarks(t *testing.T) marks {
	t.Helper()
	dir, err := os.MkdirTemp("", "pelton-marks-") //nolint:usetesting // other users have to reach it
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o777))
	file := filepath.Join(dir, "marks")
	require.NoError(t, os.WriteFile(file, nil, 0o666))
	require.NoError(t, os.Chmod(file, 0o666))
	if !onCluster() {
		return marks{file: file, where: file}
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", net.JoinHostPort(os.Getenv("PELTON_CLUSTER_NODE_IP"), "0"))
	require.NoError(t, err)
	t.Cleanup(func() { listener.Close() })
	go takeMarks(listener, file)
	return marks{file: file, where: "tcp:" + listener.Addr().String()}
}

// takeMarks appends one line of each connection to the file, until the listener is closed.
func takeMarks(listener net.Listener, file string) {
	var mu sync.Mutex
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			line, err := bufio.NewReader(conn).ReadString('\n')
			if err != nil {
				return // it was killed before it had said all
			}
			mu.Lock()
			defer mu.Unlock()
			f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				return
			}
			defer f.Close()
			if _, err := io.WriteString(f, line); err == nil {
				_, _ = conn.Write([]byte("+"))
			}
		}()
	}
}
