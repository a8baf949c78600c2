// Command bench measures the figures that users feel, beside the floors of the same machine in
// the same run: a gRPC call over loopback and a durable PostgreSQL commit. It prints a table and
// writes build/bench.json. Medians; every loop is bounded.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/pelton-run/pelton/platform/e2e/harness"
)

// figure is one row of build/bench.json.
type figure struct {
	ID    string  `json:"id"`
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	Floor float64 `json:"floor"` // what the parts alone cost, measured in the same run; 0 = it is a floor itself
	Ratio float64 `json:"ratio"` // value / floor
	Goal  string  `json:"goal"`
	OK    bool    `json:"ok"`
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute)
	defer cancel()
	figures, err := measure(ctx)
	print(figures)
	if len(figures) > 0 {
		data, _ := json.MarshalIndent(figures, "", "  ")
		path := filepath.Join(harness.Root(), "build", "bench.json")
		if werr := os.WriteFile(path, append(data, '\n'), 0o644); werr != nil && err == nil {
			err = werr
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func print(figures []figure) {
	fmt.Printf("%-18s %-52s %12s %-8s %10s %7s  %s\n", "id", "figure", "median", "unit", "floor", "ratio", "goal")
	for _, f := range figures {
		ok := "ok"
		if !f.OK {
			ok = "MISSED"
		}
		fmt.Printf("%-18s %-52s %12.3f %-8s %10.3f %7.2f  %s %s\n", f.ID, f.Name, f.Value, f.Unit, f.Floor, f.Ratio, f.Goal, ok)
	}
}

func measure(ctx context.Context) ([]figure, error) {
	rpc, err := grpcFloor(ctx)
	if err != nil {
		return nil, fmt.Errorf("gRPC floor: %w", err)
	}
	commit, err := commitFloor(ctx)
	if err != nil {
		return nil, fmt.Errorf("commit floor: %w", err)
	}
	get, err := httpFloor(ctx)
	if err != nil {
		return nil, fmt.Errorf("HTTP floor: %w", err)
	}
	figures := []figure{
		{ID: "grpc_call", Name: "gRPC call over loopback", Value: rpc, Unit: "ms", OK: true},
		{ID: "pg_commit", Name: "durable one-row commit in PostgreSQL", Value: commit, Unit: "ms", OK: true},
		{ID: "http_call", Name: "HTTP call over loopback", Value: get, Unit: "ms", OK: true},
	}
	b, err := newBench(ctx)
	if err != nil {
		return figures, err
	}
	defer func() { _ = b.p.Stop(); os.RemoveAll(b.dir) }()
	add := func(id, name string, value float64, unit string, floor float64, goal string, ok bool) {
		f := figure{ID: id, Name: name, Value: value, Unit: unit, Floor: floor, Goal: goal, OK: ok}
		if floor > 0 {
			f.Ratio = value / floor
		}
		figures = append(figures, f)
	}
	one, err := b.latency(ctx, "/one", 400)
	if err != nil {
		return figures, err
	}
	// One HTTP call, the commit that acknowledges the run, one call of the worker, the commit of its end.
	oneFloor := get + 2*commit + rpc
	add("one_step", "one no-op Python step, HTTP trigger to answer", one, "ms", oneFloor, "3 x floor", one <= 3*oneFloor)
	chain, err := b.latency(ctx, "/chain", 200)
	if err != nil {
		return figures, err
	}
	chainFloor := get + 11*commit + 10*rpc
	add("chain_10", "chain of 10 no-op Python steps", chain, "ms", chainFloor, "1.8 x floor", chain <= 1.8*chainFloor)
	rate, err := b.rate(ctx, 64, 6*time.Second)
	if err != nil {
		return figures, err
	}
	add("steps_64", "steps per second, 64 runs at a time", rate, "steps/s", 0, "reported", true)
	save, err := b.saveToRun(ctx, 9)
	if err != nil {
		return figures, err
	}
	add("save_to_run", "save of a handler to the first run of it", save, "ms", 0, "300 ms", save <= 300)
	return figures, nil
}

func median(v []float64) float64 { sort.Float64s(v); return v[len(v)/2] }

func sample(n int, f func() error) (float64, error) {
	times := make([]float64, 0, n)
	for i := range n + n/10 {
		start := time.Now()
		if err := f(); err != nil {
			return 0, err
		}
		if i >= n/10 { // the first tenth warms up
			times = append(times, float64(time.Since(start).Nanoseconds())/1e6)
		}
	}
	return median(times), nil
}

func grpcFloor(ctx context.Context) (float64, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	srv := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(srv, health.NewServer())
	go func() { _ = srv.Serve(l) }()
	defer srv.Stop()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	c := grpc_health_v1.NewHealthClient(conn)
	return sample(2000, func() error { _, err := c.Check(ctx, &grpc_health_v1.HealthCheckRequest{}); return err })
}

func commitFloor(ctx context.Context) (float64, error) {
	conn, err := pgx.Connect(ctx, os.Getenv("PELTON_TEST_POSTGRES"))
	if err != nil {
		return 0, err
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, "CREATE TABLE IF NOT EXISTS bench_commit (id bigserial PRIMARY KEY, v bytea)"); err != nil {
		return 0, err
	}
	row := make([]byte, 200)
	return sample(1000, func() error {
		_, err := conn.Exec(ctx, "INSERT INTO bench_commit (v) VALUES ($1)", row)
		return err
	})
}

func httpFloor(ctx context.Context) (float64, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	srv := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
	})}
	go func() { _ = srv.Serve(l) }()
	defer srv.Close()
	return sample(2000, func() error {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+l.Addr().String(), bytes.NewReader([]byte(`{"x":1}`)))
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	})
}

type bench struct {
	p       *harness.Platform
	dir     string
	handler string
	http    *http.Client
}

const handlerText = "VERSION = %d\n\n\ndef handle(inputs):\n    return {\"x\": inputs[\"x\"], \"version\": VERSION}\n"

// newBench starts a platform with a workspace of one action and two workflows.
func newBench(ctx context.Context) (*bench, error) {
	dir, err := os.MkdirTemp("", "pelton-bench-")
	if err != nil {
		return nil, err
	}
	b := &bench{dir: dir, handler: filepath.Join(dir, "work", "actions", "noop", "handler.py"),
		http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 128, MaxIdleConns: 256}}}
	files := map[string]string{
		"actions/noop/action.yaml": "apiVersion: pelton.dev/v1\nkind: Processor\nspec:\n  runtime: python3\n  isolation: reuse\n" +
			"  inputs: [{name: x, type: integer}]\n  outputs: [{name: x, type: integer}, {name: version, type: integer}]\n",
		"actions/noop/handler.py": fmt.Sprintf(handlerText, 0),
		"workflows/one.yaml":      workflow("one", 1),
		"workflows/chain.yaml":    workflow("chain", 10),
	}
	for name, text := range files {
		path := filepath.Join(dir, "work", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	if b.p, err = harness.Start(ctx, harness.Options{Home: filepath.Join(dir, "home")}); err != nil {
		return nil, err
	}
	if err := b.p.AddFolder(ctx, "bench", filepath.Join(dir, "work")); err != nil {
		return nil, err
	}
	for _, w := range []string{"one", "chain"} {
		if err := b.p.WaitLive(ctx, w); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func workflow(name string, steps int) string {
	text := "apiVersion: pelton.dev/v1\nkind: Workflow\nmetadata: {name: " + name + "}\nspec:\n  inputs: [{name: x, type: integer}]\n" +
		"  triggers:\n    - {id: http, uses: http, with: {method: POST, path: /" + name + ", mode: sync, timeout: 60s, auth: none}}\n  steps:\n"
	from := "inputs.x"
	for i := range steps {
		text += fmt.Sprintf("    - {id: s%d, uses: ./actions/noop, with: {x: \"${%s}\"}}\n", i, from)
		from = fmt.Sprintf("steps.s%d.x", i)
	}
	return text + fmt.Sprintf("  result: {x: \"${%s}\", version: \"${steps.s%d.version}\"}\n", from, steps-1)
}

// call starts a run over HTTP and waits for its answer.
func (b *bench) call(ctx context.Context, path string) (version int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, b.p.URL+"/user-api/default"+path, bytes.NewReader([]byte(`{"x":1}`)))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := b.http.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	var out struct{ X, Version int }
	if resp.StatusCode != http.StatusOK || json.Unmarshal(data, &out) != nil || out.X != 1 {
		return 0, fmt.Errorf("%s answered %d: %s", path, resp.StatusCode, data)
	}
	return out.Version, nil
}

func (b *bench) latency(ctx context.Context, path string, n int) (float64, error) {
	return sample(n, func() error { _, err := b.call(ctx, path); return err })
}

// rate keeps n chains of 10 under way for a while and counts the steps that end per second.
func (b *bench) rate(ctx context.Context, n int, d time.Duration) (float64, error) {
	var chains atomic.Int64
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	start := time.Now()
	for range n {
		wg.Go(func() {
			for time.Since(start) < d && failed.Load() == nil {
				if _, err := b.call(ctx, "/chain"); err != nil {
					failed.Store(&err)
					return
				}
				chains.Add(1)
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	return float64(chains.Load()*10) / time.Since(start).Seconds(), nil
}

// saveToRun writes a new handler and calls until an answer comes from it.
func (b *bench) saveToRun(ctx context.Context, n int) (float64, error) {
	var times []float64
	for i := 1; i <= n; i++ {
		start := time.Now()
		if err := os.WriteFile(b.handler, fmt.Appendf(nil, handlerText, i), 0o644); err != nil {
			return 0, err
		}
		for {
			v, err := b.call(ctx, "/one")
			if err != nil {
				return 0, err
			}
			if v == i {
				break
			}
			if time.Since(start) > 30*time.Second {
				return 0, errors.New("a saved handler was not used within 30 s")
			}
		}
		times = append(times, float64(time.Since(start).Nanoseconds())/1e6)
	}
	return median(times), nil
}
