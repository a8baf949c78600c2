// Command bench measures the figures that users feel beside their floors: what the bare parts cost
// on the same machine in the same run (platform/runner/bench). Every figure is the median of
// interleaved repetitions. It prints a table and writes build/bench.json.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pelton-run/pelton/platform/e2e/harness"
)

// figure is one row of build/bench.json.
type figure struct {
	ID    string  `json:"id"`
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	Floor float64 `json:"floor"` // what the parts alone cost, measured in the same run; 0 = there is none
	Ratio float64 `json:"ratio"` // value / floor
	Goal  string  `json:"goal"`
	OK    bool    `json:"ok"`
}

func main() {
	reps := flag.Int("reps", 5, "interleaved repetitions")
	only := flag.String("only", "", "rows to measure, by a part of their id, separated by commas; nothing is written then")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	b := &bench{reps: *reps, only: strings.FieldsFunc(*only, func(r rune) bool { return r == ',' }), samples: map[string][]float64{}}
	err := b.run(ctx)
	figures := b.figures()
	print(figures, b.idle)
	for _, text := range b.left {
		fmt.Println("left out:", text)
	}
	if len(figures) > 0 && *only == "" {
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

func print(figures []figure, idle float64) {
	fmt.Printf("%-14s %-58s %11s %-9s %11s %6s  %s\n", "id", "figure", "median", "unit", "floor", "ratio", "goal")
	for _, f := range figures {
		ok := "ok"
		if !f.OK {
			ok = "MISSED"
		}
		fmt.Printf("%-14s %-58s %11.3f %-9s %11.3f %6.2f  %s: %s\n", f.ID, f.Name, f.Value, f.Unit, f.Floor, f.Ratio, f.Goal, ok)
	}
	fmt.Printf("the processors were idle for %.0f %% of the measurements' time\n", idle*100)
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	if len(v) == 0 {
		return 0
	}
	return v[len(v)/2]
}

// bench gathers samples by name.
type bench struct {
	reps    int
	only    []string
	samples map[string][]float64
	idle    float64
	left    []string
}

// wants tells whether a row is measured.
func (b *bench) wants(id string) bool {
	return len(b.only) == 0 || slices.ContainsFunc(b.only, func(part string) bool { return "="+id == part || strings.Contains(id, part) })
}

func (b *bench) median(name string) float64 { return median(b.samples[name]) }

// rule says how a figure stands to its floor.
type rule struct {
	id, name, unit string
	floor          string  // name of the floor's samples
	times          float64 // the value is at most (times > 0, up = false) or at least (up) times the floor
	up             bool
	limit          float64 // or at most (at least) this, 0 = none
}

var rules = []rule{
	{id: "http_call", name: "floor: one HTTP call over loopback", unit: "ms"},
	{id: "pg_commit", name: "floor: one durable row in PostgreSQL", unit: "ms"},
	{id: "python_call", name: "floor: one framed call of a Python worker", unit: "ms"},
	{id: "grpc_call", name: "floor: one gRPC call over a Unix socket", unit: "ms"},
	{id: "grpc_message", name: "floor: a message on an open gRPC stream, and its answer", unit: "ms"},
	// The steps of these chains say that they are pure, as those of a no-op are; rows with "any" do not say it.
	{id: "chain_1", name: "1: durable chain of 10 Python steps, HTTP, p50", unit: "ms", floor: "floor_chain_1", times: 1.8},
	{id: "chain_32", name: "2: the same, 32 at a time", unit: "chains/s", floor: "floor_chain_32", times: 0.4, up: true},
	{id: "any_chain_1", name: "1: the same, effect of the steps not told", unit: "ms", floor: "floor_chain_1"},
	{id: "any_chain_32", name: "2: the same, effect of the steps not told", unit: "chains/s", floor: "floor_chain_32"},
	{id: "steps_256", name: "3: durable Python steps, 256 chains at a time", unit: "steps/s", floor: "floor_steps_256", times: 0.4, up: true},
	{id: "one_step", name: "4: HTTP trigger, one durable Python step, answer, p50", unit: "ms", floor: "floor_one", times: 3, limit: 1.8},
	{id: "any_one_step", name: "4: the same, effect of the step not told", unit: "ms", floor: "floor_one"},
	{id: "python_32", name: "5: Python, durability none, 32 clients", unit: "calls/s", up: true, limit: 15000},
	{id: "node_32", name: "6: Node.js, durability none, 32 clients", unit: "calls/s", floor: "floor_node_32", times: 0.9, up: true},
	{id: "fork_first", name: "7: call to answer in a new process, Python fork, warm parent", unit: "ms", floor: "floor_fork", limit: 10},
	{id: "cold_first", name: "7: from zero to the first answer, Python, cold", unit: "ms", floor: "floor_interpreter", times: 1.3},
	{id: "queue_drain", name: "8: one-step runs, started one by one, drained", unit: "runs/s", up: true, limit: 20000},
	{id: "queue_start", name: "8: order of a run to the start of its handler, p50", unit: "ms", limit: 2},
	{id: "cpu_1", name: "9: processor time of a step, chains one at a time", unit: "ms"},
	{id: "cpu_256", name: "9: processor time of a step, 256 chains at a time", unit: "ms"},
	{id: "for_each", name: "11: forEach over 100,000 items, 64 at a time", unit: "items/s", floor: "steps_256", times: 0.3, up: true},
	{id: "save_to_run", name: "save of a handler to the first run of it", unit: "ms", limit: 300},
}

func (b *bench) figures() []figure {
	var out []figure
	for _, r := range rules {
		if len(b.samples[r.id]) == 0 {
			continue
		}
		f := figure{ID: r.id, Name: r.name, Unit: r.unit, Value: b.median(r.id), Floor: b.median(r.floor)}
		if f.Floor > 0 {
			f.Ratio = f.Value / f.Floor
		}
		f.Goal, f.OK = r.judge(f)
		out = append(out, f)
	}
	return out
}

func (r rule) judge(f figure) (goal string, ok bool) {
	var goals []string
	word, sign := "at most", 1.0
	if r.up {
		word, sign = "at least", -1.0
	}
	if r.times > 0 {
		goals = append(goals, fmt.Sprintf("%g x floor", r.times))
		ok = ok || f.Floor > 0 && sign*f.Value <= sign*r.times*f.Floor
	}
	if r.limit > 0 {
		goals = append(goals, fmt.Sprintf("%g %s", r.limit, r.unit))
		ok = ok || sign*f.Value <= sign*r.limit
	}
	if len(goals) == 0 {
		return "reported", true
	}
	return word + " " + strings.Join(goals, " or "), ok
}
