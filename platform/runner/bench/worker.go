// Package bench holds the floors of the runner's figures: what the bare parts of a step cost on
// this machine at this moment, with nothing of the engine between them. The tool
// platform/tools/bench measures them beside the engine, in the same run.
package bench

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

//go:embed worker.py
var workerText []byte

// worker is a bare Python process that answers framed JSON. One caller at a time uses call; many
// use ask.
type worker struct {
	cmd  *exec.Cmd
	dir  string
	conn net.Conn
	r    *bufio.Reader
	buf  []byte

	mu      sync.Mutex
	out     []byte // what the next write carries
	wake    chan struct{}
	waiting map[string]chan struct{}
}

// startWorker starts the worker and waits until it has connected.
func startWorker(ctx context.Context) (*worker, error) {
	dir, err := os.MkdirTemp("", "pelton-floor-")
	if err != nil {
		return nil, err
	}
	w := &worker{dir: dir, wake: make(chan struct{}, 1), waiting: map[string]chan struct{}{}}
	script := filepath.Join(dir, "worker.py")
	if err := os.WriteFile(script, workerText, 0o644); err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		return nil, err
	}
	defer l.Close()
	python, err := Python(ctx)
	if err != nil {
		return nil, err
	}
	w.cmd = exec.CommandContext(ctx, python, "-I", "-S", script, filepath.Join(dir, "s"))
	w.cmd.Stderr = os.Stderr
	if err := w.cmd.Start(); err != nil {
		return nil, err
	}
	if w.conn, err = l.Accept(); err != nil {
		return nil, err
	}
	w.r = bufio.NewReaderSize(w.conn, 1<<17)
	return w, nil
}

func (w *worker) close() {
	w.conn.Close()
	_ = w.cmd.Process.Kill()
	_ = w.cmd.Wait()
	os.RemoveAll(w.dir)
}

// Python is the interpreter itself: what is on PATH may be a script that looks for it.
func Python(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "python3", "-c", "import sys; print(sys.executable)").Output()
	return strings.TrimSpace(string(out)), err
}

func request(b []byte, id string, x int) []byte {
	at := len(b)
	b = append(b, 0, 0, 0, 0)
	b = append(b, `{"id":"`...)
	b = append(b, id...)
	b = append(b, `","in":{"x":`...)
	b = strconv.AppendInt(b, int64(x), 10)
	b = append(b, "}}"...)
	binary.BigEndian.PutUint32(b[at:], uint32(len(b)-at-4))
	return b
}

// answer reads one frame; the result is valid until the next call.
func (w *worker) answer() ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(w.r, head[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint32(head[:]))
	if cap(w.buf) < n {
		w.buf = make([]byte, n)
	}
	_, err := io.ReadFull(w.r, w.buf[:n])
	return w.buf[:n], err
}

// call asks once and waits, one caller at a time.
func (w *worker) call(id string, x int) error {
	if _, err := w.conn.Write(request(nil, id, x)); err != nil {
		return err
	}
	data, err := w.answer()
	if err != nil {
		return err
	}
	var m struct {
		ID string           `json:"id"`
		V  map[string]int64 `json:"v"`
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return err
	}
	if m.ID != id || m.V["x"] != int64(x) {
		return fmt.Errorf("the floor's worker answered %s", data)
	}
	return nil
}

// ask is call for many callers at a time: what gathers while a write is under way is the next one.
// pump has to run.
func (w *worker) ask(id string, x int, done chan struct{}) {
	w.mu.Lock()
	w.waiting[id] = done
	w.out = request(w.out, id, x)
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
	<-done
}

// pump writes and reads for ask until stop is closed.
func (w *worker) pump(stop <-chan struct{}) {
	go func() {
		for {
			data, err := w.answer()
			if err != nil {
				return
			}
			var m struct {
				ID string           `json:"id"`
				V  map[string]int64 `json:"v"`
			}
			if json.Unmarshal(data, &m) != nil {
				return
			}
			w.mu.Lock()
			done := w.waiting[m.ID]
			delete(w.waiting, m.ID)
			w.mu.Unlock()
			done <- struct{}{}
		}
	}()
	var out []byte
	for {
		select {
		case <-stop:
			return
		case <-w.wake:
		}
		w.mu.Lock()
		out, w.out = w.out, out[:0]
		w.mu.Unlock()
		if _, err := w.conn.Write(out); err != nil {
			return
		}
	}
}
