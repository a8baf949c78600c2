package bench

import (
	"bufio"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
)

// Calls is a gRPC server on a Unix socket with a client of it.
type Calls struct {
	dir    string
	srv    *grpc.Server
	conn   *grpc.ClientConn
	stream grpc.BidiStreamingClient[reflectionv1.ServerReflectionRequest, reflectionv1.ServerReflectionResponse]
}

// NewCalls starts the server and opens one stream.
func NewCalls(ctx context.Context) (*Calls, error) {
	dir, err := os.MkdirTemp("", "pelton-floor-")
	if err != nil {
		return nil, err
	}
	c := &Calls{dir: dir, srv: grpc.NewServer()}
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		return nil, err
	}
	grpc_health_v1.RegisterHealthServer(c.srv, health.NewServer())
	reflection.Register(c.srv)
	go func() { _ = c.srv.Serve(l) }()
	if c.conn, err = grpc.NewClient("unix:"+filepath.Join(dir, "s"), grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		return nil, err
	}
	c.stream, err = reflectionv1.NewServerReflectionClient(c.conn).ServerReflectionInfo(ctx)
	return c, err
}

// Close ends server and client.
func (c *Calls) Close() { c.conn.Close(); c.srv.Stop(); os.RemoveAll(c.dir) }

// Unary is one unary call.
func (c *Calls) Unary(ctx context.Context) error {
	_, err := grpc_health_v1.NewHealthClient(c.conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	return err
}

// Message is one message and its answer on the open stream.
func (c *Calls) Message() error {
	err := c.stream.Send(&reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: "none"}})
	if err != nil {
		return err
	}
	_, err = c.stream.Recv()
	return err
}

// Echo serves bare HTTP that answers with the request's body; it tells its address.
func Echo() (addr string, closeIt func(), err error) {
	return serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.Copy(w, r.Body)
	}))
}

func serve(h http.Handler) (addr string, closeIt func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	srv := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: h}
	go func() { _ = srv.Serve(l) }()
	return l.Addr().String(), func() { _ = srv.Close() }, nil
}

//go:embed handler.mjs
var nodeText []byte

//go:embed fork.py
var forkText []byte

// Node serves the figure's handler from bare node:http behind one reverse proxy, as any platform
// with a gateway has; it tells the proxy's address.
func Node(ctx context.Context) (addr string, closeIt func(), err error) {
	dir, err := os.MkdirTemp("", "pelton-floor-")
	if err != nil {
		return "", nil, err
	}
	script := filepath.Join(dir, "handler.mjs")
	if err := os.WriteFile(script, nodeText, 0o644); err != nil {
		return "", nil, err
	}
	cmd := exec.CommandContext(ctx, "node", script)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	port, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return "", nil, errors.Join(err, cmd.Wait())
	}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "127.0.0.1:" + strings.TrimSpace(port)})
	proxy.Transport = &http.Transport{MaxIdleConnsPerHost: 256}
	addr, stop, err := serve(proxy)
	return addr, func() { stop(); _ = cmd.Process.Kill(); _ = cmd.Wait(); os.RemoveAll(dir) }, err
}

// Interpreter is the time in ms from the start of Python, with the imports that every handler's
// process needs for its frames, to its first answer.
func Interpreter(ctx context.Context) (float64, error) {
	python, err := Python(ctx)
	if err != nil {
		return 0, err
	}
	start := time.Now()
	out, err := exec.CommandContext(ctx, python, "-B", "-u", "-E", "-s", "-c", "import json, socket, struct, signal, resource, base64, time, inspect, importlib.util, logging; print('x')").Output()
	if err == nil && string(out) != "x\n" {
		err = fmt.Errorf("the interpreter printed %q", out)
	}
	return ms(time.Since(start)), err
}

// Warm is a warm Python parent that forks.
type Warm struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out io.ReadCloser
}

// NewWarm starts the parent.
func NewWarm(ctx context.Context) (*Warm, error) {
	python, err := Python(ctx)
	if err != nil {
		return nil, err
	}
	w := &Warm{cmd: exec.CommandContext(ctx, python, "-I", "-S", "-c", string(forkText))}
	if w.in, err = w.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if w.out, err = w.cmd.StdoutPipe(); err != nil {
		return nil, err
	}
	return w, w.cmd.Start()
}

// Fork has a child made and waits for its answer.
func (w *Warm) Fork() error {
	b := []byte{'x'}
	if _, err := w.in.Write(b); err != nil {
		return err
	}
	_, err := io.ReadFull(w.out, b)
	return err
}

// Close ends the parent.
func (w *Warm) Close() { w.in.Close(); _ = w.cmd.Wait() }
