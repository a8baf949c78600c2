package userapi_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// drip is an executor whose attempts are carried out by the test, sink by sink.
type drip struct {
	mu    sync.Mutex
	sinks map[string]chan app.Sink // by step
}

func (d *drip) of(step string) chan app.Sink {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.sinks == nil {
		d.sinks = map[string]chan app.Sink{}
	}
	if d.sinks[step] == nil {
		d.sinks[step] = make(chan app.Sink, 10)
	}
	return d.sinks[step]
}

func (d *drip) Start(x app.Execution, s app.Sink)    { d.of(x.Step) <- s }
func (d *drip) Attach(_ app.Execution, s app.Sink)   { go s.Ended(app.Ended{Outcome: app.Unknown}) }
func (d *drip) Cancel(string, string, time.Duration) {}
func (d *drip) Forget(string)                        {}

func one(n int) app.Output {
	return app.Output{Index: n, List: true, Values: domain.Values{"x": domain.Value(fmt.Sprint(n))}}
}

// open calls a streaming trigger and gives what it answers, part by part.
func (b *bench) open(ctx context.Context, path, accept string) (run string, next func() map[string]any) {
	b.t.Helper()
	r, err := http.NewRequestWithContext(ctx, "POST", b.url+"/user-api/p"+path, strings.NewReader(`{"x":1}`))
	require.NoError(b.t, err)
	r.Header.Set("Authorization", "Bearer pk_operator")
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", accept)
	resp, err := http.DefaultClient.Do(r)
	require.NoError(b.t, err)
	b.t.Cleanup(func() { _ = resp.Body.Close() })
	require.Equal(b.t, 200, resp.StatusCode)
	events := accept != ""
	require.Equal(b.t, map[bool]string{true: "text/event-stream", false: "application/x-ndjson"}[events], resp.Header.Get("Content-Type"))
	lines := bufio.NewScanner(resp.Body)
	return resp.Header.Get("Pelton-Run"), func() map[string]any {
		b.t.Helper()
		name := ""
		for lines.Scan() {
			text := lines.Text()
			if events {
				if n, ok := strings.CutPrefix(text, "event: "); ok {
					name = n
				}
				var ok bool
				if text, ok = strings.CutPrefix(text, "data: "); !ok {
					continue
				}
			}
			var v map[string]any
			require.NoError(b.t, json.Unmarshal([]byte(text), &v), text)
			if events {
				require.Equal(b.t, name, v["type"])
			}
			return v
		}
		return nil
	}
}

func TestStream(t *testing.T) {
	exec := &drip{}
	b := &bench{t: t}
	b.start(exec)
	b.deploy("all", "a", "integer", `{"path": "/all", "mode": "stream"}`, nil)
	b.deploy("named", "a", "integer", `{"path": "/named", "mode": "stream", "stream": "a"}`, nil)
	b.deploy("brief", "a", "integer", `{"path": "/brief", "mode": "stream", "timeout": "1ms"}`, nil)
	for _, accept := range []string{"", "text/event-stream"} {
		t.Run("outputs come before the end "+accept, func(t *testing.T) {
			run, next := b.open(t.Context(), "/all", accept)
			s := <-exec.of("a")
			for n := range 3 {
				s.Output(one(n))
				p := next()
				require.Equal(t, "output a 1", fmt.Sprint(p["type"], " ", p["step"], " ", p["attempt"]))
				require.EqualValues(t, n, p["index"])
				require.EqualValues(t, map[string]any{"x": float64(n)}, p["values"])
			}
			s.Progress(0.5, "half")
			p := next()
			require.Equal(t, "progress 0.5 half", fmt.Sprint(p["type"], " ", p["fraction"], " ", p["note"]))
			s.Ended(app.Ended{Outcome: app.Completed, List: true, Outputs: 3})
			p = next()
			require.Equal(t, "result", p["type"])
			require.Equal(t, run, p["run"])
			require.Equal(t, map[string]any{"x": []any{0.0, 1.0, 2.0}}, p["result"])
			require.Nil(t, next())
		})
	}
	t.Run("a failure is the last part", func(t *testing.T) {
		run, next := b.open(t.Context(), "/all", "text/event-stream")
		s := <-exec.of("a")
		s.Output(one(0))
		require.Equal(t, "output", next()["type"])
		s.Ended(app.Ended{Outcome: app.Failed, Error: &domain.StepError{Kind: "user_error", Message: "no more", Code: "418"}})
		p := next()
		require.Equal(t, "problem", p["type"])
		problem, _ := p["problem"].(map[string]any)
		require.Equal(t, "418 step a: no more "+run, fmt.Sprint(problem["status"], " ", problem["detail"], " ", problem["run"]))
		require.Nil(t, next())
	})
	t.Run("the outputs of a named step, also those that are no list", func(t *testing.T) {
		_, next := b.open(t.Context(), "/named", "")
		s := <-exec.of("a")
		s.Output(app.Output{Values: domain.Values{"x": domain.Value("7")}})
		require.Equal(t, "output", next()["type"])
		s.Ended(app.Ended{Outcome: app.Completed, Outputs: 1})
		require.Equal(t, "result", next()["type"])
	})
	t.Run("a caller who leaves does not end the run", func(t *testing.T) {
		ctx, leave := context.WithCancel(t.Context())
		run, next := b.open(ctx, "/all", "")
		s := <-exec.of("a")
		s.Output(one(0))
		require.NotNil(t, next())
		leave()
		s.Output(one(1))
		s.Ended(app.Ended{Outcome: app.Completed, List: true, Outputs: 2})
		res, err := b.app.Await(t.Context(), "p", run)
		require.NoError(t, err)
		require.Equal(t, `[0,1]`, string(res.Result["x"]))
	})
	t.Run("more than a slow reader takes", func(t *testing.T) {
		_, next := b.open(t.Context(), "/all", "")
		s := <-exec.of("a")
		const many = 5000
		for n := range many {
			s.Output(one(n))
		}
		s.Ended(app.Ended{Outcome: app.Completed, List: true, Outputs: many})
		for n := range many {
			require.EqualValues(t, n, next()["index"])
		}
		require.Equal(t, "result", next()["type"])
	})
	t.Run("a deadline", func(t *testing.T) {
		run, next := b.open(t.Context(), "/brief", "")
		p := next()
		require.Equal(t, "running", p["type"])
		require.Equal(t, b.url+"/user-api/p/-/runs/"+run+"/result", p["result"])
		require.Nil(t, next())
		(<-exec.of("a")).Ended(app.Ended{Outcome: app.Cancelled})
		_, err := b.app.Await(t.Context(), "p", run)
		require.NoError(t, err)
	})
	t.Run("asked to answer at once", func(t *testing.T) {
		a := b.call("POST", "/all", map[string]string{"Prefer": "respond-async", "Content-Type": "application/json"}, strings.NewReader(`{"x":1}`))
		require.Equal(t, 202, a.code)
		(<-exec.of("a")).Ended(app.Ended{Outcome: app.Cancelled})
	})
}
