package domain_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/runner/internal/domain"
	"github.com/pelton-run/pelton/platform/runner/internal/domain/domaintest"
)

// randomWorkflow draws a graph of up to nine steps; each reads the outputs of its needs.
func randomWorkflow(rnd *rand.Rand) domain.Definition {
	d := domain.Definition{Workflow: "w", RevisionID: "r", Revision: 1, Result: map[string]string{}}
	build := domain.Build{Digest: "b", Action: "b@1", Inputs: []domain.Item{{Name: "item", Optional: true}}}
	for i := range 2 + rnd.IntN(8) {
		s := domain.StepSpec{ID: fmt.Sprintf("s%d", i), Kind: "action", Uses: "b", Build: "b", With: map[string]json.RawMessage{}}
		for j := range i {
			if rnd.IntN(3) == 0 && len(s.Needs) < 3 {
				s.Needs = append(s.Needs, fmt.Sprintf("s%d", j))
			}
		}
		for _, n := range s.Needs {
			s.With["in_"+n] = json.RawMessage(fmt.Sprintf(`"${steps.%s.out}"`, n))
		}
		build.Inputs = append(build.Inputs, domain.Item{Name: "in_" + s.ID, Optional: true})
		if len(s.Needs) > 0 {
			some := s.Needs[rnd.IntN(len(s.Needs))]
			s.If = []string{"", "", "", "", "always()", "failed()", fmt.Sprintf("skipped(%q)", some), "steps." + some + ".flag == 1"}[rnd.IntN(8)]
			if rnd.IntN(6) == 0 {
				s.Join = "any"
			}
			if rnd.IntN(4) == 0 {
				s.ForEach = &domain.ForEachSpec{In: "steps." + some + ".list", As: "item", Concurrency: rnd.IntN(3)}
			}
		} else if rnd.IntN(4) == 0 {
			s.ForEach = &domain.ForEachSpec{In: `[7,8,9]`, As: "item", Concurrency: rnd.IntN(3)}
		}
		if s.ForEach != nil {
			s.With["item"] = json.RawMessage(`"${item}"`)
		}
		if rnd.IntN(2) == 0 {
			s.Retry = &domain.RetrySpec{Attempts: 1 + rnd.IntN(4), Backoff: time.Duration(rnd.IntN(2)) * time.Second, Jitter: true}
		}
		d.Steps = append(d.Steps, s)
		if rnd.IntN(3) == 0 {
			d.Result["r_"+s.ID] = "${steps." + s.ID + ".out}"
		}
	}
	d.Builds = []domain.Build{build}
	return d
}

// driver plays the engine and its compute, and fails the test on any broken promise.
type driver struct {
	t        *testing.T
	rnd      *rand.Rand
	w        world
	plan     *domain.Plan
	s        *domain.State
	now      time.Time
	due      int64
	journal  [][]byte  // durable
	pending  []pending // handed to the journal, not durable yet
	flying   map[string]*flight
	lost     map[string]int // by step run: attempts that were lost
	done     map[string]bool
	crashes  int
	rowLimit int
	cancel   int // turns until the run is cancelled, 0 = never
}

type pending struct {
	row  []byte
	cmds []domain.Command
}

type flight struct {
	d     domain.Dispatch
	heard bool // the engine of now listens
	ended *domain.EventAttempt
}

func (d *driver) handle(ev domain.Event) {
	tr, err := d.s.Handle(ev, d.now, d.rnd.Float64())
	require.NoError(d.t, err)
	if tr.Due > 0 && (d.due == 0 || tr.Due < d.due) {
		d.due = tr.Due
	}
	if tr.Row == nil && len(d.pending) == 0 {
		d.carryOut(tr.Commands)
		return
	}
	d.pending = append(d.pending, pending{tr.Row, tr.Commands})
}

// commit makes the oldest row durable and acts upon it.
func (d *driver) commit() {
	p := d.pending[0]
	d.pending = d.pending[1:]
	if p.row != nil {
		d.journal = append(d.journal, p.row)
	}
	d.carryOut(p.cmds)
}

func (d *driver) carryOut(cmds []domain.Command) {
	for _, c := range cmds {
		switch c.Kind {
		case domain.CommandStart:
			d.start(c)
		case domain.CommandAttach:
			d.attach(c)
		case domain.CommandContinue:
			d.handle(domain.EventContinue{})
		case domain.CommandForget:
			id, _, _ := d.s.Target(c)
			delete(d.flying, id)
		}
	}
}

func stepRun(x domain.Dispatch) string { return fmt.Sprint(x.Step, x.Path) }

func (d *driver) start(c domain.Command) {
	x, err := d.s.Dispatch(c, nil)
	require.NoError(d.t, err)
	key := stepRun(x)
	require.False(d.t, d.done[key], "%s is finished and was started again", key)
	for _, f := range d.flying {
		require.True(d.t, stepRun(f.d) != key || f.ended != nil, "attempts of %s overlap", key)
	}
	require.NotContains(d.t, d.flying, x.Execution)
	if f := d.plan.Nodes[x.StepIndex].ForEach; f != nil && f.Concurrency > 0 {
		beside := 0
		for _, o := range d.flying {
			if o.ended == nil && o.d.StepIndex == x.StepIndex && slices.Equal(o.d.Path[:len(o.d.Path)-1], x.Path[:len(x.Path)-1]) {
				beside++
			}
		}
		require.Less(d.t, beside, f.Concurrency, "more items of %s at a time than its concurrency", x.Step)
	}
	d.flying[x.Execution] = &flight{d: x, heard: true}
}

func (d *driver) attach(c domain.Command) {
	id, step, path := d.s.Target(c)
	f := d.flying[id]
	switch {
	case f == nil:
		d.handle(domain.EventAttempt{Step: step, Path: path, Attempt: c.Attempt, Outcome: domain.OutcomeUnknown})
	case f.ended == nil && d.lost[stepRun(f.d)] < domain.LostLimit && d.rnd.IntN(3) == 0:
		d.lost[stepRun(f.d)]++
		f.ended = &domain.EventAttempt{Step: step, Path: path, Attempt: c.Attempt, Outcome: domain.OutcomeLost}
		f.heard = true
		d.handle(*f.ended)
	default:
		f.heard = true
		if f.ended != nil {
			d.handle(*f.ended)
		}
	}
}

// finish lets one attempt end.
func (d *driver) finish(f *flight) {
	x := f.d
	ev := &domain.EventAttempt{Step: x.StepIndex, Path: x.Path, Attempt: x.Attempt, Outcome: domain.OutcomeCompleted, Instance: "i"}
	out, list, failed := d.w.try(x.Step, x.Path, int(x.Attempt)-d.lost[stepRun(x)], x.Inputs)
	if failed {
		ev.Outcome, ev.Err = domain.OutcomeFailed, &domain.StepError{Kind: "user_error", Message: "drawn"}
	} else {
		ev.Outputs, ev.IsList = out, list
	}
	f.ended = ev
	d.handle(*ev)
}

// crash forgets everything but the journal, of which the rows under way may have been
// written or not.
func (d *driver) crash() {
	d.crashes++
	for range d.rnd.IntN(len(d.pending) + 1) {
		if row := d.pending[0].row; row != nil {
			d.journal = append(d.journal, row)
		}
		d.pending = d.pending[1:]
	}
	d.pending = nil
	for _, f := range d.flying {
		f.heard = false
	}
	if len(d.journal) == 0 { // the run was never acknowledged: its caller tries again
		d.begin()
		return
	}
	d.s = d.replay()
	d.noteDone()
	d.due = 0
	d.handle(domain.EventResume{})
}

func (d *driver) begin() {
	d.s = domain.NewState(domain.Run{ID: "run"}, d.plan)
	d.s.RowLimit = d.rowLimit
	d.due = 0
	d.handle(domain.EventStarted{})
}

func (d *driver) replay() *domain.State {
	s := domain.NewState(domain.Run{ID: "run"}, d.plan)
	s.RowLimit = d.rowLimit
	for _, row := range d.journal {
		require.NoError(d.t, s.Replay(row))
	}
	return s
}

// noteDone remembers what is finished in the journal: it must never start again.
func (d *driver) noteDone() {
	d.replay().StepRuns(func(v domain.StepRunView) {
		if v.State == domain.StepCompleted || v.State == domain.StepFailed || v.State == domain.StepSkipped {
			d.done[fmt.Sprint(d.plan.Nodes[v.Step].Spec.ID, v.Path)] = true
		}
	})
}

func (d *driver) run(crashy bool) {
	d.begin()
	for turns := 0; ; turns++ {
		require.Less(d.t, turns, 20000, "the run does not end:\n%s", d.s.Fingerprint())
		var ready []*flight
		for _, f := range d.flying {
			if f.heard && f.ended == nil {
				ready = append(ready, f)
			}
		}
		slices.SortFunc(ready, func(a, b *flight) int {
			if a.d.Execution < b.d.Execution {
				return -1
			}
			return 1
		})
		if len(d.pending) == 0 && d.s.Status.Ended() {
			return
		}
		if d.cancel--; d.cancel == 0 {
			d.handle(domain.EventCancel{Command: "c", Reason: "drawn"})
			continue
		}
		switch {
		case crashy && d.crashes < 12 && d.rnd.IntN(8) == 0:
			d.crash()
		case len(d.pending) > 0 && (d.rnd.IntN(2) == 0 || len(ready) == 0):
			d.commit()
		case len(ready) > 0:
			d.finish(ready[d.rnd.IntN(len(ready))])
		case d.due > 0:
			d.now = time.UnixMicro(max(d.due, d.now.UnixMicro()))
			d.due = 0
			d.handle(domain.EventTick{})
		default:
			d.t.Fatalf("nothing can happen and the run has not ended:\n%s", d.s.Fingerprint())
		}
	}
}

// TestAgainstReference runs random workflows in random orders with random crashes: each ends
// as plain recursion says, and the replay of its journal gives the same state.
func TestAgainstReference(t *testing.T) {
	seen := map[domain.RunState]int{}
	for seed := range uint64(3000) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		def := randomWorkflow(rnd)
		plan, problems := domain.Compile(def, domaintest.Compiler{})
		require.Empty(t, problems)
		d := &driver{t: t, rnd: rnd, w: world{seed}, plan: plan, now: time.UnixMicro(1e15),
			flying: map[string]*flight{}, lost: map[string]int{}, done: map[string]bool{}, rowLimit: []int{0, 1, 60}[seed%3]}
		d.run(seed%2 == 1)
		seen[d.s.Status]++

		if diff := cmp.Diff(d.s.Fingerprint(), d.replay().Fingerprint()); diff != "" {
			t.Fatalf("seed %d: replay differs (-live +replayed):\n%s", seed, diff)
		}
		ref := reference{w: d.w, def: def}
		ref.run()
		state, result := ref.result()
		require.Equal(t, state, d.s.Status, "seed %d: %v\n%s", seed, d.s.Err, d.s.Fingerprint())
		want, got := ref.states(), liveStates(d.s, want0(ref))
		if diff := cmp.Diff(sortedText(want), sortedText(got)); diff != "" {
			text, _ := json.MarshalIndent(def.Steps, "", " ")
			t.Fatalf("seed %d: step runs differ (-reference +engine):\n%s\n%s", seed, diff, text)
		}
		if state == domain.RunCompleted {
			have := map[string]string{}
			for k, v := range d.s.Result {
				have[k] = string(v)
			}
			require.Equal(t, result, have, "seed %d", seed)
		}
	}
	require.Greater(t, seen[domain.RunCompleted], 300)
	require.Greater(t, seen[domain.RunFailed], 300)
}

// TestCancel cancels random runs at random points, with crashes: each ends, as cancelled only
// when no attempt is under way.
func TestCancel(t *testing.T) {
	cancelled := 0
	for seed := range uint64(1000) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		plan, problems := domain.Compile(randomWorkflow(rnd), domaintest.Compiler{})
		require.Empty(t, problems)
		d := &driver{t: t, rnd: rnd, w: world{seed}, plan: plan, now: time.UnixMicro(1e15), cancel: 1 + rnd.IntN(20),
			flying: map[string]*flight{}, lost: map[string]int{}, done: map[string]bool{}, rowLimit: []int{0, 1, 60}[seed%3]}
		d.run(seed%2 == 1)
		require.Equal(t, d.s.Fingerprint(), d.replay().Fingerprint())
		if d.s.Status == domain.RunCancelled {
			cancelled++
			for _, f := range d.flying {
				require.NotNil(t, f.ended, "%s is still under way", f.d.Execution)
			}
		}
	}
	require.Greater(t, cancelled, 300)
}

// want0 names the failed forEach nodes, whose items are not compared.
func want0(r reference) map[string]bool {
	out := map[string]bool{}
	for k, v := range r.states() {
		if v == "failed " {
			out[k] = true
		}
	}
	return out
}

func liveStates(s *domain.State, failed map[string]bool) map[string]string {
	out := map[string]string{}
	s.StepRuns(func(v domain.StepRunView) {
		id := s.Plan.Nodes[v.Step].Spec.ID
		if n := len(v.Path); n > 0 && s.Plan.Nodes[v.Step].ForEach != nil && failed[fmt.Sprint(id, v.Path[:n-1])] {
			return
		}
		path := v.Path
		if path == nil {
			path = []int32{}
		}
		out[fmt.Sprint(id, path)] = string(v.State) + " " + outputsText(v.Outputs)
	})
	return out
}
