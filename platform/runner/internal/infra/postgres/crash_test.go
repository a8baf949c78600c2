package postgres_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/kit/pg"
	"github.com/pelton-run/pelton/platform/kit/pgtest"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/app/apptest"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/postgres"
)

const (
	crashURL  = "PELTON_CRASH_URL"
	crashFile = "PELTON_CRASH_FILE"
	crashRuns = "PELTON_CRASH_RUNS"
)

// fileExecutor notes every start and end of an attempt in a file. Its attempts die with the
// process, so that Attach knows: in the file, it is lost; else it never started.
type fileExecutor struct {
	path string
	out  *os.File
}

func (f *fileExecutor) note(what, id string) { _, _ = fmt.Fprintf(f.out, "%s %s\n", what, id) }

func (f *fileExecutor) Start(x app.Execution, s app.Sink) {
	f.note("start", x.ID)
	go func() {
		<-time.After(time.Duration(rand.IntN(2000)) * time.Microsecond)
		f.note("end", x.ID)
		r := apptest.AddOne(context.Background(), x)
		s.Output(app.Output{Values: r.Outputs[0]})
		s.Ended(app.Ended{Outcome: app.Completed, Outputs: 1})
	}()
}

func (f *fileExecutor) Attach(x app.Execution, s app.Sink) {
	data, _ := os.ReadFile(f.path)
	outcome := app.Unknown
	if bytes.Contains(data, []byte("start "+x.ID+"\n")) {
		outcome = app.Lost
	}
	go s.Ended(app.Ended{Outcome: outcome})
}

func (f *fileExecutor) Cancel(string, string, time.Duration) {}
func (f *fileExecutor) Forget(string)                        {}

// TestCrashChild is the process that TestCrash kills; by itself it does nothing. It starts
// runs, tells those that were acknowledged, and waits for them and all that it found.
func TestCrashChild(t *testing.T) {
	if os.Getenv(crashURL) == "" {
		return
	}
	pool, err := pg.Open(t.Context(), os.Getenv(crashURL), pg.Options{})
	require.NoError(t, err)
	out, err := os.OpenFile(os.Getenv(crashFile), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	r := apptest.StartWith(t, on(t, pool), &fileExecutor{path: out.Name(), out: out})
	if live, _ := r.Live(); len(live) == 0 {
		r.Deploy(apptest.Chain(5))
	}
	n, err := strconv.Atoi(os.Getenv(crashRuns))
	require.NoError(t, err)
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			s, err := r.StartRun(t.Context(), app.StartRun{Project: "p", Workflow: "chain", Inputs: apptest.Values("n", "0")})
			if err != nil {
				t.Error(err)
				return
			}
			fmt.Printf("acked %s\n", s.ID)
			r.Wait(s.ID)
		})
	}
	wg.Wait()
	fmt.Println("all ended")
	_, _ = io.Copy(io.Discard, os.Stdin) // until the parent says so
}

// TestCrash kills the runner with SIGKILL at random moments. What the journal says is
// finished is never started again; only lost attempts are repeated; every acknowledged run
// completes.
func TestCrash(t *testing.T) {
	pool, url := pgtest.NewURL(t, "runner", postgres.Migrations, "migrations")
	store := postgres.New(pool, nil, nil)
	file := filepath.Join(t.TempDir(), "attempts")
	acked := map[string]bool{}
	finished := map[string]bool{}
	seen := 0
	for life := range 8 {
		last := life == 7
		runs := 20
		if last {
			runs = 1
		}
		spare := func() { spareTheUnlucky(t, store, file, finished) }
		live(t, url, file, runs, last, acked, spare)
		lines := readLines(t, file)
		for _, l := range lines[seen:] {
			what, id, _ := strings.Cut(l, " ")
			require.False(t, what == "start" && finished[stepRunOf(id)], "%s started after its step was finished", id)
		}
		seen = len(lines)
		for run := range acked {
			noteFinished(t, store, run, finished)
		}
		if last {
			break
		}
	}
	require.Greater(t, len(acked), 20)
	starts := map[string]int{}
	for _, l := range readLines(t, file) {
		if what, id, _ := strings.Cut(l, " "); what == "start" {
			require.Equal(t, 0, starts[id], "%s was sent twice", id)
			starts[id]++
		}
	}
	db := on(t, pool)
	r := apptest.StartWith(t, db, &fileExecutor{path: file, out: os.Stderr})
	lost := 0
	for run := range acked {
		res := r.Wait(run)
		require.Equal(t, domain.RunCompleted, res.State, "%v", res.Error)
		require.Equal(t, "5", string(res.Result["n"]))
		d, err := r.GetRun(t.Context(), "p", run)
		require.NoError(t, err)
		for _, s := range d.Steps {
			for i, a := range s.Attempts {
				want := domain.AttemptLost
				if i == len(s.Attempts)-1 {
					want = domain.AttemptCompleted
				}
				require.Equal(t, want, a.State)
			}
			lost += len(s.Attempts) - 1
		}
	}
	t.Logf("%d runs acknowledged, %d attempts lost", len(acked), lost)
}

// spareTheUnlucky waits until no step run is at its last attempt that may be lost: on a machine that is
// slow enough, kills in a row would find the same one under way more often than it may be lost.
func spareTheUnlucky(t *testing.T, store *postgres.Store, file string, finished map[string]bool) {
	t.Helper()
	finished = maps.Clone(finished) // what ends now was rightly started in this life
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(time.Minute); ; {
		starts, unlucky := map[string]int{}, map[string]bool{}
		for _, l := range readLines(t, file) {
			if what, id, _ := strings.Cut(l, " "); what == "start" {
				if s := stepRunOf(id); !finished[s] {
					if starts[s]++; starts[s] >= domain.LostLimit {
						run, _, _ := strings.Cut(id, ":")
						unlucky[run] = true
					}
				}
			}
		}
		if len(unlucky) == 0 {
			return
		}
		for run := range unlucky {
			noteFinished(t, store, run, finished)
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("attempts never end: %v", unlucky)
		}
	}
}

// live runs the child once: killed at a random moment, when that may be, or to its end.
func live(t *testing.T, url, file string, runs int, last bool, acked map[string]bool, spare func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestCrashChild$", "-test.count=1")
	cmd.Env = append(os.Environ(), crashURL+"="+url, crashFile+"="+file, crashRuns+"="+strconv.Itoa(runs))
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	said := make(chan string, 1000)
	go func() {
		defer close(said)
		for sc := bufio.NewScanner(stdout); sc.Scan(); {
			said <- sc.Text()
		}
	}()
	kill := time.After(time.Minute)
	begun := false
	var all []string
	for open := true; open; {
		var line string
		select {
		case line, open = <-said:
		case <-kill:
			if kill = nil; begun {
				spare()
			}
			_ = cmd.Process.Kill()
			continue
		}
		all = append(all, line)
		if id, ok := strings.CutPrefix(line, "acked "); ok {
			acked[id] = true
			if !begun && !last {
				begun = true
				kill = time.After(time.Duration(rand.IntN(15000)) * time.Microsecond)
			}
		}
		if line == "all ended" && last {
			_ = stdin.Close()
		}
	}
	err = cmd.Wait()
	if last {
		require.NoError(t, err, strings.Join(all, "\n"))
	}
}

func readLines(t *testing.T, file string) []string {
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	return slices.Collect(strings.FieldsFuncSeq(string(data), func(c rune) bool { return c == '\n' })) // none if it was killed at once
}

// stepRunOf drops the attempt of an execution id.
func stepRunOf(id string) string { return id[:strings.LastIndex(id, ":")] }

func noteFinished(t *testing.T, store *postgres.Store, run string, finished map[string]bool) {
	rows, err := store.RunRows(t.Context(), run)
	require.NoError(t, err)
	for _, row := range rows {
		facts, err := domain.DecodeRow(row)
		require.NoError(t, err)
		for _, f := range facts {
			if f.Kind == domain.FactAttemptEnded && f.Outcome == domain.OutcomeCompleted {
				finished[domain.IdempotencyKey(run, fmt.Sprintf("s%d", f.Step), f.Path)] = true
			}
		}
	}
}
