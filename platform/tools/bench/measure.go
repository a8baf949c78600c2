package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	floors "github.com/pelton-run/pelton/platform/runner/bench"
)

// span is how long each rate is measured in each repetition.
const span = 2 * time.Second

// one is a thing that is measured once in each repetition.
type one struct {
	name    string
	measure func(ctx context.Context) (float64, error)
}

// run measures every row, floors and figures in turn, so that what else the machine does falls on both.
func (b *bench) run(ctx context.Context) error {
	durable, err := floors.NewDurable(ctx, os.Getenv("PELTON_TEST_POSTGRES"))
	if err != nil {
		return fmt.Errorf("the floor of durable chains: %w", err)
	}
	defer durable.Close()
	calls, err := floors.NewCalls(ctx)
	if err != nil {
		return fmt.Errorf("the floor of gRPC: %w", err)
	}
	defer calls.Close()
	warm, err := floors.NewWarm(ctx)
	if err != nil {
		return fmt.Errorf("the floor of forks: %w", err)
	}
	defer warm.Close()
	p, err := start(ctx, b.reps)
	if err != nil {
		return err
	}
	defer p.close()
	all := append(parts(durable, calls, warm), append(b.chains(durable, p), b.others(p)...)...)
	idle, sum := machine()
	defer func() {
		i, s := machine()
		b.idle = float64(i-idle) / float64(max(s-sum, 1))
	}()
	for range b.reps {
		for _, m := range all {
			if !b.wants(m.name) {
				continue
			}
			v, err := m.measure(ctx)
			if err != nil {
				return fmt.Errorf("%s: %w", m.name, err)
			}
			b.samples[m.name] = append(b.samples[m.name], v)
			if m.name == "python_call" && len(b.samples["http_call"])*len(b.samples["pg_commit"]) > 0 {
				// One HTTP call, the commit that acknowledges the run, one call of the worker, the commit of its end.
				at := len(b.samples[m.name]) - 1
				b.samples["floor_one"] = append(b.samples["floor_one"], b.samples["http_call"][at]+2*b.samples["pg_commit"][at]+v)
			}
		}
	}
	return nil
}

// parts are the floors of single parts.
func parts(d *floors.Durable, calls *floors.Calls, warm *floors.Warm) []one {
	return []one{
		{"http_call", func(context.Context) (float64, error) {
			addr, stop, err := floors.Echo()
			if err != nil {
				return 0, err
			}
			defer stop()
			return latency(addr, "/", 1000)
		}},
		{"pg_commit", func(ctx context.Context) (float64, error) {
			return sample(400, func() error { return d.Commit(ctx) })
		}},
		{"python_call", func(context.Context) (float64, error) { return sample(1000, d.Call) }},
		{"grpc_call", func(ctx context.Context) (float64, error) {
			return sample(1000, func() error { return calls.Unary(ctx) })
		}},
		{"grpc_message", func(context.Context) (float64, error) { return sample(1000, calls.Message) }},
		{"floor_fork", func(context.Context) (float64, error) { return sample(40, warm.Fork) }},
		{"floor_interpreter", floors.Interpreter},
	}
}

// chains are the durable figures beside their floors.
func (b *bench) chains(d *floors.Durable, p *platform) []one {
	var cpu1, cpu256 float64
	return []one{
		{"floor_chain_1", func(ctx context.Context) (float64, error) {
			return sample(60, func() error { _, err := d.Chain(ctx); return err })
		}},
		{"chain_1", func(context.Context) (float64, error) {
			const n = 80
			before := p.trees()
			v, err := latency(p.addr, path("chain"), n)
			cpu1 = float64((p.trees() - before).Microseconds()) / 1e3 / (n + n/10) / floors.Steps
			return v, err
		}},
		{"any_chain_1", func(context.Context) (float64, error) { return latency(p.addr, path("anychain"), 80) }},
		{"any_one_step", func(context.Context) (float64, error) { return latency(p.addr, path("anyone"), 200) }},
		{"cpu_1", func(context.Context) (float64, error) { return cpu1, nil }},
		{"one_step", func(context.Context) (float64, error) { return latency(p.addr, path("one"), 200) }},
		{"floor_chain_32", func(ctx context.Context) (float64, error) { return d.Rate(ctx, 32, span) }},
		{"chain_32", func(ctx context.Context) (float64, error) { return rate(ctx, p.addr, path("chain"), 32, span) }},
		{"any_chain_32", func(ctx context.Context) (float64, error) { return rate(ctx, p.addr, path("anychain"), 32, span) }},
		{"floor_steps_256", func(ctx context.Context) (float64, error) {
			v, err := d.Rate(ctx, 256, span)
			return v * floors.Steps, err
		}},
		{"steps_256", func(ctx context.Context) (float64, error) {
			before := p.trees()
			v, err := rate(ctx, p.addr, path("chain"), 256, span)
			cpu256 = float64((p.trees() - before).Microseconds()) / 1e3 / (v * floors.Steps * span.Seconds())
			return v * floors.Steps, err
		}},
		{"cpu_256", func(context.Context) (float64, error) { return cpu256, nil }},
	}
}

func (b *bench) others(p *platform) []one {
	list := []one{
		{"queue_start", p.enqueueToStart},
		{"queue_drain", p.drain},
		{"for_each", p.forEach},
		{"cold_first", func(context.Context) (float64, error) { return p.first() }},
		{"fork_first", func(context.Context) (float64, error) { return latency(p.addr, path("forked"), 40) }},
		{"save_to_run", func(context.Context) (float64, error) { return p.saveToRun() }},
	}
	if !p.none {
		b.left = append(b.left, "python_32, node_32: this version does not know durability: none")
		return list
	}
	return append([]one{
		{"python_32", func(ctx context.Context) (float64, error) { return rate(ctx, p.addr, path("quick"), 32, span) }},
		{"floor_node_32", func(ctx context.Context) (float64, error) {
			addr, stop, err := floors.Node(ctx)
			if err != nil {
				return 0, err
			}
			defer stop()
			return rate(ctx, addr, "/", 32, span)
		}},
		{"node_32", func(ctx context.Context) (float64, error) { return rate(ctx, p.addr, path("quicknode"), 32, span) }},
	}, list...)
}

// enqueueToStart is the median time in ms from the order of a run to the first line of its handler.
func (p *platform) enqueueToStart(context.Context) (float64, error) {
	c, err := dial(p.addr, path("timed"))
	if err != nil {
		return 0, err
	}
	defer c.conn.Close()
	var times []float64
	for range 100 {
		ordered := time.Now()
		status, body, err := c.call()
		var out struct {
			At float64 `json:"at"`
		}
		if err = errors.Join(err, json.Unmarshal(body, &out)); err != nil || status != 200 {
			return 0, fmt.Errorf("the answer is %d: %s: %w", status, body, err)
		}
		times = append(times, (out.At-float64(ordered.UnixNano())/1e9)*1e3)
	}
	return median(times), nil
}

// drain starts runs as fast as 64 clients can, without waiting for their ends, and counts per
// second until the last has ended.
func (p *platform) drain(ctx context.Context) (float64, error) {
	const n, clients = 6400, 64
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	start := time.Now()
	ids := make([]string, clients)
	for i := range clients {
		wg.Go(func() {
			c, err := dial(p.addr, path("one"), "Prefer: respond-async")
			if err == nil {
				defer c.conn.Close()
			}
			for k := 0; k < n/clients && err == nil; k++ {
				var status int
				var body []byte
				if status, body, err = c.call(); err == nil && status != 202 {
					err = fmt.Errorf("the answer is %d: %s", status, body)
				}
				var out struct{ Run string }
				if err == nil {
					err = json.Unmarshal(body, &out)
				}
				ids[i] = out.Run
			}
			if err != nil {
				failed.Store(&err)
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	for _, id := range ids {
		if _, err := p.WaitRun(ctx, id); err != nil {
			return 0, err
		}
	}
	return n / time.Since(start).Seconds(), nil
}

// forEach is items per second of one run over a long list.
func (p *platform) forEach(ctx context.Context) (float64, error) {
	const n = 100_000
	var list bytes.Buffer
	list.WriteString(`{"workflow":"loop","inputs":{"items":[1`)
	list.WriteString(strings.Repeat(",1", n-1))
	list.WriteString("]}}")
	start := time.Now()
	resp, err := p.Do(ctx, "POST", "/runner/v1/projects/default/runs", "application/json", &list)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	var out struct{ ID string }
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil || out.ID == "" {
		return 0, fmt.Errorf("the run was not started (%d): %w", resp.StatusCode, err)
	}
	for {
		resp, err := p.Do(ctx, "GET", "/runner/v1/projects/default/runs/"+out.ID+"/result", "", nil)
		if err != nil {
			return 0, err
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		switch resp.StatusCode {
		case http.StatusOK:
			return n / time.Since(start).Seconds(), nil
		case http.StatusAccepted:
		default:
			return 0, fmt.Errorf("the run has no result (%d): %s", resp.StatusCode, text)
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}
